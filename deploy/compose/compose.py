"""Docker Compose, version 2 (`docker compose`) or 1 (`docker-compose`, Debian 12's)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from deploy.cluster import machine
from deploy.cluster.settings import CHECKOUT
from deploy.cluster.steps import Failed, Step, last_lines, run_logged

FILE = CHECKOUT / "deploy/docker-compose.yml"
PROJECT = "kube-lab"
MINIONS = 3
"""How many minions the file itself has."""


class Compose:
    """The lab's project: its files, its variables, and the command that works on them."""

    def __init__(self, run: Path, variables: dict[str, str]) -> None:
        self._run = run
        self._environment = os.environ | {"PATH": machine.PATH} | variables
        self._more = run / "minions.yml"

    def with_minions(self, count: int) -> list[str]:
        """The names of all services for this number of minions; those that the file lacks are written beside it."""
        services = yaml.safe_load(FILE.read_text())["services"]
        more = {name: _like(services[f"minion-{MINIONS}"], name) for name in _minions(MINIONS + 1, count)}
        self._more.unlink(missing_ok=True)
        if more:
            self._more.write_text(yaml.safe_dump({"services": more, "volumes": dict.fromkeys(more)}))
        return [name for name in (*services, *more) if not name.startswith("minion-") or name in _minions(1, count)]

    def run(self, step: Step, log: Path, *arguments: str) -> None:
        """Run a command of Compose's, its words kept in a log. Raises Failed."""
        if not run_logged(step, self.command(*arguments), log, self._environment):
            raise Failed(f"`compose {arguments[0]}` failed (all of it: {log}):\n{last_lines(log, 8)}")

    def call(self, *arguments: str) -> int:
        """Run a command of Compose's on this terminal. Its exit code."""
        return subprocess.run(self.command(*arguments), env=self._environment).returncode

    def command(self, *arguments: str) -> Sequence[str]:
        """The command line."""
        files = [FILE, self._more] if self._more.exists() else [FILE]
        return [*_program(), "--project-name", PROJECT, *(f"--file={file}" for file in files), *arguments]


def installed() -> bool:
    """Whether there is a Docker Compose."""
    return _find() is not None


def have_compose(step: Step, log: Path) -> None:
    """Install Debian's Compose if there is none."""
    if not installed():
        machine.install(step, ["docker-compose"], log)


def _minions(first: int, last: int) -> list[str]:
    return [f"minion-{number}" for number in range(first, last + 1)]


def _like(service: dict[str, Any], name: str) -> dict[str, Any]:
    model = str(service["hostname"])
    volumes = [volume.replace(f"{model}:", f"{name}:") for volume in service["volumes"]]
    return service | {"hostname": name, "container_name": f"{PROJECT}-{name}", "volumes": volumes}


def docker(*arguments: str) -> str:
    """What a command of Docker's says. Raises Failed."""
    if not machine.which("docker"):
        raise Failed("there is no Docker here: `deploy/lab up` installs it")
    result = subprocess.run(["docker", *arguments], capture_output=True, text=True)
    if result.returncode:
        raise Failed(f"docker {arguments[0]}: {result.stderr.strip()}")
    return result.stdout


def _find() -> list[str] | None:
    if (
        machine.which("docker")
        and subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0
    ):
        return ["docker", "compose"]
    return ["docker-compose"] if machine.which("docker-compose") else None


def _program() -> list[str]:
    if found := _find():
        return found
    raise Failed("there is no Docker Compose: install Debian's docker-compose, or Docker's plugin")
