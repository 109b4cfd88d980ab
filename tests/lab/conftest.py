"""The lab of deploy/lab, started once for the tests of this directory, and gone after them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from deploy.cluster.steps import Failed
from deploy.compose import lab as commands
from tests.conftest import unavailable

MINIONS = 3
GRACE = "20s"
"""A node is given up after this, in place of the 40 s that a user gets: half the tests wait for it."""


@pytest.fixture(scope="package")
def lab() -> Iterator[None]:
    """A highly available cluster with three minions."""
    if os.geteuid():
        unavailable("root")
    os.environ["KUBE_LAB_NODE_GRACE"] = GRACE
    commands.down(purge=False)  # what an interrupted run left
    try:
        commands.up(MINIONS, verbosity=0, log_format="text")
        yield
    except Failed as failure:
        pytest.fail(str(failure))
    finally:
        del os.environ["KUBE_LAB_NODE_GRACE"]
        commands.down(purge=False)
