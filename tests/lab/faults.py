"""What is done to the lab, and how it is undone. A fault is a name, a way to cause it, and a way to end it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from deploy.cluster.example import request
from deploy.compose import lab

PAUSED = 20.0
"""Seconds that a leader is stopped for: longer than its lease."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that breaks."""

    name: str
    cause: Callable[[], None]
    end: Callable[[], None] = lambda: None
    lasts: float = 3.0
    """Seconds between the two."""


def docker(*arguments: str) -> str:
    """What a docker command prints."""
    done = subprocess.run(["docker", *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr.strip()}"
    return done.stdout


def inside(service: str, command: str) -> str:
    """Run a shell command in a container."""
    return docker("exec", lab.containers()[service], "sh", "-c", command)


def kill(*services: str) -> Callable[[], None]:
    """Kill everything in these containers; Docker starts them again."""

    def cause() -> None:
        for service in services:
            # Not `docker kill`, after which a container stays down: what is killed from outside was meant.
            pid = docker("inspect", "--format", "{{.State.Pid}}", lab.containers()[service]).strip()
            subprocess.run(["kill", "-9", pid], check=True)

    return cause


def pause(service: str) -> Fault:
    """Stop a container's processes for a while, without their knowing."""
    return Fault(
        f"pause {service}",
        lambda: _ignore(docker("pause", lab.containers()[service])),
        lambda: _ignore(docker("unpause", lab.containers()[service])),
        PAUSED,
    )


def kill_in(service: str, process: str) -> Fault:
    """Kill one daemon of a minion; its supervisor starts it again."""
    return Fault(f"kill {process} of {service}", lambda: _ignore(inside(service, f"pkill -9 -f /venv/bin/{process}")))


def pause_in(service: str, process: str) -> Fault:
    """Stop one daemon of a minion for a while."""
    return Fault(
        f"pause {process} of {service}",
        lambda: _ignore(inside(service, f"pkill -STOP -f /venv/bin/{process}")),
        lambda: _ignore(inside(service, f"pkill -CONT -f /venv/bin/{process}")),
        10.0,
    )


def cut(service: str, name: str, *others: str, lasts: float = 10.0) -> Fault:
    """Drop every packet between a minion and other containers."""

    def rules(verb: str) -> Callable[[], None]:
        def apply() -> None:
            for other in others:
                address = lab.address(other)
                for chain, way in (("INPUT", "-s"), ("OUTPUT", "-d"), ("FORWARD", "-s"), ("FORWARD", "-d")):
                    inside(service, f"iptables -w 5 {verb} {chain} {way} {address} -j DROP")

        return apply

    return Fault(f"cut {service} off from {name}", rules("-I"), rules("-D"), lasts)


def minion_off(service: str) -> Fault:
    """Pull a minion's plug, and put it back when it has been given up."""
    return Fault(
        f"kill {service}",
        lambda: _ignore(docker("kill", lab.containers()[service])),
        lambda: _ignore(docker("start", lab.containers()[service])),
        5.0,
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
    for service in ("etcd-1", "etcd-2", "etcd-3"):
        endpoint = f"http://{service}:2379"
        told = inside(service, f"etcdctl --endpoints={endpoint} endpoint status").split(", ")
        if told[4] == "true":
            return service
    raise AssertionError("no etcd member leads")


def _ignore(_: object) -> None:
    return


EVERYTHING = (
    "etcd-1", "etcd-2", "etcd-3", "apiserver-1", "apiserver-2", "apiserver", "scheduler-1", "scheduler-2",
    "controller-manager-1", "controller-manager-2",
)  # fmt: skip


def all_faults() -> list[Callable[[], Fault]]:
    """The faults, one after the other; who leads is asked when it is its turn."""
    apiservers, etcd = ("apiserver-1", "apiserver-2"), ("etcd-1", "etcd-2", "etcd-3")
    return [
        lambda: Fault("kill an apiserver", kill("apiserver-1")),
        lambda: pause("apiserver-2"),
        lambda: Fault("kill both apiservers", kill(*apiservers)),
        lambda: Fault("kill the leading scheduler", kill(leader("scheduler"))),
        lambda: pause(leader("scheduler")),
        lambda: Fault("kill the leading controller-manager", kill(leader("controller-manager"))),
        lambda: pause(leader("controller-manager")),
        lambda: Fault("kill an etcd member", kill(next(each for each in etcd if each != etcd_leader()))),
        lambda: Fault("kill the etcd leader", kill(etcd_leader())),
        lambda: pause(etcd_leader()),
        lambda: kill_in("minion-2", "kubelet"),
        lambda: pause_in("minion-2", "kubelet"),
        lambda: kill_in("minion-2", "kube-proxy"),
        lambda: pause_in("minion-2", "kube-proxy"),
        lambda: minion_off("minion-3"),
        lambda: cut("minion-2", "the apiservers", "apiserver", *apiservers),
        lambda: cut("minion-2", "etcd", *etcd),
        lambda: cut("minion-2", "its peers", "minion-1", "minion-3"),
        lambda: cut("minion-3", "everything", *EVERYTHING, "minion-1", "minion-2"),
        lambda: Fault("restart everything at once", kill(*EVERYTHING)),
    ]
