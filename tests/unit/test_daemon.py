"""The process shell: its pure parts as tables, the rest with a tiny daemon in a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from kube import daemon

TINY = """
import asyncio, logging, sys, threading, time
from kube import daemon

log = logging.getLogger("kube.tiny")

def parser():
    parser = daemon.flags("kube-tiny", "A daemon that does what it is told.")
    parser.add_argument("--do", default="serve")
    parser.add_argument("--port", type=int, default=0)
    daemon.add_bool(parser, "--leader-elect", True, "elect a leader")
    return parser

async def run(args):
    if args.do == "fail":
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.sleep(60))
            tasks.create_task(fail(), name="failing")
    if args.do == "fatal in a task":
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fatal())
    if args.do == "end":
        return
    async with daemon.serve_health("127.0.0.1", args.port) as port:
        log.info("ready", extra={"port": port, "elects": args.leader_elect})
        try:
            if args.do == "busy thread":
                asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)
            await asyncio.sleep(60)
        finally:
            if args.do == "stubborn":
                log.info("cleaning up")
                await asyncio.sleep(60)

async def fail():
    raise LookupError("the reason")

async def fatal():
    raise daemon.Fatal("cannot do it at 10.0.0.1: do something else")

def options(args):
    if args.do == "bad options":
        raise daemon.Fatal("cannot use --do: say something else")
    return args

if __name__ == "__main__":
    daemon.main(parser(), options, run)
"""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("daemon") / "tiny.py"
    path.write_text(TINY)
    return path


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tiny: Path) -> Iterator[Start]:
    """Start the tiny daemon; what is still running at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*args: str) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, tiny, *args], stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """The line of the log that has these words."""
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return line
    raise AssertionError(f"the daemon ended without saying {words!r}")


class TestProcess:
    @pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_stops_it_cleanly(self, start: Start, sent: signal.Signals) -> None:
        process = start()
        read_until(process, "ready")
        process.send_signal(sent)
        assert f"INFO daemon: stopping signal={sent.name}" in process.communicate(timeout=10)[1]
        assert process.returncode == 0

    def test_a_second_signal_kills_at_once(self, start: Start) -> None:
        process = start("--do=stubborn")
        read_until(process, "ready")
        process.send_signal(signal.SIGTERM)
        read_until(process, "cleaning up")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == -signal.SIGTERM

    def test_a_thread_that_is_busy_does_not_delay_the_stop(self, start: Start) -> None:
        process = start("--do=busy thread")
        read_until(process, "ready")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0

    def test_a_task_that_fails_takes_the_process_down_with_its_traceback(self, start: Start) -> None:
        process = start("--do=fail")
        said = process.communicate(timeout=10)[1]
        assert process.returncode == 1
        assert "CRITICAL daemon: failed" in said
        assert "in fail" in said
        assert "LookupError: the reason" in said

    @pytest.mark.parametrize(
        ("do", "line"),
        [
            pytest.param("fatal in a task", "cannot do it at 10.0.0.1: do something else", id="in a task"),
            pytest.param("bad options", "cannot use --do: say something else", id="in the options"),
        ],
    )
    def test_what_a_person_must_put_right_is_one_line(self, start: Start, do: str, line: str) -> None:
        process = start(f"--do={do}")
        said = process.communicate(timeout=10)[1]
        assert process.returncode == 1
        assert said.splitlines()[-1] == f"kube-tiny: {line}"
        assert "Traceback" not in said

    def test_a_port_that_is_taken_says_what_where_and_what_to_do(self, start: Start) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            process = start(f"--port={port}")
            said = process.communicate(timeout=10)[1]
        assert process.returncode == 1
        assert f"kube-tiny: cannot listen on 127.0.0.1:{port}: address already in use: stop what uses it" in said
        assert "choose another with --port" in said

    def test_an_unknown_flag_is_exit_2(self, start: Start) -> None:
        process = start("--no-such-flag")
        said = process.communicate(timeout=10)[1]
        assert process.returncode == 2
        assert "unrecognized arguments: --no-such-flag" in said

    def test_one_that_ends_by_itself_succeeds(self, start: Start) -> None:
        assert start("--do=end").wait(timeout=10) == 0

    def test_its_log_as_json(self, start: Start) -> None:
        process = start("--log-format=json", "--leader-elect=false")
        event = json.loads(read_until(process, "ready"))
        assert event["level"] == "info"
        assert event["logger"] == "tiny"
        assert event["elects"] is False


