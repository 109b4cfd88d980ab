"""What happened to an object, hop by hop: from what etcd, the daemons and Docker recorded.

Three kinds of record say everything. A revision of etcd: which key changed, to what, and when it was seen (a watch on
/registry, at a millisecond's distance). A line of a daemon's log: what it did, to which object, when. And the start of
a container, as Docker noted it. From these `hops` makes a sequence: who acted, towards whom, what, when. Nothing is
taken from how it ought to be.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from deploy.compose import logs

CLIENT, APISERVER, ETCD, SCHEDULER, MANAGER = "client", "apiserver", "etcd", "scheduler", "controller-manager"
KUBELET, DOCKER, PROXY = "kubelet", "docker", "proxy"
LANES = (CLIENT, APISERVER, ETCD, SCHEDULER, MANAGER, KUBELET, DOCKER, PROXY)
"""From left to right in a picture."""


@dataclass(frozen=True, slots=True, order=True)
class Hop:
    """Something that went from one to another."""

    time: float
    """When, in seconds since the epoch."""
    source: str
    target: str
    what: str
    revision: int = 0
    """etcd's, if it is a change of what is stored."""
    proves: str = ""
    """The `what` of a change that had been made by then: who says "bound" has been answered by the apiserver."""


@dataclass(frozen=True, slots=True)
class Change:
    """A key of etcd that changed."""

    time: float
    revision: int
    key: str
    object: Mapping[str, Any] | None
    """What it holds now; None: it was deleted."""


def of_changes(changes: Iterable[Change], namespace: str) -> list[Hop]:
    """The writes of a namespace's objects, each by whom its content shows to be the writer."""
    last: dict[str, Mapping[str, Any]] = {}
    found = []
    for change in changes:
        parts = change.key.split("/")
        if namespace not in parts:
            continue
        before, now = last.get(change.key, {}), change.object
        hop = _deleted(change, before) if now is None else _written(change, before, now)
        last[change.key] = now or {}
        if hop:
            writer, what = hop
            found.append(Hop(change.time, writer, ETCD, what, change.revision))
    return found


def _written(change: Change, before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, str] | None:
    kind, name = str(now.get("kind", "")), str(now.get("metadata", {}).get("name", ""))
    if "/boundpods/" in change.key:
        return None  # written in the same transaction as the binding
    if kind == "Event":
        who = str(now.get("source", {}).get("component") or now.get("reportingComponent") or "")
        about = now.get("involvedObject", {}).get("name")
        return _lane(who), f"event {now.get('reason')} about {about}"
    if not before:
        owners = now.get("metadata", {}).get("ownerReferences")
        made_by_us = owners or kind in ("Endpoints", "EndpointSlice")
        return MANAGER if made_by_us else CLIENT, f"{kind} {name} created"
    if kind == "Pod":
        return _pod(name, before, now)
    if now.get("spec") != before.get("spec"):
        return CLIENT, f"{kind} {name} changed"
    return MANAGER, f"{kind} {name}: {_summary(kind, now)}"


def _pod(name: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, str]:
    if node := now["spec"].get("nodeName"):
        if not before.get("spec", {}).get("nodeName"):
            return SCHEDULER, f"Pod {name} bound to {node}"
    elif now.get("status") != before.get("status"):
        return SCHEDULER, f"Pod {name}: {_summary('Pod', now)}"
    if now["metadata"].get("deletionTimestamp") and not before.get("metadata", {}).get("deletionTimestamp"):
        return CLIENT, f"Pod {name} is to be deleted"
    return KUBELET, f"Pod {name}: {_summary('Pod', now)}"


def _deleted(change: Change, before: Mapping[str, Any]) -> tuple[str, str] | None:
    kind, name = str(before.get("kind", "")), change.key.rpartition("/")[2]
    if not kind or "/boundpods/" in change.key:
        return None
    return KUBELET if kind == "Pod" else CLIENT, f"{kind} {name} gone"


