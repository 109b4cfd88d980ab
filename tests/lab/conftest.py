"""The lab of deploy/lab, started once for the tests of this directory, and gone after them.

Those that take long are marked so: `deploy/test` alone leaves them out, `deploy/test tests/lab` runs them all.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.cluster.steps import Failed
from deploy.compose import lab as commands
from tests.conftest import unavailable
from tests.e2e.api import Api
from tests.lab.faults import MINIONS, docker

GRACE = "20s"
"""A node is given up after this, in place of the 40 s that a user gets: half the tests wait for it."""
KILLED = 137
"""The exit code of a container that had to be killed."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: left out of `deploy/test` without arguments")


@pytest.fixture(scope="package")
def lab() -> Iterator[None]:
    """A highly available cluster with three minions. In the end everything stops by itself, and nothing is left."""
    if os.geteuid():
        unavailable("root")
    os.environ["KUBE_LAB_NODE_GRACE"] = GRACE
    commands.down(purge=False)  # what an interrupted run left
    try:
        try:
            commands.up(len(MINIONS), verbosity=0, log_format="text")
        except Failed as failure:
            pytest.fail(str(failure))
        yield
        ids = list(commands.containers().values())
        bridge = f"br-{docker('network', 'ls', '--quiet', f'--filter={commands.OURS}').strip()}"
        docker("stop", *ids)
        codes = docker("inspect", "--format", "{{.Name}} {{.State.ExitCode}}", *ids).splitlines()
        assert [code for code in codes if code.endswith(f" {KILLED}")] == [], "they did not stop when they were told"
    finally:
        del os.environ["KUBE_LAB_NODE_GRACE"]
        commands.down(purge=False)
    assert left_behind(ids, bridge) == []


@pytest.fixture(scope="module")
def api(lab: None, request: pytest.FixtureRequest) -> Iterator[Api]:
    """The lab's API, and a namespace of the module's own, which it names."""
    api = Api(commands.SETTINGS.server, request.module.NAMESPACE)
    api.create_namespace()
    yield api
    api.clear()
    api.close()


def left_behind(ids: list[str], bridge: str) -> list[str]:
    """What there still is of the lab, but for what makes it start soon again: images, keys."""
    found = docker("ps", "--all", "--quiet", f"--filter={commands.OURS}").splitlines()
    found += docker("network", "ls", "--quiet", f"--filter={commands.OURS}").splitlines()
    found += docker("volume", "ls", "--quiet", f"--filter={commands.OURS}").splitlines()
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    found += [rule for rule in rules.splitlines() if bridge in rule]
    groups = {path.name for path in Path("/sys/fs/cgroup").glob("*/docker/*")}
    return found + [each for each in ids if each in groups]
