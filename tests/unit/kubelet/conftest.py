"""A node for tests of the kubelet's loops."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.kubelet.node import TestNode


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[TestNode]:
    async with TestNode(tmp_path).running() as running:
        yield running
