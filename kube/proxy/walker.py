"""A packet's way through tables of rules: pure, without a kernel. For `--explain`, and for the tests of the rules.

It knows the matches and targets that the proxy's rules use, and refuses any other (ValueError), so that a rule which it
does not understand cannot be passed over. Where a rule decides by turns (statistic), the packet goes both ways, each
with its odds: the outcomes of a walk sum up to one.

The order is the kernel's: nat PREROUTING, then filter INPUT or FORWARD, or for what the node itself sends nat OUTPUT
and filter OUTPUT; and nat POSTROUTING for what leaves. Only a connection's first packet is walked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise
from typing import NamedTuple

from kube.proxy.tables import Table


class Step(NamedTuple):
    """A rule that matched."""

    table: str
    chain: str
    rule: str


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a connection, and what has become of it."""

    source: str
    destination: str
    port: int
    protocol: str = "tcp"
    local: frozenset[str] = frozenset()
    """The node's addresses, besides 127.0.0.0/8."""
    remembered: frozenset[str] = frozenset()
    """Lists (`recent`) that the source is on."""
    mark: int = 0
    rewritten: bool = False
    """Its destination is another than the client's."""
    masqueraded: bool = False
    steps: tuple[Step, ...] = ()

    def is_local(self, address: str) -> bool:
        """Whether an address is one of the node's."""
        return address in self.local or address.startswith("127.")


class Outcome(NamedTuple):
    """How a walk may end."""

    odds: Fraction
    verdict: str
    """`ACCEPT`, `DROP`, `REJECT`, or `POLICY`: the proxy's rules leave it to whatever else there is."""
    packet: Packet
    """As it arrives."""


@dataclass(frozen=True, slots=True)
class _Rule:
    text: str
    matches: tuple[tuple[str, tuple[str, ...], bool], ...] = ()
    """Option, its values, whether it is negated."""
    target: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


_Branch = tuple[Packet, Fraction, str]
"""A packet that leaves a chain: with its odds, and a verdict unless it goes on in the chain that jumped here."""


def walk(tables: Iterable[Table], packet: Packet) -> list[Outcome]:
    """All that may become of a packet, in the order of the rules."""
    by_name = {table.name: table for table in tables}
    from_node = packet.is_local(packet.source)
    outcomes = []
    for arrived, odds, _ in _hook(by_name, "nat", "OUTPUT" if from_node else "PREROUTING", packet):
        stays = arrived.is_local(arrived.destination)
        hook = "OUTPUT" if from_node else "INPUT" if stays else "FORWARD"
        for passed, more, verdict in _hook(by_name, "filter", hook, arrived):
            if verdict in ("DROP", "REJECT"):
                outcomes.append(Outcome(odds * more, verdict, passed))
                continue
            left = [(passed, Fraction(1), "")] if stays else _hook(by_name, "nat", "POSTROUTING", passed)
            outcomes += [Outcome(odds * more * last, verdict or "POLICY", gone) for gone, last, _ in left]
    return outcomes


def _hook(tables: Mapping[str, Table], name: str, hook: str, packet: Packet) -> Iterator[_Branch]:
    table = tables.get(name, Table(name))
    return _rules(table, hook, table.hooks.get(hook, ()), packet)


def _rules(table: Table, chain: str, rules: Iterable[str], packet: Packet) -> Iterator[_Branch]:
    here: list[tuple[Packet, Fraction]] = [(packet, Fraction(1))]
    for text in rules:
        rule = _parse(text)
        going_on: list[tuple[Packet, Fraction]] = []
        for each, odds in here:
            chance = _matches(rule, each)
            if chance < 1:
                going_on.append((each, odds * (1 - chance)))
            if chance > 0:
                matched = replace(each, steps=(*each.steps, Step(table.name, chain, text)))
                for after, more, verdict in _act(table, rule, matched):
                    if verdict:
                        yield after, odds * chance * more, "" if verdict == "RETURN" else verdict
                    else:
                        going_on.append((after, odds * chance * more))
        here = going_on
    for each, odds in here:
        yield each, odds, ""


