"""Servers that integration tests use. A missing one is a skip on a laptop and a failure in CI."""

from __future__ import annotations

import asyncio
import os
import socket
from urllib.parse import urlsplit

import hypothesis
import pytest

ETCD = os.environ.get("KUBE_TEST_ETCD", "http://127.0.0.1:2379")

# How long an example takes says how busy the machine is, not whether the code is right.
hypothesis.settings.register_profile("kube", deadline=None)
hypothesis.settings.load_profile("kube")

# Else pytest's asyncio plugins ask for a current event loop around every test that is not async, get a new one each,
# and close none.
asyncio.set_event_loop(None)


def unavailable(what: str) -> None:
    """Skip the test on a laptop; fail it in CI, where everything must run."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is needed, and is not here")
    pytest.skip(f"{what} is needed, and is not here")


@pytest.fixture(scope="session")
def etcd_endpoint() -> str:
    """The URL of a real etcd that answers. Tests keep to keys of their own."""
    url = urlsplit(ETCD)
    try:
        socket.create_connection((url.hostname or "127.0.0.1", url.port or 2379), timeout=1).close()
    except OSError:
        unavailable(f"etcd at {ETCD}")
    return ETCD


@pytest.fixture(scope="session")
def docker_engine() -> str:
    """The path of the socket of a real Docker engine that answers."""
    path = "/var/run/docker.sock"
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            unavailable("a Docker engine")
    return path
