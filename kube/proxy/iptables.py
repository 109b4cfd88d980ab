"""The kernel's tables: reads them with iptables-save, changes them with one iptables-restore, and remembers.

What was last written is remembered, so that a change writes only the chains that differ. Reading back (at start, at
each resync, after a failure) finds what others removed or what a former proxy left. Either back end, nft or legacy,
serves, whichever the machine's `iptables` stands for, but they differ at size (measured with 5,000 services of 5
endpoints, CPU time): nft takes 8 s for a table that is written at once and 1.3 s for one that is written in small
transactions, and then 10 ms for a change; legacy copies the whole table each time, for 0.5 s at first and 0.2 s then.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from kube.proxy import metrics, tables
from kube.proxy.chains import ours
from kube.proxy.tables import Table

log = logging.getLogger(__name__)

NFT_CHAINS = 300
"""Chains that the nft back end is given in one transaction: the time it takes grows with their square."""
LOCK_SECONDS = 5
"""How long to wait for another program that holds the lock of the tables."""


class Flow(NamedTuple):
    """UDP that came to an address and port."""

    ip: str
    """Empty: any of the node's."""
    port: int
    backend: str = ""
    """Address it was sent on to; empty: whatever became of it."""


class IptablesFailed(Exception):
    """A command failed; the text is the command and what it said."""


class Iptables:
    """The proxy's chains in this network namespace. One user at a time."""

    def __init__(
        self, save: Sequence[str] = ("iptables-save",), restore: Sequence[str] = ("iptables-restore",)
    ) -> None:
        self._save = tuple(save)
        self._restore = (*restore, "--noflush", "-w", str(LOCK_SECONDS))
        self._known: Mapping[str, Table] | None = None
        """What is in the kernel, as far as we know; None: not known."""
        self._conntrack = True
        self._most: int | None = None
        """How many chains to write at once; 0: any number; None: not known yet."""

    async def read(self) -> Mapping[str, Table]:
        """What is in the kernel now, by name of the table. Raises IptablesFailed."""
        self._known = None
        self._known = tables.parse((await _run(self._save)).decode(), ours)
        return self._known

    async def ensure(self, wanted: Sequence[Table]) -> bool:
        """Make the kernel's tables as wanted; whether there was anything to do. Raises IptablesFailed."""
        found = self._known if self._known is not None else await self.read()
        if self._most is None:
            self._most = NFT_CHAINS if await self.back_end() == "nft" else 0
        steps = [
            tables.transactions(found.get(table.name, Table(table.name)), table, ours, self._most) for table in wanted
        ]
        for table, step in zip(wanted, steps, strict=True):
            metrics.RULES_LAST.labels(table.name).set(sum(text.count("\n-A ") for text in step))
        if not any(steps):
            return False
        self._known = None  # until it is certain
        # What is small enough is one command for all tables.
        texts = ["".join(chain(*steps))] if all(len(step) <= 1 for step in steps) else [*chain(*steps)]
        try:
            for text in texts:
                await _run(self._restore, text.encode())
        except IptablesFailed:
            metrics.RESTORE_FAILURES.inc()
            raise
        self._known = {table.name: table for table in wanted}
        for table in wanted:
            metrics.RULES.labels(table.name).set(sum(map(len, table.chains.values())))
        return True

    async def back_end(self) -> str:
        """What the machine's iptables writes to: `nft` or `legacy`. Raises IptablesFailed."""
        version = (await _run((self._restore[0], "--version"))).decode()
        return "nft" if "nf_tables" in version else "legacy"

    async def forget_flows(self, flows: Iterable[Flow]) -> None:
        """Let the kernel decide anew where UDP goes: a flow keeps the destination it began with."""
        for ip, port, backend in flows:
            if not self._conntrack:
                return
            where = ("--orig-dst", ip) if ip else ()
            to = ("--dst-nat", backend) if backend else ()
            command = ("conntrack", "-D", "-p", "udp", *where, "--orig-port-dst", str(port), *to)
            try:
                await _run(command, fine=(0, 1))  # 1: there was none
            except IptablesFailed as failure:
                self._conntrack = False
                log.warning("UDP flows that began before a service changed may be lost until they pause: %s", failure)


async def _run(command: Sequence[str], stdin: bytes = b"", fine: Sequence[int] = (0,)) -> bytes:
    """A command's output. One cut short by the daemon's end leaves each table whole: restore acts at its COMMIT."""
    try:
        done = await asyncio.to_thread(subprocess.run, command, input=stdin, capture_output=True, check=False)
    except OSError as error:
        raise IptablesFailed(f"{command[0]}: {error.strerror}") from None
    if done.returncode not in fine:
        said = " ".join(done.stderr.decode(errors="replace").split()) or f"exit code {done.returncode}"
        raise IptablesFailed(f"{' '.join(command)}: {said}")
    return done.stdout
