"""Leader election by Lease, as client-go does it: of several processes of one kind one acts, the others wait.

* The lease is written only as it was read (its resourceVersion is a condition of every write), so of two candidates
  that find it free one gets it.
* Whether it has run out is judged by one's own clock, from when its last change was *seen*: the clocks of others, and
  the times in the lease, are not trusted.
* A leader counts its time from before it sent a renewal that succeeded, and stops when `renew_deadline` has passed
  since: earlier by the difference to `lease_duration` than anybody may follow it. A process that was paused notices
  before it writes again: every write of a `fenced` client looks at the clock first.
* Candidates look again and again, as upstream's; and they watch the lease, so that its time counts from when it was
  renewed, not from the next look at it, and one that is given back is taken at once.
* Who stops in good order gives the lease back.
* A lease that somebody deletes is written anew by its holder, who does not know of it before its next renewal.

Differs from Kubernetes in two points. The identity tells machine and process, so that the successor of a process that
was killed on the same machine need not wait for the lease of a process that is no more. And who has seen a lease waits
for its end also if it is deleted meanwhile: there its holder would act beside its successor.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import math
import os
import random
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import Gauge

from kube import daemon
from kube.api import errors
from kube.api.coordination import Lease
from kube.api.meta import ObjectMeta
from kube.client.rest import Client
from kube.client.source import ApiSources
from kube.client.watch import WatchEvent, revision_of

log = logging.getLogger(__name__)

JITTER = 1.2
"""Candidates look again after one to so many retry periods, so that they do not all look at once."""
RELEASE_SECONDS = 2.0
"""How long giving the lease back may take when the process stops."""
MASTER = Gauge(
    "leader_election_master_status",
    "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master. "
    "'name' is the string used to identify the lease.",
    ["name"],
)


class Lost(daemon.Fatal):
    """The lease is another's, or could not be renewed in time: this process must not act any more."""


@dataclass(frozen=True, slots=True)
class ElectionOptions:
    """How a daemon takes part in an election."""

    leader_elect: bool = True
    lease_duration: float = 15.0
    renew_deadline: float = 10.0
    retry_period: float = 2.0
    resource_name: str = ""
    resource_namespace: str = "kube-system"


def add_flags(parser: argparse.ArgumentParser, name: str) -> None:
    """Add the flags to a daemon's parser. `name`: of its lease."""
    group = parser.add_argument_group("leader election")
    daemon.add_bool(group, "--leader-elect", True, "act only while holding the lease; another process may be waiting")
    group.add_argument(
        "--leader-elect-lease-duration", type=daemon.duration, default=15.0, metavar="TIME",
        help="how long after its last renewal another may take the lease",
    )  # fmt: skip
    group.add_argument(
        "--leader-elect-renew-deadline", type=daemon.duration, default=10.0, metavar="TIME",
        help="how long a leader that cannot renew the lease goes on acting; less than the lease's duration",
    )  # fmt: skip
    group.add_argument(
        "--leader-elect-retry-period", type=daemon.duration, default=2.0, metavar="TIME",
        help="time between tries to take or renew the lease",
    )  # fmt: skip
    group.add_argument("--leader-elect-resource-name", default=name, metavar="NAME", help="the lease's name")
    group.add_argument(
        "--leader-elect-resource-namespace", default="kube-system", metavar="NAMESPACE", help="the lease's namespace"
    )


def from_args(args: argparse.Namespace) -> ElectionOptions:
    """The options that `add_flags`' flags stand for. Raises daemon.Fatal for times that make no sense together."""
    options = ElectionOptions(
        leader_elect=args.leader_elect,
        lease_duration=args.leader_elect_lease_duration,
        renew_deadline=args.leader_elect_renew_deadline,
        retry_period=args.leader_elect_retry_period,
        resource_name=args.leader_elect_resource_name,
        resource_namespace=args.leader_elect_resource_namespace,
    )
    if options.leader_elect:
        if options.lease_duration <= options.renew_deadline:
            raise daemon.Fatal("--leader-elect-lease-duration must be greater than --leader-elect-renew-deadline")
        if options.renew_deadline <= JITTER * options.retry_period or options.retry_period <= 0:
            raise daemon.Fatal(
                f"--leader-elect-renew-deadline must be greater than {JITTER} x --leader-elect-retry-period, "
                "and that greater than 0"
            )
    return options


