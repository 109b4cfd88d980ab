"""The lab as it stands: its containers, the pods' network across minions, services from everywhere, names, exec."""

from __future__ import annotations

import json
import subprocess

import pytest

from deploy.cluster.example import ask
from deploy.compose import lab as commands
from deploy.compose.lab import SETTINGS
from tests.e2e.api import Api, Manifest, pod, service, shell
from tests.e2e.traffic import wait_backends
from tests.e2e.waiting import eventually
from tests.lab.faults import MINIONS, docker, inside

NAMESPACE = "lab"
# A web server whose page `cgi-bin/who` says from which address it was asked.
WHO = """
mkdir -p /www/cgi-bin
printf '#!/bin/sh\\necho; echo $REMOTE_ADDR\\n' >/www/cgi-bin/who
chmod +x /www/cgi-bin/who
exec web
"""


@pytest.fixture(scope="module")
def pods(api: Api) -> list[Manifest]:
    """A web server on each minion."""
    for minion in MINIONS:
        spec = {"nodeName": minion, "terminationGracePeriodSeconds": 1}
        api.create("pods", pod(f"on-{minion}", shell(WHO), labels={"app": "who"}, **spec))
    return [api.wait_ready(f"on-{minion}", 60) for minion in MINIONS]


@pytest.fixture(scope="module")
def who(api: Api, pods: list[Manifest]) -> Manifest:
    """A service of theirs, with a port on every node."""
    return api.create("services", service("who", type="NodePort"))


def in_pod(asker: Manifest, *command: str) -> str:
    """Run a command in a pod's container, by the apiserver and the kubelet of its minion."""
    kubectl = ["kubectl", f"--kubeconfig={SETTINGS.kubeconfig}", f"--namespace={NAMESPACE}"]
    done = subprocess.run(
        [*kubectl, "exec", asker["metadata"]["name"], "--", *command], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_container_is_healthy(lab: None) -> None:
    def healthy() -> bool:
        described = json.loads(docker("inspect", *commands.containers().values()))
        states = {each["Name"]: each["State"].get("Health", {}).get("Status") for each in described}
        assert set(states.values()) == {"healthy"}, states
        return True

    eventually(healthy, "every container is healthy", 60)


def test_pods_reach_each_other_across_minions_by_their_own_addresses(pods: list[Manifest]) -> None:
    for asker in pods:
        for asked in pods:
            told = in_pod(asker, "wget", "-qO-", f"http://{asked['status']['podIP']}/cgi-bin/who")
            assert told.strip("[]").removeprefix("::ffff:") == asker["status"]["podIP"], (
                "the address was changed on the way"
            )


def test_a_service_answers_from_every_minion_every_pod_and_the_host(who: Manifest, pods: list[Manifest]) -> None:
    names = {each["metadata"]["name"] for each in pods}
    address, port = who["spec"]["clusterIP"], who["spec"]["ports"][0]["nodePort"]
    six = f"for i in 1 2 3 4 5 6; do timeout 5 busybox wget -qO- http://{address}/; done"
    for minion in MINIONS:
        wait_backends(commands.address(minion), names, port)
        assert set(inside(minion, six).split()) == names
    for asker in pods:
        assert set(in_pod(asker, "sh", "-c", six.replace("busybox ", "")).split()) == names
    assert ask(commands.address("minion-1"), port) in names


def test_names_resolve_in_every_pod(who: Manifest, pods: list[Manifest]) -> None:
    names = {each["metadata"]["name"] for each in pods}
    for asker in pods:
        for name in ("who", f"who.{NAMESPACE}.svc.cluster.local"):
            assert in_pod(asker, "wget", "-qO-", f"http://{name}/") in names


def test_the_commands_for_a_person_tell_of_every_daemon(lab: None, capfd: pytest.CaptureFixture[str]) -> None:
    commands.status()
    told = capfd.readouterr().out
    assert all(name in told for name in commands.containers())
    assert told.count(" leads as ") == 2
    assert told.count("Ready") == len(MINIONS)
    assert commands.compose().call("logs", "--no-color", "--tail=5", "minion-1", "scheduler-1") == 0
    logged = capfd.readouterr().out
    assert "kubelet." in logged or "proxy." in logged
    assert "scheduler" in logged
    assert commands.compose().call("exec", "-T", "minion-2", "hostname") == 0
    assert capfd.readouterr().out == "minion-2\n"
