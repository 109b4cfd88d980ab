"""The kernel's tables: reads them with iptables-save, changes them with one iptables-restore, and remembers.

What was last written is remembered, so that a change writes only the chains that differ. Reading back (at start, at
each resync, after a failure) finds what others removed or what a former proxy left. Either back end, nft or legacy,
serves: whichever the machine's `iptables` stands for.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
from collections.abc import Iterable, Mapping, Sequence

from kube.proxy import metrics, rules, tables
from kube.proxy.tables import Table

log = logging.getLogger(__name__)

LOCK_SECONDS = 5
"""How long to wait for another program that holds the lock of the tables."""


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

    async def read(self) -> Mapping[str, Table]:
        """What is in the kernel now, by name of the table. Raises IptablesFailed."""
        self._known = None
        self._known = tables.parse((await _run(self._save)).decode(), rules.ours)
        return self._known

    async def ensure(self, wanted: Sequence[Table]) -> bool:
        """Make the kernel's tables as wanted; whether there was anything to do. Raises IptablesFailed."""
        found = self._known if self._known is not None else await self.read()
        text = "".join(
            tables.transaction(found.get(table.name, Table(table.name)), table, rules.ours) for table in wanted
        )
        if not text:
            return False
        self._known = None  # until it is certain
        try:
            await _run(self._restore, text.encode())
        except IptablesFailed:
            metrics.RESTORE_FAILURES.inc()
            raise
        self._known = {table.name: table for table in wanted}
        for table in wanted:
            metrics.RULES.labels(table.name).set(sum(map(len, table.chains.values())))
        return True

    async def forget_flows(self, addresses: Iterable[rules.Address]) -> None:
        """Let the kernel decide anew where UDP to these addresses goes: a flow keeps the redirection it began with."""
        for ip, _protocol, port in addresses:
            where = ("--orig-dst", ip) if ip else ()
            command = ("conntrack", "-D", "-p", "udp", *where, "--orig-port-dst", str(port))
            if not self._conntrack:
                return
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