class TestFlags:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("0", 0),
            ("0s", 0),
            ("40s", 40),
            ("1m30s", 90),
            ("5m0s", 300),
            ("500ms", 0.5),
            ("1.5h", 5400),
            ("2h45m", 9900),
        ],
    )
    def test_durations_as_go_writes_them(self, text: str, seconds: float) -> None:
        assert daemon.duration(text) == seconds

    @pytest.mark.parametrize("text", ["", "5", "s", "-5s", "1d", "5 s", "5s!", "abc"])
    def test_what_is_no_duration(self, text: str) -> None:
        with pytest.raises(argparse.ArgumentTypeError, match="is not a duration such as 40s"):
            daemon.duration(text)

    @pytest.mark.parametrize(
        ("args", "value"),
        [([], False), (["--it"], True), (["--it=true"], True), (["--it=false"], False), (["--it=0"], False)],
    )
    def test_booleans_as_go_reads_them(self, args: list[str], value: bool) -> None:
        parser = daemon.flags("x", "x")
        daemon.add_bool(parser, "--it", False, "do it")
        assert parser.parse_args(args).it is value

    @pytest.mark.parametrize("args", [["-v", "2"], ["-v=2"], ["-v2"], ["--v=2"], ["--v", "2"]])
    def test_the_verbosity_in_every_spelling(self, args: list[str]) -> None:
        assert daemon.flags("x", "x").parse_args(args).v == 2

    def test_flags_are_not_abbreviated(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as raised:
            daemon.flags("x", "x").parse_args(["--log-f=json"])
        assert raised.value.code == 2

    def test_help_names_the_defaults(self) -> None:
        parser = daemon.flags("x", "x")
        parser.add_argument("--ratio", default="50%", help="a percentage")
        parser.add_argument("--list", type=daemon.comma_separated, default=["a", "b"], help="a list")
        parser.add_argument("--none", default="", help="nothing")
        daemon.add_bool(parser, "--leader-elect", True, "elect")
        text = re.sub(r"\s+", " ", parser.format_help())
        assert "a percentage (default: 50%)" in text
        assert "a list (default: a,b)" in text
        assert "elect (default: true)" in text
        assert "nothing (default" not in text

    def test_lists(self) -> None:
        assert daemon.comma_separated("a, b,,c ") == ["a", "b", "c"]


def record(message: str, exc: BaseException | None = None, **extra: object) -> logging.LogRecord:
    info = (type(exc), exc, exc.__traceback__) if exc else None
    made = logging.LogRecord("kube.scheduler.queue", logging.INFO, "x.py", 1, message, None, info)
    made.created = 1795381820.1239
    vars(made).update(extra)
    return made


class TestLogging:
    @pytest.mark.parametrize(
        ("made", "line"),
        [
            pytest.param(record("bound"), "bound", id="only words"),
            pytest.param(record("bound", pod="ns/a", n=3), "bound pod=ns/a n=3", id="with members"),
            pytest.param(record("x", why="two words"), 'x why="two words"', id="a value with a space"),
            pytest.param(record("x", why='a"b'), 'x why="a\\"b"', id="a value with a quote"),
            pytest.param(record("x", why=""), 'x why=""', id="an empty value"),
            pytest.param(record("x", why="a\nb"), 'x why="a\\nb"', id="a value of two lines"),
            pytest.param(record("one\ntwo"), "one\\ntwo", id="words of two lines"),
        ],
    )
    def test_text_is_one_line_an_event(self, made: logging.LogRecord, line: str) -> None:
        assert daemon.TextFormatter().format(made) == f"2026-11-22T21:10:20.123Z INFO scheduler.queue: {line}"

    def test_a_traceback_follows(self) -> None:
        lines = daemon.TextFormatter().format(record("failed", ValueError("why"))).splitlines()
        assert lines[0].endswith("failed")
        assert lines[-1] == "ValueError: why"

    def test_json_is_one_object_an_event(self) -> None:
        line = daemon.JSONFormatter().format(record("failed", ValueError("why"), pod="ns/a", odd={1}))
        assert "\n" not in line
        assert json.loads(line) == {
            "ts": "2026-11-22T21:10:20.123Z",
            "level": "info",
            "logger": "scheduler.queue",
            "msg": "failed",
            "pod": "ns/a",
            "odd": "{1}",
            "error": "ValueError: why",
        }

    @pytest.mark.parametrize(
        ("verbosity", "ours", "libraries"),
        [
            (0, "INFO", "WARNING"),
            (1, "INFO", "WARNING"),
            (2, "DEBUG", "WARNING"),
            (4, "DEBUG", "INFO"),
            (6, "DEBUG", "DEBUG"),
        ],
    )
    def test_verbosity(self, verbosity: int, ours: str, libraries: str, monkeypatch: pytest.MonkeyPatch) -> None:
        root, kube = logging.getLogger(), logging.getLogger("kube")
        handlers, levels = root.handlers[:], (root.level, kube.level)
        try:
            daemon.set_up_logging(verbosity)
            assert logging.getLevelName(kube.level) == ours
            assert logging.getLevelName(root.level) == libraries
        finally:
            logging.captureWarnings(False)
            root.handlers[:] = handlers
            root.setLevel(levels[0])
            kube.setLevel(levels[1])


class TestHealth:
    @staticmethod
    async def get(port: int, path: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}{path}") as answer,
        ):
            return answer.status, await answer.text()

    async def test_what_the_pages_say(self) -> None:
        state = {"broken": False}

        async def etcd() -> None:
            if state["broken"]:
                raise ConnectionError("etcd does not answer")

        async with daemon.serve_health("127.0.0.1", 0, {"etcd": etcd, "sync": lambda: None}) as port:
            assert await self.get(port, "/healthz") == (200, "ok")
            assert await self.get(port, "/readyz?verbose") == (
                200,
                "[+]ping ok\n[+]etcd ok\n[+]sync ok\nreadyz check passed\n",
            )
            state["broken"] = True
            assert await self.get(port, "/livez") == (200, "ok")
            broken = "[+]ping ok\n[-]etcd failed: etcd does not answer\n[+]sync ok\n"
            assert await self.get(port, "/readyz") == (500, f"{broken}readyz check failed\n")
            assert await self.get(port, "/healthz") == (500, f"{broken}healthz check failed\n")
            assert await self.get(port, "/readyz/sync") == (200, "ok")
            assert (await self.get(port, "/readyz/etcd"))[0] == 500
            assert (await self.get(port, "/readyz/other"))[0] == 404
            assert (await self.get(port, "/nothing"))[0] == 404

    async def test_a_check_that_does_not_answer_failed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(daemon, "CHECK_TIMEOUT", 0.01)
        failures = await daemon.run_checks({"slow": asyncio.Event().wait})  # type: ignore[dict-item]  # its True is lost
        assert failures == {"slow": "no answer within 0.01 s"}

    async def test_metrics_of_the_process_are_among_them(self) -> None:
        async with daemon.serve_health("127.0.0.1", 0) as port:
            status, text = await self.get(port, "/metrics")
        assert status == 200
        assert "process_resident_memory_bytes" in text

    async def test_routes_of_the_daemon_s_own(self) -> None:
        async def pods(request: web.Request) -> web.Response:
            return web.Response(text="pods")

        async with daemon.serve_health("127.0.0.1", 0, routes=[web.get("/pods", pods)]) as port:
            assert await self.get(port, "/pods") == (200, "pods")

    @pytest.mark.parametrize(
        ("address", "port", "complaint"),
        [
            pytest.param("127.0.0.1", 70000, r"cannot listen on 127\.0\.0\.1:70000", id="a port that is none"),
            pytest.param(
                "198.51.100.7", 0, r"cannot listen on 198\.51\.100\.7:0: cannot assign", id="another's address"
            ),
        ],
    )
    def test_where_nobody_can_listen(self, address: str, port: int, complaint: str) -> None:
        with pytest.raises(daemon.Fatal, match=complaint):
            daemon.listen(address, port)
