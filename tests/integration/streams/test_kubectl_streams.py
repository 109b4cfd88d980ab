"""exec, attach, cp and port-forward with every kubectl there is: 1.30 and before by SPDY, after by WebSocket."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.streams.conftest import SECURE, Streams
from tests.integration.streams.terminal import Terminal

PLAIN_AND_SECURE = pytest.mark.parametrize(
    "context", [pytest.param("--context=c", id="plain"), pytest.param(f"--context={SECURE}", id="TLS")]
)


@PLAIN_AND_SECURE
def test_exec_has_both_outputs_and_the_exit_code(streams: Streams, kubectl_path: str, context: str) -> None:
    result = streams.run(kubectl_path, context, "exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert result.returncode == 7
    assert result.stdout == b"out\n"
    assert result.stderr.splitlines() == [b"err", b"command terminated with exit code 7"]


@PLAIN_AND_SECURE
def test_exec_carries_much_both_ways(streams: Streams, kubectl_path: str, context: str) -> None:
    sent = os.urandom(4_000_000)
    result = streams.run(kubectl_path, context, "exec", "-i", "web", "--", "cat", stdin=sent)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout == sent


def test_exec_ends_with_its_command_whatever_is_left_of_the_input(streams: Streams, kubectl_path: str) -> None:
    result = streams.run(kubectl_path, "exec", "-i", "web", "--", "sh", "-c", "echo done", stdin=b"\0" * 20_000_000)
    assert result.stdout == b"done\n"
    assert result.returncode == 0


def test_exec_of_what_is_not_there_says_so(streams: Streams, kubectl_path: str) -> None:
    result = streams.run(kubectl_path, "exec", "web", "--", "no-such-command")
    assert result.returncode in (126, 127)
    assert b"executable file not found" in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        pytest.param(["exec", "none", "--", "ls"], 'pods "none" not found', id="no such pod"),
        pytest.param(["exec", "web", "-c", "x", "--", "ls"], "container x is not valid for pod web", id="no container"),
    ],
)
def test_exec_of_a_pod_or_container_that_is_not_there_is_an_error(
    streams: Streams, kubectl_path: str, args: list[str], words: str
) -> None:
    result = streams.run(kubectl_path, *args)
    assert result.returncode == 1
    assert words in result.stderr.decode()


def test_exec_on_a_terminal_has_its_size_and_follows_it(streams: Streams, kubectl_path: str) -> None:
    with contextlib.closing(
        Terminal(streams.command(kubectl_path, "exec", "-it", "web", "--", "sh"), columns=111, rows=33)
    ) as terminal:
        terminal.until(b"# ")
        # The size is sent right after the start: a shell may be asked before it comes.
        terminal.type(b"until [ \"$(stty size)\" = '33 111' ]; do :; done; echo first''size\n")
        terminal.until(b"firstsize")
        terminal.resize(122, 44)
        terminal.type(b"until [ \"$(stty size)\" = '44 122' ]; do :; done; echo second''size\n")
        terminal.until(b"secondsize")
        terminal.type(b"exit 5\n")
        assert terminal.exit_code() == 5


def test_attach_speaks_with_the_containers_own_process(streams: Streams, kubectl_path: str) -> None:
    command = streams.command(kubectl_path, "attach", "-i", "cat")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as attached:
        assert attached.stdin is not None
        assert attached.stdout is not None
        try:
            attached.stdin.write(b"hello\n")
            attached.stdin.flush()
            assert attached.stdout.readline() == b"hello\n"
        finally:
            attached.kill()
    assert streams.run(kubectl_path, "exec", "cat", "--", "true").returncode == 0, "it runs on"


def test_cp_there_and_back(streams: Streams, kubectl_path: str, tmp_path: Path) -> None:
    sent, back = tmp_path / "sent", tmp_path / "back"
    sent.write_bytes(os.urandom(1_000_000))
    there = streams.run(kubectl_path, "cp", str(sent), "web:/tmp/file")
    assert there.returncode == 0, there.stderr
    result = streams.run(kubectl_path, "cp", "web:/tmp/file", str(back))
    assert result.returncode == 0, result.stderr
    assert back.read_bytes() == sent.read_bytes()


@contextlib.contextmanager
def forwarding(
    streams: Streams, kubectl_path: str, port: int, context: str = "--context=c"
) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """kubectl forwards a free port of the loopback, which is given."""
    command = streams.command(kubectl_path, context, "port-forward", "--address=127.0.0.1", "pod/web", f":{port}")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            line = running.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+) ->", line)
            assert found, line
            yield int(found[1]), running
        finally:
            running.kill()


@PLAIN_AND_SECURE
def test_port_forward_carries_connections(streams: Streams, kubectl_path: str, context: str) -> None:
    with forwarding(streams, kubectl_path, 80, context) as (port, _):
        for _ in range(5):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
                assert answer.read() == b"web\n"


def test_port_forward_to_where_nobody_listens_says_so(streams: Streams, kubectl_path: str) -> None:
    with forwarding(streams, kubectl_path, 81) as (port, running):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            assert connection.recv(1) == b""
        assert running.stderr is not None
        assert "Connection refused" in running.stderr.readline()