def _summary(kind: str, now: Mapping[str, Any]) -> str:
    status = now.get("status", {})
    if kind == "Pod":
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))
        return f"{status.get('phase')}{', Ready' if ready else ''}"
    if kind == "Endpoints":
        subsets = now.get("subsets") or []
        ready_count = sum(len(subset.get("addresses") or []) for subset in subsets)
        return f"{ready_count} ready, {sum(len(s.get('notReadyAddresses') or []) for s in subsets)} not"
    if kind == "EndpointSlice":
        endpoints = now.get("endpoints") or []
        return f"{sum(1 for e in endpoints if e.get('conditions', {}).get('ready'))} of {len(endpoints)} ready"
    return f"status: {status.get('readyReplicas', 0)} of {status.get('replicas', 0)} ready"


# What a line proves: that something had been written by then.
_PROOFS = (
    (re.compile(r"bound pod=(\S+) node=(\S+)"), "Pod {} bound to {}"),
    (re.compile(r"too few pods, creating rc=(\S+)"), "ReplicationController {} created"),
    (re.compile(r"made a sandbox pod=(\S+) .*\((\S+)\)"), "Pod {} bound to {}"),
)
# What a daemon's line means: its logger, the words it begins with, from whom, to whom.
_MEANING = (
    ("scheduler.scheduler", "bound ", SCHEDULER, APISERVER),
    ("controller_manager.replication", "too ", MANAGER, APISERVER),
    ("kubelet.pod_actions", "made a sandbox", KUBELET, DOCKER),
    ("kubelet.pod_actions", "started a container", KUBELET, DOCKER),
    ("kubelet.pod_worker", "nothing is left", KUBELET, DOCKER),
    ("proxy.kernel", "rules written", PROXY, PROXY),
    ("proxy.userspace", "rules written", PROXY, PROXY),
)


def of_log(lines: Iterable[str], where: str, namespace: str) -> list[Hop]:
    """What a daemon says that it did for a namespace's objects (a proxy: that it wrote its rules)."""
    found = []
    for line in logs.read(lines):
        for name, begins, source, target in _MEANING:
            if (
                line.logger == name
                and line.text.startswith(begins)
                and (f"={namespace}/" in line.text or source == PROXY)
            ):
                text = f"{line.text.replace(f'{namespace}/', '')} ({where})"
                found.append(Hop(line.time, source, target, text, proves=_proved(text)))
    return found


def _proved(text: str) -> str:
    return next((what.format(*match.groups()) for line, what in _PROOFS if (match := line.match(text))), "")


def of_container(inspected: Mapping[str, Any], where: str) -> Hop:
    """The start of a container, as `docker inspect` tells it."""
    labels = inspected["Config"]["Labels"]
    name = labels.get("io.kubernetes.container.name") or labels.get("io.kubernetes.docker.type") or inspected["Name"]
    pod = labels.get("io.kubernetes.pod.name")
    return Hop(logs.seconds(inspected["State"]["StartedAt"]), DOCKER, DOCKER, f"{name} of {pod} runs ({where})")


def settled(hops: Iterable[Hop], since: float) -> list[Hop]:
    """In order of time, without what was before, without a second mention of the same thing.

    A watch tells of a change a little late, and the later the busier the machine is. So a change is dated back to what
    proves it, and to the changes of later revisions.
    """
    found: dict[tuple[str, str, float], Hop] = {}
    for hop in sorted(hops):
        if hop.time >= since:
            # A proxy always says the same, and each time it is something else.
            found.setdefault((hop.source, hop.what, hop.time if hop.source == PROXY else 0), hop)
    proved: dict[str, float] = {}
    for hop in sorted(found.values()):
        proved.setdefault(hop.proves, hop.time)  # who knew of it first: others say so, too, and later
    latest, dated = float("inf"), []
    for hop in sorted((hop for hop in found.values() if hop.revision), key=lambda hop: -hop.revision):
        latest = min(latest, hop.time, proved.get(hop.what, latest))
        dated.append(replace(hop, time=latest))
    return sorted([*dated, *(hop for hop in found.values() if not hop.revision)], key=_order)


def _order(hop: Hop) -> tuple[float, int, int]:
    # At the same moment: changes by revision, and before what they are proved by.
    return hop.time, 0 if hop.revision else 1, hop.revision


def _lane(component: str) -> str:
    if component in (KUBELET, MANAGER, SCHEDULER):
        return component
    if component in ("default-scheduler", "kube-scheduler"):
        return SCHEDULER
    return PROXY if component == "kube-proxy" else MANAGER
