"""What is done to the lab, and how it is undone. A fault is a way to break something, and a way to end that."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from deploy.cluster.example import request
from deploy.compose import lab

BRIEF, CUT, PAUSED, GIVEN_UP = 3.0, 15.0, 20.0, 35.0
"""Seconds that a fault lasts: that Docker or a supervisor ends it is seen; connections break; longer than a lease;
longer than a node is waited for."""
APISERVERS, ETCD = ("apiserver-1", "apiserver-2"), ("etcd-1", "etcd-2", "etcd-3")
CONTROL_PLANE = (*ETCD, *APISERVERS, "apiserver", "scheduler-1", "scheduler-2",
                 "controller-manager-1", "controller-manager-2")  # fmt: skip
MINIONS = ("minion-1", "minion-2", "minion-3")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that breaks."""

    cause: Callable[[], None]
    end: Callable[[], None] = lambda: None
    lasts: float = BRIEF
    """Seconds between the two."""
    takes_backends: bool = False
    """Whether pods die of it, or cannot be reached: then requests to their service may fail."""


def docker(*arguments: str) -> str:
    """What a docker command prints."""
    done = subprocess.run(["docker", *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr.strip()}"
    return done.stdout


def said(service: str, since: float) -> list[str]:
    """What a container has logged since a time."""
    command = ["docker", "logs", f"--since={since:.3f}", lab.containers()[service]]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout.splitlines()


def inside(service: str, command: str) -> str:
    """Run a shell command in a container."""
    return docker("exec", lab.containers()[service], "sh", "-c", command)


def kill(*services: str, takes_backends: bool = False) -> Fault:
    """Kill everything in these containers at once; Docker starts them again."""

    def cause() -> None:
        ids = [lab.containers()[service] for service in services]
        # Not `docker kill`, after which a container stays down: what is killed from outside was meant.
        pids = docker("inspect", "--format", "{{.State.Pid}}", *ids).split()
        subprocess.run(["kill", "-9", *pids], check=True)

    return Fault(cause, takes_backends=takes_backends)


def pause(service: str, lasts: float = PAUSED, takes_backends: bool = False) -> Fault:
    """Stop a container's processes for a while, without their knowing."""
    return Fault(
        lambda: _ignore(docker("pause", lab.containers()[service])),
        lambda: _ignore(docker("unpause", lab.containers()[service])),
        lasts,
        takes_backends,
    )


def signal_in(service: str, process: str, signal: str) -> Callable[[], None]:
    """Send a signal to a daemon of a minion."""
    pattern = f"[/]venv/bin/{process}"  # so that the shell that looks for it is not found
    return lambda: _ignore(inside(service, f"pkill -{signal} -f '{pattern}'"))


def kill_in(service: str, process: str) -> Fault:
    """Kill one daemon of a minion; its supervisor starts it again."""
    return Fault(signal_in(service, process, "KILL"))


def pause_in(service: str, process: str, lasts: float = GIVEN_UP) -> Fault:
    """Stop one daemon of a minion for a while."""
    return Fault(signal_in(service, process, "STOP"), signal_in(service, process, "CONT"), lasts)


def cut(service: str, *others: str, lasts: float = CUT, takes_backends: bool = False) -> Fault:
    """Drop every packet between a minion and other containers, and the pods of those that are minions."""
    addresses: list[str] = []

    def rules(verb: str) -> None:
        commands = [
            f"iptables -w 5 {verb} {chain} {way} {address} -j DROP"
            for address in addresses
            for chain, way in (("INPUT", "-s"), ("OUTPUT", "-d"), ("FORWARD", "-s"), ("FORWARD", "-d"))
        ]
        inside(service, " && ".join(commands))

    def cause() -> None:
        addresses.extend(lab.address(other) for other in others)
        addresses.extend(pods_of(other) for other in others if other in MINIONS)
        rules("-I")

    return Fault(cause, lambda: rules("-D"), lasts, takes_backends)


def pods_of(minion: str) -> str:
    """The range of a minion's pods."""
    code, node = request("GET", f"{lab.SETTINGS.server}/api/v1/nodes/{minion}")
    assert code == 200, node
    return str(node["spec"]["podCIDR"])


def unplug(service: str) -> Fault:
    """Pull a minion's plug, and put it back when it has been given up."""
    return Fault(
        lambda: _ignore(docker("kill", lab.containers()[service])),
        lambda: _ignore(docker("start", lab.containers()[service])),
        GIVEN_UP,
        takes_backends=True,
    )


def leader(kind: str) -> str:
    """The service that leads, such as `scheduler-2`."""
    lease = f"{lab.SETTINGS.server}/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-{kind}"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        code, answer = request("GET", lease)
        if code == 200 and answer["spec"].get("holderIdentity"):
            return str(answer["spec"]["holderIdentity"]).partition("_")[0]
        time.sleep(0.2)
    raise AssertionError(f"no {kind} leads")


def etcd_leader() -> str:
    """The etcd member that leads."""
    for service in ETCD:
        endpoint = f"http://{service}:2379"
        told = inside(service, f"etcdctl --endpoints={endpoint} endpoint status").split(", ")
        if told[4] == "true":
            return service
    raise AssertionError("no etcd member leads")


def etcd_follower() -> str:
    """An etcd member that does not lead."""
    return next(each for each in ETCD if each != etcd_leader())


def _ignore(_: object) -> None:
    return


FAULTS: dict[str, Callable[[], Fault]] = {
    "kill an apiserver": lambda: kill("apiserver-1"),
    "pause an apiserver": lambda: pause("apiserver-2"),
    "kill both apiservers": lambda: kill(*APISERVERS),
    "kill the proxy before the apiservers": lambda: kill("apiserver"),
    "kill the leading scheduler": lambda: kill(leader("scheduler")),
    "pause the leading scheduler": lambda: pause(leader("scheduler")),
    "kill the leading controller-manager": lambda: kill(leader("controller-manager")),
    "pause the leading controller-manager": lambda: pause(leader("controller-manager")),
    "kill an etcd member": lambda: kill(etcd_follower()),
    "pause an etcd member": lambda: pause(etcd_follower()),
    "kill the etcd leader": lambda: kill(etcd_leader()),
    # It is silent for 10 s before anybody turns to another: with leases that are renewed every 10 s that may be as long
    # as these tests wait for a node.
    "pause the etcd leader": lambda: pause(etcd_leader(), takes_backends=True),
    "kill a kubelet": lambda: kill_in("minion-2", "kubelet"),
    "pause a kubelet": lambda: pause_in("minion-2", "kubelet"),
    "kill a kube-proxy": lambda: kill_in("minion-2", "kube-proxy"),
    "pause a kube-proxy": lambda: pause_in("minion-2", "kube-proxy"),
    "kill a kube-dns": lambda: kill_in("minion-2", "kube-dns"),
    "pause a kube-dns": lambda: pause_in("minion-2", "kube-dns", BRIEF),
    "kill a minion": lambda: unplug("minion-3"),
    "pause a minion": lambda: pause("minion-3", GIVEN_UP, takes_backends=True),
    "cut a minion off from the apiservers": lambda: cut("minion-2", "apiserver", *APISERVERS, lasts=GIVEN_UP),
    "cut a minion off from etcd": lambda: cut("minion-2", *ETCD),
    "cut a minion off from its peers": lambda: cut("minion-2", "minion-1", "minion-3", takes_backends=True),
    "cut a minion off from everything": lambda: cut(
        "minion-3", *CONTROL_PLANE, "minion-1", "minion-2", lasts=GIVEN_UP, takes_backends=True
    ),
    "kill the control plane at once": lambda: kill(*CONTROL_PLANE),
    "kill everything at once": lambda: kill(*CONTROL_PLANE, *MINIONS, takes_backends=True),
}
"""By name. Who leads is asked when it is their turn."""