def _act(table: Table, rule: _Rule, packet: Packet) -> Iterator[_Branch]:
    """What a rule's target does; without a verdict the packet goes on to the next rule."""
    all_of_it = Fraction(1)
    for option, values, _ in rule.matches:
        if option == "--set":
            packet = replace(packet, remembered=packet.remembered | {values[0]})
    match rule.target:
        case "ACCEPT" | "DROP" | "REJECT" | "RETURN":
            yield packet, all_of_it, rule.target
        case "MARK":
            value, _, mask = rule.options["--set-xmark"].partition("/")
            yield replace(packet, mark=packet.mark & ~int(mask, 16) ^ int(value, 16)), all_of_it, ""
        case "DNAT":
            ip, _, port = rule.options["--to-destination"].partition(":")
            yield replace(packet, destination=ip, port=int(port), rewritten=True), all_of_it, "ACCEPT"
        case "REDIRECT":
            port = rule.options["--to-ports"]
            here = "127.0.0.1" if packet.is_local(packet.source) else min(packet.local, default="127.0.0.1")
            yield replace(packet, destination=here, port=int(port), rewritten=True), all_of_it, "ACCEPT"
        case "MASQUERADE":
            yield replace(packet, masqueraded=True), all_of_it, "ACCEPT"
        case chain:
            if chain not in table.chains:
                raise ValueError(f"{table.name}: no chain {chain!r}, where a rule jumps to: {rule.text}")
            yield from _rules(table, chain, table.chains[chain], packet)


def _matches(rule: _Rule, packet: Packet) -> Fraction:
    """How likely the rule is to match: 0 or 1, but for a turn."""
    odds = Fraction(1)
    for option, values, negated in rule.matches:
        chance = _match(option, values, packet)
        odds *= 1 - chance if negated else chance
    return odds


def _match(option: str, values: tuple[str, ...], packet: Packet) -> Fraction:
    value = values[0] if values else ""
    match option:
        case "-s":
            found = _in_network(packet.source, value)
        case "-d":
            found = _in_network(packet.destination, value)
        case "-p":
            found = packet.protocol == value
        case "--dport" | "--dports":
            spans = [(*map(int, part.split(":")),) for part in value.split(",")]
            found = any(span[0] <= packet.port <= span[-1] for span in spans)
        case "--ctstate":
            found = bool({"NEW", *(["DNAT"] if packet.rewritten else [])} & {*value.split(",")})
        case "--src-type":
            found = packet.is_local(packet.source)
        case "--dst-type":
            found = packet.is_local(packet.destination)
        case "--mark":
            wanted, _, mask = value.partition("/")
            found = packet.mark & int(mask, 16) == int(wanted, 16)
        case "--rcheck":
            found = value in packet.remembered
        case "--every":
            return Fraction(1, int(value))
        case "--set":
            found = True
        case _:
            raise ValueError(f"a match that is not known: {option} {' '.join(values)}")
    return Fraction(int(found))


@lru_cache(maxsize=65536)
def _in_network(address: str, network: str) -> bool:
    return IPv4Address(address) in IPv4Network(network)


_FLAGS = frozenset(("--rsource", "--reap", "--random-fully", "--rcheck", "--set"))
"""Options without a value."""
_SILENT = frozenset(("-m", "--comment", "--mode", "--packet", "--seconds", "--reap", "--name", "--mask", "--rsource"))
"""Options that do not decide by themselves whether a rule matches."""


@lru_cache(maxsize=65536)
def _parse(text: str) -> _Rule:
    words = _words(text)
    if "-j" not in words:
        raise ValueError(f"a rule without a target: {text}")
    at = words.index("-j")
    options = {option: value for option, value in pairwise(words[at + 2 :]) if option.startswith("-")}
    matches: list[tuple[str, tuple[str, ...], bool]] = []
    lists = [value for option, value in pairwise(words) if option == "--name"]
    negated, place = False, 0
    while place < at:
        word = words[place]
        place += 1
        if word == "!":
            negated = True
            continue
        values: tuple[str, ...] = ()
        if word in ("--rcheck", "--set"):
            values = (lists[0],)
        elif word not in _FLAGS:
            values = (words[place],)
            place += 1
        if word not in _SILENT:
            matches.append((word, values, negated))
        negated = False
    return _Rule(text, tuple(matches), words[at + 1], options)


def _words(text: str) -> list[str]:
    """The words of a rule; what is in quotes is one."""
    words = []
    for number, part in enumerate(text.split('"')):
        words += [part] if number % 2 else part.split()
    return words