def own_identity() -> str:
    """Who this process is, in a way that another process of this machine can see whether it still runs."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{socket.gethostname()}_{boot}_{_pid_namespace()}_{os.getpid()}_{_start_time(os.getpid())}"


def has_ended(identity: str) -> bool:
    """Whether the process of an `own_identity` ran here, where it could be seen, and runs no more."""
    mine, theirs = own_identity().rsplit("_", 2)[0], identity.rsplit("_", 2)
    if len(theirs) != 3 or theirs[0] != mine or not theirs[1].isdigit():
        return False
    return _start_time(int(theirs[1])) != theirs[2]


def _pid_namespace() -> str:
    return os.readlink("/proc/self/ns/pid").strip("pid:[]")


def _start_time(pid: int) -> str:
    """When a process was started, in ticks since boot; empty if it has ended."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else fields[18]


def _boot_clock() -> float:
    """Seconds, counted also while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Election:
    """Takes part in the election for one lease."""

    def __init__(
        self,
        client: Client,
        options: ElectionOptions,
        *,
        identity: str = "",
        ended: Callable[[str], bool] = has_ended,
        clock: Callable[[], float] = _boot_clock,
    ) -> None:
        """`client` is what the leader writes with: from now on it writes only while the lease is held.

        `ended`: whether a holder is known to be dead. `clock`: seconds; a test's own.
        """
        self.identity = identity or own_identity()
        self._options, self._ended, self._clock = options, ended, clock
        self._client = client.sibling(timeout=options.renew_deadline / 2)
        if options.leader_elect:
            client.fence = self._check
        self._lease: Lease | None = None
        """The lease as last read or written."""
        self._free_at = float("-inf")
        """When the lease that was last seen may be taken from its holder, also if it has been deleted since."""
        self._acts_until = float("-inf")
        self._freed = asyncio.Event()
        self._master = MASTER.labels(options.resource_name)
        self._master.set(0)

    @property
    def leading(self) -> bool:
        """Whether this process may act, now."""
        return self._clock() < self._acts_until

    def healthy(self) -> None:
        """Raises if a leader has failed to renew its lease and goes on nevertheless."""
        if self._acts_until != float("-inf") and not self.leading:
            raise RuntimeError(f"failed election to renew leadership on lease {self._options.resource_name}")

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Wait for the lease, then `lead()` while it is held. Raises Lost; cancelled, it gives the lease back.

        Without election it just leads.
        """
        if not self._options.leader_elect:
            await lead()
            return
        try:
            await self._acquire()
            leading = asyncio.ensure_future(lead())
            renewing = asyncio.ensure_future(self._renew())
            try:
                done, _ = await asyncio.wait({leading, renewing}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                # First nobody acts any more, then the lease may go.
                await _end(leading)
                await _end(renewing)
            for task in done:
                task.result()
        finally:
            await self._client.close()
            self._master.set(0)

    def _check(self) -> None:
        if not self.leading:
            raise errors.ServiceUnavailable(f"nothing is written without the lease {self._options.resource_name}")

    # Taking and keeping it

    async def _acquire(self) -> None:
        name = self._options.resource_name
        log.info("attempting to acquire leader lease", extra={"lease": name, "identity": self.identity})
        told = ""
        following = asyncio.ensure_future(self._follow())
        try:
            while not await self._attempt():
                holder = self._holder()
                if holder and holder != told:
                    log.info("another leads", extra={"lease": name, "leader": holder})
                    told = holder
                self._freed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._until_next_look()):
                        await self._freed.wait()
                if following.done():
                    following.result()  # it ends by a bug alone
        finally:
            await _end(following)
        self._master.set(1)
        log.info("successfully acquired lease", extra={"lease": name})

    def _until_next_look(self) -> float:
        """Seconds; the lease is looked at as soon as it may have run out."""
        usual = self._options.retry_period * random.uniform(1, JITTER)
        left = self._free_at - self._clock()
        return min(usual, left + random.uniform(0.01, 0.1)) if left > 0 else usual

    async def _follow(self) -> None:
        """See changes of the lease when they happen. While that cannot be done the looks alone tell."""
        source = ApiSources(self._client).one(Lease, self._options.resource_namespace, self._options.resource_name)
        while True:
            with contextlib.suppress(errors.ApiError):
                _, revision = await source.list()
                async for batch in source.watch(revision):
                    for event in batch:
                        self._heard(event)
            await asyncio.sleep(self._options.retry_period)

    def _heard(self, event: WatchEvent[Lease]) -> None:
        """What the watch tells may be older than what was seen at a look."""
        if event.object is None or (
            self._lease is not None and event.revision <= revision_of(self._lease.metadata.resourceVersion)
        ):
            return
        if event.type == "DELETED":
            self._lease = None
            return
        self._saw(event.object)
        if not self._holder():
            self._freed.set()

    async def _renew(self) -> None:
        """Renew the lease for ever. Raises Lost; cancelled, it gives the lease back."""
        try:
            while True:
                await asyncio.sleep(self._options.retry_period)
                left = self._acts_until - self._clock()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(left, 0)):
                        while not await self._attempt() and not self._taken():
                            await asyncio.sleep(self._options.retry_period)
                if self._taken():
                    self._acts_until = min(self._acts_until, self._clock())
                if not self.leading:
                    raise Lost(f"leader election lost: the lease {self._options.resource_name} could not be renewed")
        except asyncio.CancelledError:
            await self._release()
            raise

    async def _attempt(self) -> bool:
        """Try to write the lease as ours. False if it is another's, or nobody knows."""
        began = self._clock()
        try:
            if self._lease is None or self._holder() != self.identity:
                await self._look()
            if not self._mine_to_take():
                return False
            lease = self._claimed()
            write = self._client.update if lease.metadata.resourceVersion else self._client.create
            try:
                written = await write(lease)
            except errors.NotFound:
                # Somebody has deleted our lease: it is ours as long as nobody has made another.
                self._lease = None
                written = await self._client.create(self._claimed())
        except (errors.Conflict, errors.AlreadyExists):
            # It has changed: by another, or by a write of ours whose answer was lost.
            with contextlib.suppress(errors.ApiError):
                await self._look()
            return False
        except errors.ApiError as why:
            log.warning(
                "cannot write the lease, will retry", extra={"lease": self._options.resource_name, "error": why}
            )
            return False
        self._saw(written)
        self._acts_until = began + self._options.renew_deadline
        return True

    async def _look(self) -> None:
        try:
            self._saw(await self._client.get(Lease, self._options.resource_name, self._options.resource_namespace))
        except errors.NotFound:
            self._lease = None

    def _saw(self, lease: Lease) -> None:
        if self._lease is None or self._lease.metadata.resourceVersion != lease.metadata.resourceVersion:
            self._lease, self._free_at = lease, float("-inf")
            if self._holder() not in ("", self.identity):
                self._free_at = self._clock() + (lease.spec.leaseDurationSeconds or self._options.lease_duration)

    def _holder(self) -> str:
        return (self._lease.spec.holderIdentity or "") if self._lease is not None else ""

    def _taken(self) -> bool:
        """Whether the lease is there, and not ours."""
        return self._lease is not None and self._holder() != self.identity

    def _mine_to_take(self) -> bool:
        return self._clock() > self._free_at or self._ended(self._holder())

    def _claimed(self) -> Lease:
        """The lease as we write it."""
        moment = datetime.now(UTC)
        lease = (
            self._lease.clone()
            if self._lease is not None
            else Lease(
                metadata=ObjectMeta(name=self._options.resource_name, namespace=self._options.resource_namespace)
            )
        )
        spec = lease.spec
        if self._holder() != self.identity:
            spec.leaseTransitions = (spec.leaseTransitions or 0) + 1 if self._lease is not None else 0
            spec.holderIdentity, spec.acquireTime = self.identity, moment
        # Whole seconds, and never fewer than we count on: whoever waits for us goes by this.
        spec.leaseDurationSeconds = math.ceil(self._options.lease_duration)
        spec.renewTime = moment
        return lease

    async def _release(self) -> None:
        """Give the lease back, if it is ours: who comes next need not wait."""
        self._acts_until = min(self._acts_until, self._clock())
        if self._lease is None or self._holder() != self.identity:
            return
        lease = self._lease.clone()
        lease.spec.holderIdentity, lease.spec.leaseDurationSeconds = "", 1
        lease.spec.renewTime = lease.spec.acquireTime = datetime.now(UTC)
        try:
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._client.update(lease)
        except (errors.ApiError, TimeoutError) as why:
            log.info("the lease is not given back", extra={"lease": self._options.resource_name, "reason": why})


async def _end(task: asyncio.Future[None]) -> None:
    """Cancel a task and wait for its end; what it raises is for whoever asks for its result."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()
