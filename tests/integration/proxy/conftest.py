"""The network that the proxy is tried in: see network.py."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import pytest

from tests.conftest import unavailable
from tests.integration.proxy.network import Network, tcp_backend


def _missing() -> str:
    if os.geteuid():
        return "root"
    return next(
        (f"the command {c}" for c in ("ip", "etcd", "etcdctl", "iptables", "conntrack") if not shutil.which(c)), ""
    )


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((mode, back_end), id=f"{mode}-{back_end}")
        for mode in ("iptables", "userspace")
        for back_end in ("nft", "legacy")
    ],
)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A node with etcd and a proxy, in either mode and for either back end of iptables."""
    mode, back_end = request.param
    if missing := _missing():
        unavailable(missing)
    directory = tmp_path_factory.mktemp("node")
    commands = directory / "bin"
    commands.mkdir()
    for name in ("iptables", "iptables-save", "iptables-restore"):
        real = shutil.which(name.replace("iptables", f"iptables-{back_end}"))
        assert real, f"there is no {back_end} back end"
        (commands / name).symlink_to(real)
    path = f"{commands}:{os.environ['PATH']}"
    network = Network(f"kp{os.getpid()}{mode[0]}{back_end[0]}", directory, {"PATH": path}, mode)
    try:
        network.iptables("-A", "FORWARD", "-i", "cbr0", "-o", "cbr0", "-j", "ACCEPT")
        network.iptables(
            "-t", "nat", "-A", "POSTROUTING", "-s", "10.244.0.0/24", "!", "-d", "10.244.0.0/16", "-j", "MASQUERADE"
        )
        network.foreign_rules = [line for line in network.rules().splitlines() if line.startswith("-A")]
        network.start_etcd()
        network.start_proxy()
        yield network
    except BaseException:
        with contextlib.suppress(OSError):
            print(network.log())  # noqa: T201  # pytest shows it with the failure
        raise
    finally:
        network.close()


@pytest.fixture
async def backends(network: Network) -> AsyncIterator[None]:
    """TCP and UDP backends a, b, c on their port 80."""
    loop = asyncio.get_running_loop()

    class Answer(asyncio.DatagramProtocol):
        def __init__(self, name: str) -> None:
            self.name = name

        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            self.transport.sendto(f"{self.name} ".encode() + data, addr)

    async with contextlib.AsyncExitStack() as stack:
        for name, pod in network.pods.items():
            await stack.enter_async_context(tcp_backend(pod, name))
            sock = pod.socket(socket.SOCK_DGRAM)
            sock.bind(("0.0.0.0", 80))
            transport, _ = await loop.create_datagram_endpoint(functools.partial(Answer, name), sock=sock)
            stack.callback(transport.close)
        yield


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`@pytest.mark.modes("userspace")`: the test is about that mode, and exists in no other."""
    elsewhere = []
    for item in items:
        mark = item.get_closest_marker("modes")
        if mark and isinstance(item, pytest.Function):
            mode, _back_end = cast(tuple[str, str], item.callspec.params["network"])
            if mode not in mark.args:
                elsewhere.append(item)
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = [item for item in items if item not in elsewhere]
