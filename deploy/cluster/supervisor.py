"""supervisord: it starts, restarts and logs the processes; this writes its configuration and speaks its XML-RPC.

Every program is started by name, in order, when what it needs is there (`autostart` is off), and is started again
whenever it ends. supervisord and all that it starts carry the cluster's directory in their environment
(`KUBE_RUN_DIR`), so that what outlived a killed supervisord can still be told from everybody else's processes.
"""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from supervisor.xmlrpc import Faults, SupervisorTransport

from deploy.cluster.steps import Failed, last_lines

MARK = "KUBE_RUN_DIR"
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
UNIX_PATH_MAX = 107
STARTING, RUNNING = "STARTING", "RUNNING"


@dataclass(frozen=True)
class Program:
    """A process that supervisord keeps running."""

    name: str
    command: Sequence[str]
    health: str
    """URL that answers 200 when it is well; empty: it is asked in another way."""
    stop_seconds: int = 10
    """From SIGTERM to SIGKILL."""

    @property
    def port(self) -> int:
        """The port of its health URL; 0 if it has none."""
        return urlsplit(self.health).port or 0


def configuration(run: Path, programs: Iterable[Program]) -> str:
    """supervisord.conf for these programs."""
    text = f"""\
[supervisord]
nodaemon=false
user=root
directory={_escape(str(run))}
logfile={_escape(str(run / "log/supervisord.log"))}
pidfile={_escape(str(run / "supervisord.pid"))}
childlogdir={_escape(str(run / "log"))}

[unix_http_server]
file={_escape(str(run / "supervisor.sock"))}
chmod=0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{_escape(str(run / "supervisor.sock"))}
"""
    for program in programs:
        command = " ".join(_quote(word) for word in program.command)
        text += f"""
[program:{program.name}]
command={_escape(command)}
autostart=false
autorestart=true
startsecs=1
startretries=1000000
stopwaitsecs={program.stop_seconds}
redirect_stderr=true
stdout_logfile={_escape(str(run / f"log/{program.name}.log"))}
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=2
"""
    return text


def _escape(text: str) -> str:
    return text.replace("%", "%%")


def _quote(word: str) -> str:
    return (
        word if word and not set(word) & set(" ;'\"\\") else '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
    )


class Supervisor:
    """The supervisord of one cluster directory, running or not."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self._socket = run / "supervisor.sock"
        self._config = run / "supervisord.conf"

    def running(self) -> bool:
        """Whether it answers."""
        try:
            self._call("getState")
        except (OSError, xmlrpc.client.Error):
            return False
        return True

    def start(self, programs: Sequence[Program]) -> bool:
        """Start it, or bring the running one up to date with `programs`. True if it was started."""
        if len(str(self._socket)) > UNIX_PATH_MAX:
            raise Failed(
                f"the path {self._socket} is longer than the {UNIX_PATH_MAX} characters that a socket's name may have: "
                "use a checkout with a shorter path"
            )
        (self.run / "log").mkdir(parents=True, exist_ok=True)
        self._config.write_text(configuration(self.run, programs))
        if self.running():
            self._reload()
            return False
        kill_marked(self.run)
        environment = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
        environment |= {
            MARK: str(self.run),
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '/usr/bin:/bin')}:{SBIN}",
            "HOME": os.environ.get("HOME", "/root"),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
        }
        result = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._config)],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        deadline = time.monotonic() + 10
        while result.returncode == 0 and time.monotonic() < deadline:
            if self.running():
                return True
            time.sleep(0.02)
        log = self.run / "log/supervisord.log"
        raise Failed(f"supervisord does not start: {result.stderr.strip() or last_lines(log, 3)}")

    def _reload(self) -> None:
        """Take over a changed configuration; a program whose lines changed is stopped."""
        ((added, changed, removed),) = self._call("reloadConfig")
        for name in [*changed, *removed]:
            self._call("stopProcessGroup", name)
            self._call("removeProcessGroup", name)
        for name in [*added, *changed]:
            self._call("addProcessGroup", name)

    def start_program(self, name: str) -> bool:
        """Start a program. False if it runs already."""
        try:
            self._call("startProcess", name, False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != Faults.ALREADY_STARTED:
                raise Failed(f"{name} does not start: {fault.faultString}") from fault
            return False
        return True

    def stop_program(self, name: str) -> None:
        """Stop a program and wait for its end; no error if it does not run."""
        with suppress(xmlrpc.client.Fault, OSError):
            self._call("stopProcess", name)

    def state(self, name: str) -> str:
        """RUNNING, STARTING, BACKOFF (it ended and is started again), STOPPED, …"""
        return str(self._info(name)["statename"])

    def pid(self, name: str) -> int:
        """Of a program that runs; 0 otherwise."""
        return int(self._info(name)["pid"])

    def has(self, name: str) -> bool:
        """Whether supervisord answers and keeps this program running."""
        try:
            return self.state(name) in (RUNNING, STARTING, "BACKOFF")
        except (OSError, xmlrpc.client.Error):
            return False

    def shutdown(self) -> None:
        """Stop every program, and supervisord itself, and what a killed one left; no error if none runs."""
        with suppress(OSError, xmlrpc.client.Error):
            self._call("shutdown")
            deadline = time.monotonic() + 60
            while self.running() and time.monotonic() < deadline:
                time.sleep(0.05)
        kill_marked(self.run)
        for name in ("supervisor.sock", "supervisord.pid"):
            (self.run / name).unlink(missing_ok=True)

    def _info(self, name: str) -> dict[str, Any]:
        info: dict[str, Any] = self._call("getProcessInfo", name)
        return info

    def _call(self, method: str, *arguments: object) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        try:
            with xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport) as proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except http.client.HTTPException as error:  # it ended while it was asked
            raise ConnectionError(f"supervisord does not answer: {error!r}") from error


def marked(run: Path | None = None) -> Iterator[tuple[int, str]]:
    """Pid and name of every process that the supervisord of a cluster directory (None: of any) started."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
            name = (entry / "comm").read_text().strip()
            ended = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:  # ended, or not ours to read
            continue
        wanted = f"{MARK}={run}".encode() if run else f"{MARK}=".encode()
        if not ended and any(item == wanted if run else item.startswith(wanted) for item in environment):
            yield int(entry.name), name


def kill_marked(run: Path) -> list[str]:
    """End what an earlier supervisord of this directory left running: SIGTERM, then SIGKILL. The names of what was.

    The shims that hold Docker's containers are left: a container ends when Docker removes it.
    """

    def left() -> dict[int, str]:
        return {pid: name for pid, name in marked(run) if not name.startswith("containerd-shim")}

    found = left()
    for number, seconds in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0)):
        deadline = time.monotonic() + seconds
        for pid in left():
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        while left() and time.monotonic() < deadline:
            time.sleep(0.05)
    return sorted(set(found.values()))
