"""A long chain as a tree of short ones, so that finding a rule takes the same few steps however many there are.

A chain that looks for one of many addresses (or ports) is walked rule by rule. Ours is split whenever it would be
longer than a few rules: by the next four bits of the address behind those that all its addresses have in common. Which
chains there are depends on the addresses alone, so one service more or less changes one or two chains of many.

Kubernetes' proxy has one linear chain, KUBE-SERVICES, with a rule for each service port.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable, Sequence

from kube.proxy.tables import Rules

LONGEST = 8
"""Rules that are walked one by one."""
BITS = 4
"""A chain that is split has at most 2 ** BITS branches."""

Entry = tuple[int, str]
"""An address (or port) as a number, and the rule that matches it."""
_Entries = Sequence[Entry]


def by_address(
    entries: Iterable[tuple[str, str]], branch: str, chains: dict[str, Rules], option: str = "-d"
) -> list[str]:
    """The rules that find the rule of an address (`option`: matched as `-d` or as `-s`) among `entries`.

    The branches are added to `chains`, each after those it jumps to; their names begin with `branch`.
    """

    def name(number: int, bits: int) -> str:
        return f"{branch}{_ip(number)}-{bits}"

    def match(number: int, bits: int) -> str:
        return f"{option} {_ip(number)}/{bits}"

    numbers = [(struct.unpack("!I", socket.inet_aton(ip))[0], rule) for ip, rule in entries]
    return _branch(numbers, 32, name, match, chains)


def by_port(entries: Iterable[tuple[int, str]], protocol: str, branch: str, chains: dict[str, Rules]) -> list[str]:
    """The same for rules that match a destination port of a protocol."""

    def name(number: int, bits: int) -> str:
        return f"{branch}{number}-{bits}"

    def match(number: int, bits: int) -> str:
        return f"-p {protocol} -m {protocol} --dport {number}:{number + (1 << 16 - bits) - 1}"

    return _branch(list(entries), 16, name, match, chains)


def _branch(
    entries: _Entries,
    width: int,
    name: Callable[[int, int], str],
    match: Callable[[int, int], str],
    chains: dict[str, Rules],
) -> list[str]:
    if len(entries) <= LONGEST:
        return [rule for _, rule in entries]
    first, last = min(entries)[0], max(entries)[0]
    if first == last:
        return [rule for _, rule in entries]  # many ports of one address
    common = width - (first ^ last).bit_length()
    bits = min(common // BITS * BITS + BITS, width)
    children: dict[int, list[Entry]] = {}
    shift = width - bits
    for entry in entries:
        children.setdefault(entry[0] >> shift, []).append(entry)
    rules = []
    for prefix in sorted(children):
        below, number = children[prefix], prefix << shift
        if len(below) == 1 or shift == 0:
            rules += [rule for _, rule in below]
            continue
        chain = name(number, bits)
        chains[chain] = tuple(_branch(below, width, name, match, chains))
        rules.append(f"{match(number, bits)} -j {chain}")
    return rules


def _ip(number: int) -> str:
    return socket.inet_ntoa(struct.pack("!I", number))
