"""deploy/test: everything that tells whether this works, with the servers that the tests need.

Checks (deploy/check), then pytest: unit, integration (real etcd, Docker, iptables), the lab of deploy/lab (but what is
marked as long), and end to end (the five processes). Arguments are pytest's, and leave out the checks:
`deploy/test tests/e2e/test_service.py -k udp`, `deploy/test tests/lab` for all of the lab's.

The etcd is a private one; dockerd is started if none runs. Both end with the tests, also when those are ended by a
signal, and what they say is in `.run/test/log`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from deploy.cluster import machine
from deploy.cluster.cluster import Cluster
from deploy.cluster.lock import exclusive
from deploy.cluster.settings import CHECKOUT, Settings
from deploy.cluster.steps import Failed, Steps
from deploy.cluster.up import have_images

SERVERS = Settings(
    run=CHECKOUT / ".run/test", node="test-servers", etcd_port=26379, etcd_peer_port=26380, shared_etcd=False
)
COMMANDS = {"kubectl": "kubernetes-client", "etcdctl": "etcd-client"}
"""The commands that only tests use, and Debian's packages of them."""
DEBIAN = SERVERS.run / "debian"
"""Where packages are unpacked whose commands would stand in the way of newer ones: Debian's kubectl is 1.20."""
TESTS = ("-m", "not long", "tests/unit", "tests/integration", "tests/lab", "tests/e2e")
"""In this order: what is quick to fail comes first; the daemons of the end-to-end tests run until the end."""
TEARDOWN = 60.0
"""Seconds that interrupted tests have to stop what they started."""


def main() -> None:
    """The command."""
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        sys.exit(__doc__)
    began = time.monotonic()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    try:
        sys.exit(test(arguments, Steps(), began))
    except Failed as failure:
        sys.exit(f"deploy/test: {failure}")


def test(arguments: list[str], steps: Steps, began: float) -> int:
    """Run the checks and the tests; pytest's exit code, or the checks'."""
    machine.require_root("deploy/test")
    machine.require_disk(SERVERS.run, Path("/var/lib/docker"))
    install(steps)
    if not arguments and (code := subprocess.run([str(CHECKOUT / "deploy/check")]).returncode):
        return code
    with exclusive(SERVERS.run):
        servers = Cluster(SERVERS, steps)
        servers.stop()
        try:
            servers.start_supervisor()
            servers.start_etcd()
            servers.start_dockerd()
            have_images(steps)
            with steps.step("pytest") as step:
                step.say(f"begins after {time.monotonic() - began:.0f} s")
            environment = os.environ | {"KUBE_TEST_ETCD": SERVERS.etcd, "PATH": machine.PATH}
            return run([sys.executable, "-m", "pytest", *(arguments or TESTS)], environment)
        finally:
            servers.steps = Steps(quiet=True)
            servers.stop()


def run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """pytest's exit code. Whatever ends this process before it interrupts pytest, which then stops what it started."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A script's job in the background is deaf to it, and so would pytest be.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, env=environment)
    told = False
    try:
        return process.wait()
    except KeyboardInterrupt:
        told = True  # by the terminal: once more, and it would not even clean up
        raise
    finally:
        if process.poll() is None:
            if not told:
                process.send_signal(signal.SIGINT)  # of SIGTERM, pytest would die at once
            try:
                process.wait(TEARDOWN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def end(number: int, frame: FrameType | None) -> None:
    """Handle a signal: clean up, and exit. A second one changes nothing."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def install(steps: Steps) -> None:
    """Have the packages that the cluster needs, and those that only tests use."""
    with steps.step("packages") as step:
        packages = machine.missing_packages()
        packages += [package for command, package in COMMANDS.items() if not machine.which(command)]
        if packages:
            machine.install(step, packages, SERVERS.logs / "apt.log")
        unpacked = (DEBIAN / "usr/bin/kubectl").exists()
        if not unpacked:
            machine.unpack(step, COMMANDS["kubectl"], DEBIAN, SERVERS.logs / "apt.log")
        step.done("all here" if unpacked and not packages else "installed")


if __name__ == "__main__":
    main()
