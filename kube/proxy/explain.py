"""`--explain`: where a connection goes, in words, found by walking a packet through the rules.

10.96.0.12:80/tcp

from a pod (10.244.0.0/16)
  default/web:http cluster IP: KUBE-SERVICES > KUBE-SVC-BMYVGNGZ5SVTQVQQ
  1 in 3   10.244.0.11:80   the backend sees the client's own address
  …
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network

from kube.proxy import chains
from kube.proxy.tables import Table
from kube.proxy.walker import Outcome, Packet, walk

OUTSIDE = "203.0.113.1"
"""Stands for a client outside the cluster (an address for documentation, RFC 5737)."""

_COMMENT = re.compile(r'--comment (?:"([^"]*)"|(\S+))')


def explain(
    tables: Iterable[Table], ip: str, port: int, protocol: str, *, pods: IPv4Network | None = None, local: bool = False
) -> str:
    """Where connections to an address go, from pods, from the node, from outside. `local`: it is one of the node's."""
    tables = [*tables]
    addresses = frozenset({ip} if local else ())
    a_pod = str(pods[-2]) if pods else OUTSIDE
    sources = [(f"from a pod ({pods})", a_pod)] if pods else []
    sources += [("from the node itself", "127.0.0.1"), ("from outside the cluster", OUTSIDE)]
    told: dict[str, list[str]] = {}
    for who, source in sources:
        packet = Packet(source, ip, port, protocol, addresses)
        told.setdefault(_told(walk(tables, packet), packet), []).append(who)
    parts = [f"{ip}:{port}/{protocol}"]
    parts += ["\n".join(whos) + "\n" + text for text, whos in told.items()]
    return "\n\n".join(parts) + "\n"


def _told(outcomes: Iterable[Outcome], packet: Packet) -> str:
    """All outcomes, those that came by the same way together."""
    lines: list[str] = []
    way = ""
    for outcome in outcomes:
        now = _way(outcome)
        if now != way:
            lines.append(f"  {now}")
            way = now
        lines.append(f"    {_end(outcome, packet)}")
    return "\n".join(lines)


def _way(outcome: Outcome) -> str:
    """The chains that were gone through, and the comments of the service's rules."""
    nat = [step for step in outcome.packet.steps if step.table == "nat" and step.chain != chains.POSTROUTING]
    decided = nat if outcome.packet.rewritten else [s for s in outcome.packet.steps if s.table == "filter"]
    passed = list(dict.fromkeys(step.chain for step in decided if chains.ours(step.chain)))
    why = [said for step in decided if (said := _comment(step.rule)) and not said.startswith("kubernetes ")]
    what = why[0].split(" -> ")[0] if why else ""
    return f"{what}: {' > '.join(passed)}" if what else (" > ".join(passed) or "no rule is about it")


def _end(outcome: Outcome, packet: Packet) -> str:
    arrived = outcome.packet
    if outcome.verdict == "REJECT":
        return "refused"
    if outcome.verdict == "DROP":
        return "dropped without an answer"
    if not arrived.rewritten:
        return "left alone: no service has this address and port"
    odds = "always" if outcome.odds == 1 else f"{outcome.odds.numerator} in {outcome.odds.denominator}"
    seen = "the node's address (masqueraded)" if arrived.masqueraded else "the client's own address"
    to = f"{arrived.destination}:{arrived.port}"
    memory = ", which the client stays with" if arrived.remembered > packet.remembered else ""
    return f"{odds:<8} {to:<21} sees {seen}{memory}"


def _comment(rule: str) -> str:
    match = _COMMENT.search(rule)
    return (match[1] or match[2]) if match else ""
