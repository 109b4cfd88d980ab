"""iptables as data: the chains that are ours, as wanted and as found, and the text that turns the one into the other.

Rules are kept in the very form in which `iptables-save` prints them, so that what is wanted can be compared with what
is there. All changes of one table are one `iptables-restore --noflush` transaction: a packet sees the old rules or the
new, never a mixture (but see `transactions` for very many). Only our own chains are written; of a built-in chain only
our own jumps, which stand first in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Rules = tuple[str, ...]
"""Rules of a chain, each without its `-A CHAIN`."""

BUILT_IN = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")

_JUMP = re.compile(r"(?:^| )-[jg] (\S+)")


@dataclass(frozen=True, slots=True)
class Table:
    """The part of one iptables table that matters to us."""

    name: str
    chains: Mapping[str, Rules] = field(default_factory=dict)
    """Our own chains, complete."""
    hooks: Mapping[str, Rules] = field(default_factory=dict)
    """Built-in chains. Wanted: our jumps, which are to stand first. Found: all their rules."""


def parse(saved: str, ours: Callable[[str], bool]) -> dict[str, Table]:
    """The tables in the output of `iptables-save`: the chains for which `ours` holds, and the built-in ones."""
    tables: dict[str, Table] = {}
    chains: dict[str, list[str]] = {}
    hooks: dict[str, list[str]] = {}
    name = ""
    for line in saved.splitlines():
        if line.startswith("*"):
            name, chains, hooks = line[1:], {}, {}
        elif line.startswith(":"):
            chain = line[1:].partition(" ")[0]
            if ours(chain):
                chains[chain] = []
        elif line.startswith("-A "):
            _, chain, rule = line.split(" ", 2)
            if chain in chains:
                chains[chain].append(rule)
            elif chain in BUILT_IN:
                hooks.setdefault(chain, []).append(rule)
        elif line == "COMMIT":
            tables[name] = Table(
                name,
                {chain: tuple(rules) for chain, rules in chains.items()},
                {chain: tuple(rules) for chain, rules in hooks.items()},
            )
    return tables


def render(tables: Iterable[Table]) -> str:
    """The complete text for `iptables-restore --noflush` on a machine that has none of our chains."""
    return "".join(transaction(Table(table.name), table, lambda _: False) for table in tables)


def transaction(found: Table, wanted: Table, ours: Callable[[str], bool]) -> str:
    """What `iptables-restore --noflush` has to read to make the table as wanted; empty if it is so already.

    Chains that are ours and no longer wanted are removed, and so are jumps to our chains anywhere in a built-in chain.
    """
    return "".join(transactions(found, wanted, ours))


def transactions(found: Table, wanted: Table, ours: Callable[[str], bool], most: int = 0) -> list[str]:
    """The same as one transaction, or as several when more than `most` chains change (0: always one).

    What is new comes first, in the order of `wanted`, where each chain jumps to those before it only: nothing leads
    there yet. Then come the changes of chains that are in use and the jumps, and at last the removal of what nothing
    leads to any more. So a packet finds each service port as it was or as it is to be, whichever of them were written.
    """
    stale = [chain for chain in found.chains if chain not in wanted.chains and ours(chain)]
    new = [chain for chain in wanted.chains if chain not in found.chains]
    changed = [
        chain
        for chain, rules in wanted.chains.items()
        if chain in found.chains and not _same(found.chains[chain], rules)
    ]
    jumps: list[str] = []
    for hook in BUILT_IN:
        jumps += _jumps(hook, found.hooks.get(hook, ()), wanted.hooks.get(hook, ()), ours)
    removed = [f"-X {chain}" for chain in stale]
    if not most or len(new) + len(changed) + len(stale) <= most:
        written = [*new, *changed]
        steps = [[*_emptied([*written, *stale]), *_filled(wanted, written), *jumps, *removed]]
    else:
        steps = [[*_emptied(some), *_filled(wanted, some)] for some in _batches(new, most)]
        steps += [[*_emptied(some), *_filled(wanted, some)] for some in _batches(changed, most)]
        steps.append(jumps)
        steps += [_emptied(some) for some in _batches(stale, most)]
        steps += map(list, _batches(removed, most))
    return ["\n".join([f"*{wanted.name}", *lines, "COMMIT", ""]) for lines in steps if lines]


def target(rule: str) -> str:
    """Where a rule jumps to."""
    match = _JUMP.search(rule)
    return match[1] if match else ""


def _emptied(chains: Iterable[str]) -> list[str]:
    """With --noflush, this empties a chain, or makes it."""
    return [f":{chain} - [0:0]" for chain in chains]


def _filled(wanted: Table, chains: Iterable[str]) -> list[str]:
    return [f"-A {chain} {rule}" for chain in chains for rule in wanted.chains[chain]]


def _batches(items: Sequence[str], size: int) -> list[Sequence[str]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _jumps(hook: str, found: Rules, wanted: Rules, ours: Callable[[str], bool]) -> list[str]:
    """Deletions and insertions that make `wanted` the head of a built-in chain and the only jumps to our chains."""
    present = tuple(rule for rule in found if ours(target(rule)))
    if _same(found[: len(wanted)], wanted) and len(present) <= len(wanted):
        return []
    lines = [f"-D {hook} {rule}" for rule in present]
    lines += [f"-I {hook} {place} {rule}" for place, rule in enumerate(wanted, start=1)]
    return lines


def _same(some: Rules, others: Rules) -> bool:
    """Whether rules are the same, however a back end quotes their comments and orders their matches."""
    if some == others:
        return True
    return len(some) == len(others) and all(
        one == other or _canonical(one) == _canonical(other) for one, other in zip(some, others, strict=True)
    )


def _canonical(rule: str) -> list[str]:
    return sorted(rule.replace('"', "").split())
