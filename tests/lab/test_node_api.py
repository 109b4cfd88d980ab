"""The minions' own API: it answers the apiservers, from other machines, and nobody else. (exec is in test_lab.py.)"""

from __future__ import annotations

import subprocess

import pytest

from deploy.cluster.example import request
from deploy.compose.lab import SETTINGS, containers
from tests.lab.faults import MINIONS, docker

ASK = (
    "import ssl, urllib.request; tls = ssl._create_unverified_context(); "
    "urllib.request.urlopen('https://{}:10250/pods', context=tls, timeout=10)"
)


@pytest.mark.parametrize("minion", MINIONS)
def test_the_apiservers_reach_every_kubelet(lab: None, minion: str) -> None:
    code, answer = request("GET", f"{SETTINGS.server}/api/v1/nodes/{minion}/proxy/pods")
    assert (code, answer["kind"]) == (200, "PodList")


@pytest.mark.parametrize(
    ("here", "there"), [("minion-1", "minion-2"), ("minion-1", "localhost"), ("etcd-1", "minion-3")]
)
def test_who_shows_no_certificate_is_not_answered(lab: None, here: str, there: str) -> None:
    command = ["docker", "exec", containers()[here], "python3", "-c", ASK.format(there)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "HTTP Error 401: Unauthorized" in result.stderr


def test_whoever_is_on_the_node_may_ask_how_it_is(lab: None) -> None:
    assert docker("exec", containers()["minion-1"], "busybox", "wget", "-qO-", "http://127.0.0.1:10248/healthz") == "ok"
