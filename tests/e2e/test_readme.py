"""The README's workflows are run as they stand there, curl's and kubectl's, line by line."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from deploy.cluster.cluster import Cluster
from deploy.cluster.settings import CHECKOUT, Settings
from tests.e2e.api import Api
from tests.e2e.waiting import eventually

README = (CHECKOUT / "README.md").read_text()
WORKFLOWS = README.partition("## Three workflows")[2].partition("## Each daemon")[0]
SETUP, *BLOCKS = re.findall(r"```sh\n(.*?)```", WORKFLOWS, re.DOTALL)
STRICT = """set -euo pipefail
curl() { command curl --silent --show-error --fail-with-body "$@"; }
"""


def test_the_readme_has_two_blocks_for_each_of_three_workflows() -> None:
    assert len(BLOCKS) == 6


@pytest.mark.parametrize("tool", [pytest.param(0, id="curl"), pytest.param(1, id="kubectl")])
def test_the_workflows_work_as_written(cluster: Cluster, api: Api, tmp_path: Path, tool: int) -> None:
    """In order: the service's workflow needs the controller's pods."""
    setup = SETUP.replace(Settings().server, cluster.settings.server)
    setup = setup.replace("$PWD/.run/kubeconfig", str(tmp_path / "kubeconfig"))
    setup = setup.replace("namespaces/default", f"namespaces/{api.namespace}")
    config = cluster.settings.kubeconfig.read_text().replace('"default"', f'"{api.namespace}"')
    (tmp_path / "kubeconfig").write_text(config)
    for block in BLOCKS[tool::2]:
        result = subprocess.run(
            ["bash", "-c", f"{STRICT}{setup}{block}"],
            cwd=CHECKOUT,
            env=os.environ | {"HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert result.returncode == 0, f"{block}\n{result.stdout}\n{result.stderr}"
        if "http://$IP/" in block:
            assert len(re.findall(r"^shop-\w{5}$", result.stdout, re.MULTILINE)) == 6
        if block.startswith(("curl", "kubectl")) and "hello" in block:
            eventually(lambda: api.find("pods", "hello") is None, "the pod is gone", 40)
