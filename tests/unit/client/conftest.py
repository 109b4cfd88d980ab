"""Fixtures of the client's tests."""

from __future__ import annotations

import pytest

from tests.unit.client.cluster import Cluster


@pytest.fixture
def cluster() -> Cluster:
    """An empty cluster in memory."""
    return Cluster()
