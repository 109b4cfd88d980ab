"""Whether ever two acted at once: the leases as they changed, and what each process did, and when.

A binding is in etcd, so that its place among the changes of the lease is known exactly, by revision. Of what a
controller manager does only its log tells, by the clock; so the lease is taken to have changed hands when its new
holder says that it did (the lab's processes share one clock), not when the change was seen: that may be long after, if
etcd was away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from deploy.compose import logs
from deploy.compose.hops import Change

ANSWER = 2.0
"""Seconds that a line of a log may be late."""
_BOUND = re.compile(r"bound pod=(\S+)")


@dataclass(frozen=True, slots=True)
class Held:
    """From when on a lease was whose."""

    time: float
    revision: int
    holder: str
    """Named `<container>_…`; empty: nobody's."""


@dataclass(frozen=True, slots=True)
class Act:
    """What only a leader may do."""

    time: float
    container: str
    revision: int = 0
    """etcd's, if it is known."""


def held(changes: Iterable[Change], key: str) -> list[Held]:
    """How a lease went from one to another."""
    found: list[Held] = []
    for change in changes:
        if change.key != key or not change.object:
            continue
        spec = change.object["spec"]
        holder = str(spec.get("holderIdentity") or "")
        if not found or found[-1].holder != holder:
            since = logs.seconds(spec["acquireTime"]) if spec.get("acquireTime") else change.time
            found.append(Held(since, change.revision, holder))
    return found


def bindings(changes: Iterable[Change]) -> dict[str, int]:
    """The revision in which each pod got its node, by namespace and name."""
    found: dict[str, int] = {}
    for change in changes:
        if change.key.startswith("/registry/pods/") and change.object and change.object["spec"].get("nodeName"):
            found.setdefault(change.key.removeprefix("/registry/pods/"), change.revision)
    return found


def acts(container: str, lines: Iterable[str], bound: Mapping[str, int]) -> list[Act]:
    """What a scheduler or controller manager did, from its log. `bound`: as of `bindings`."""
    found = []
    for line in logs.read(lines):
        if line.logger == "scheduler.scheduler" and (match := _BOUND.match(line.text)):
            found.append(Act(line.time, container, bound.get(match[1], 0)))
        elif line.logger == "controller_manager.replication" and line.text.startswith("too "):
            found.append(Act(line.time, container))
    return found


def wrong(leases: Sequence[Held], done: Iterable[Act]) -> list[str]:
    """Every act of who did not lead at the time. What was before the first of the leases is not judged."""
    return [
        f"{act.container} acted at {act.time:.3f} (revision {act.revision or 'unknown'}), and led had {holders} "
        f"of {leases}"
        for act in done
        if (holders := _holders(leases, act)) and act.container not in {each.partition("_")[0] for each in holders}
    ]


def _holders(leases: Sequence[Held], act: Act) -> list[str]:
    """Who may have led when it was done; nobody if nothing is known of that time."""
    if act.revision:
        return [each.holder for each in leases if each.revision < act.revision][-1:]
    until = [each for each in leases if each.time <= act.time]
    lately = [each.holder for each in until if act.time - each.time < ANSWER]
    return lately + [each.holder for each in until if act.time - each.time >= ANSWER][-1:]
