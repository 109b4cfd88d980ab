"""`--workers 2`: one apiserver in several processes, which share its ports and its end."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.client.own_apiserver import OwnApiserver
from tests.own_etcd import OwnEtcd

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def apiserver(own_etcd: OwnEtcd, tmp_path: Path) -> Iterator[OwnApiserver]:
    server = OwnApiserver(own_etcd, tmp_path / "apiserver.log", "--workers=2")
    try:
        server.start()
        _until(lambda: _serving(server) == 2, "both workers serve")
        yield server
    finally:
        server.kill()


def _workers(server: OwnApiserver) -> set[int]:
    return set(map(int, Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()))


def _serving(server: OwnApiserver) -> int:
    """How many workers have said so, since the start."""
    return server.log_file.read_text().count("server: serving address")


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"it does not come to be that {what}"
        time.sleep(0.02)


def _request(server: OwnApiserver, path: str, body: object = None) -> dict[str, object]:
    """An answer, on a connection of its own: whichever worker it comes to."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, object] = json.load(answer)
        return found


def _gone(pid: int) -> bool:
    try:
        # What has ended and nobody has asked for is as good as gone.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_every_worker_sees_what_any_has_written(apiserver: OwnApiserver) -> None:
    for number in range(30):
        written = _request(apiserver, MAPS, {"metadata": {"name": f"m{number}"}})
        assert _request(apiserver, f"{MAPS}/m{number}") == written


def test_a_worker_that_dies_is_started_again(apiserver: OwnApiserver) -> None:
    _request(apiserver, MAPS, {"metadata": {"name": "before"}})
    before = _workers(apiserver)
    assert len(before) == 2
    killed = min(before)
    os.kill(killed, signal.SIGKILL)
    _until(lambda: _serving(apiserver) == 3, "the killed worker's successor serves")
    after = _workers(apiserver)
    assert len(after) == 2
    assert killed not in after
    for _ in range(20):
        assert _request(apiserver, f"{MAPS}/before")["kind"] == "ConfigMap"


def test_all_end_with_the_supervisor_when_it_is_asked_to_stop(apiserver: OwnApiserver) -> None:
    workers = _workers(apiserver)
    assert apiserver.terminate() == 0
    assert all(map(_gone, workers))


def test_no_worker_outlives_a_supervisor_that_is_killed(apiserver: OwnApiserver) -> None:
    workers = _workers(apiserver)
    apiserver.kill()
    _until(lambda: all(map(_gone, workers)), "the workers end")
    apiserver.start()  # the ports are free again


def test_the_ports_are_not_shared_with_another_apiserver(apiserver: OwnApiserver, tmp_path: Path) -> None:
    ended = apiserver.start_another("--workers=2")
    assert ended.returncode == 1
    assert "cannot listen on 127.0.0.1" in ended.stderr
    assert "--insecure-port" in ended.stderr
