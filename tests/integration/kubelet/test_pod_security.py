"""securityContext on a real Docker engine: what a container may do, as the kernel says it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kube.kubelet.docker import DockerRuntime
from tests.integration.kubelet.test_pods import FOREVER, Node, run, sh
from tests.kubelet_node import TestNode, is_ready
from tests.own_node import OwnNode


@pytest.fixture
async def kubelet(runtime: DockerRuntime, node: OwnNode, tmp_path: Path) -> AsyncIterator[Node]:
    test_node = TestNode(tmp_path, runtime, name=node.name, ip="127.0.0.1")
    async with test_node.running():
        yield test_node


def bits(*numbers: int) -> int:
    return sum(1 << number for number in numbers)


CHOWN, NET_ADMIN = 0, 12


async def test_as_whom_containers_run_and_what_they_may_do(kubelet: Node) -> None:
    rights: dict[str, dict[str, Any]] = {
        "user": {"runAsUser": 1000},
        "least": {"capabilities": {"drop": ["ALL"]}, "allowPrivilegeEscalation": False},
        "more": {"capabilities": {"drop": ["CHOWN"], "add": ["NET_ADMIN"]}, "seccompProfile": {"type": "Unconfined"}},
        "still": {"readOnlyRootFilesystem": True, "runAsNonRoot": False, "runAsUser": 0},
    }
    pod = await kubelet.create(
        "web",
        *(sh(FOREVER, name, securityContext=right) for name, right in rights.items()),
        securityContext={
            "runAsGroup": 3000,
            "supplementalGroups": [4000],
            "fsGroup": 5000,
            "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "80"}],
        },
    )
    await kubelet.until(is_ready)

    async def status(name: str, field: str) -> str:
        return (await run(kubelet, pod, name, f"grep ^{field}: /proc/self/status")).partition(":")[2].strip()

    assert await run(kubelet, pod, "user", "echo $(id -u):$(id -g)") == "1000:3000"
    assert set((await status("user", "Groups")).split()) >= {"4000", "5000"}
    assert int(await status("least", "CapEff"), 16) == 0
    assert await status("least", "NoNewPrivs") == "1"
    assert int(await status("more", "CapEff"), 16) & bits(CHOWN, NET_ADMIN) == bits(NET_ADMIN)
    assert (await status("more", "Seccomp"), await status("least", "Seccomp")) == ("0", "2")
    assert await run(kubelet, pod, "still", "touch /x 2>/dev/null || echo read-only") == "read-only"
    assert await run(kubelet, pod, "user", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start") == "80"


@pytest.mark.parametrize(
    ("rights", "reason", "words"),
    [
        ({"runAsNonRoot": True}, "CreateContainerConfigError", "image will run as root"),
        ({"capabilities": {"add": ["NO_SUCH"]}}, "CreateContainerError", "NO_SUCH"),
        (
            {"seccompProfile": {"type": "Localhost", "localhostProfile": "none.json"}}, "CreateContainerError",
            "none.json: no such file",
        ),
    ],
    ids=["not root", "a capability that there is not", "a profile that there is not"],
)  # fmt: skip
async def test_what_cannot_be_had_is_a_reason_and_an_event(
    kubelet: Node, rights: dict[str, Any], reason: str, words: str
) -> None:
    await kubelet.create("web", sh(FOREVER, securityContext=rights))
    pod = await kubelet.until(
        lambda p: any(s.state.waiting and s.state.waiting.reason == reason for s in p.status.containerStatuses)
    )
    waiting = pod.status.containerStatuses[0].state.waiting
    assert waiting is not None
    assert words in waiting.message
    assert any(words in message for message in kubelet.recorder.messages("Failed"))
    await kubelet.delete(grace=0)
    await kubelet.until_gone()
