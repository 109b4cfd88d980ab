"""One leader at a time: in virtual time, with clocks that disagree, an API that is away, and processes that pause."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kube import daemon
from kube.api import errors
from kube.api.coordination import Lease, LeaseSpec
from kube.api.core import Namespace
from kube.api.meta import Object, ObjectMeta
from kube.client.leaderelection import Election, ElectionOptions, Lost, add_flags, from_args, has_ended, own_identity
from kube.client.watch import WatchEvent
from tests.memory_api import MemoryApi

pytestmark = pytest.mark.looptime

OPTIONS = ElectionOptions(resource_name="kube-scheduler")


class Candidate:
    """A process that writes as long as it leads. `pause` stops its clock's owner, as SIGSTOP does, but not time."""

    def __init__(self, api: MemoryApi, identity: str, options: ElectionOptions = OPTIONS) -> None:
        self.api = MemoryApi(api.store)
        self.identity = identity
        self.slept = 0.0
        """Seconds that the machine slept without the event loop's timers noticing."""
        self.acts = False
        self.written: list[float] = []
        self.election = Election(
            self.api,
            options,
            identity=identity,
            ended=lambda holder: False,
            clock=lambda: asyncio.get_running_loop().time() + self.slept,
        )

    def cut_off(self, store: object = None) -> None:
        """Reach nothing any more, or that store."""
        self.api.store = self.election._client.store = store or _Nowhere()  # type: ignore[assignment, attr-defined]

    async def lead(self) -> None:
        self.acts = True
        try:
            while True:
                with contextlib.suppress(errors.ServiceUnavailable):
                    await self.api.create(Namespace(metadata=ObjectMeta(generateName=self.identity)))
                    self.written.append(asyncio.get_running_loop().time())
                await asyncio.sleep(0.5)
        finally:
            self.acts = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """Taking part; killed (without giving anything back) at the end, unless it was stopped."""
        task = asyncio.ensure_future(self.election.run(self.lead))
        try:
            yield task
        finally:
            self.cut_off()  # a dead process says nothing
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class _Nowhere:
    """The store of a process that is no more, or cut off."""

    async def get(self, key: str) -> None:
        raise errors.ServiceUnavailable("cut off")

    async def list(self, prefix: str) -> None:
        raise errors.ServiceUnavailable("cut off")

    async def txn(self, *args: object) -> None:
        raise errors.ServiceUnavailable("cut off")


@pytest.fixture
def api() -> MemoryApi:
    return MemoryApi()


async def lease(api: MemoryApi) -> Lease:
    return await api.get(Lease, "kube-scheduler", "kube-system")


async def test_a_lease_says_no_less_than_its_holder_counts_on(api: MemoryApi) -> None:
    """It has whole seconds, by which the others go: a leader that is cut off acts until its renew deadline."""
    fractions = replace(OPTIONS, lease_duration=2.4, renew_deadline=2.3, retry_period=1.0)
    a, b = Candidate(api, "a", fractions), Candidate(api, "b", fractions)
    async with a.running():
        await asyncio.sleep(0.1)
        assert (await lease(api)).spec.leaseDurationSeconds == 3
        async with b.running():
            await asyncio.sleep(5)
            a.cut_off()
            while not b.acts:
                await asyncio.sleep(0.01)
            assert not a.acts


async def test_the_first_leads_at_once_and_the_second_waits(api: MemoryApi) -> None:
    a, b = Candidate(api, "a"), Candidate(api, "b")
    async with a.running():
        await asyncio.sleep(0.1)
        assert a.acts
        spec = (await lease(api)).spec
        assert (spec.holderIdentity, spec.leaseDurationSeconds, spec.leaseTransitions) == ("a", 15, 0)
        async with b.running():
            await asyncio.sleep(120)
            assert a.acts
            assert not b.acts
            assert b.written == []


async def test_a_leader_that_stops_in_good_order_is_followed_at_once(api: MemoryApi) -> None:
    a, b = Candidate(api, "a"), Candidate(api, "b")
    async with a.running() as task, b.running():
        await asyncio.sleep(5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.01)
        assert b.acts
        assert (await lease(api)).spec.leaseTransitions == 1


async def test_its_successor_after_a_restart_need_not_wait(api: MemoryApi) -> None:
    async with Candidate(api, "a").running() as task:
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    again = Candidate(api, "b")
    async with again.running():
        await asyncio.sleep(0.1)
        assert again.acts


async def test_a_leader_that_is_killed_is_followed_when_its_lease_has_run_out(api: MemoryApi) -> None:
    a, b = Candidate(api, "a"), Candidate(api, "b")
    async with b.running(), a.running():
        await asyncio.sleep(5)
        first, second = (a, b) if a.acts else (b, a)
        await asyncio.sleep(30)
        first.cut_off()
        killed = asyncio.get_running_loop().time()
        async with asyncio.timeout(60):
            while not second.acts:
                await asyncio.sleep(0.1)
        waited = asyncio.get_running_loop().time() - killed
        assert 13 <= waited <= 15 + 0.2
        assert max(first.written) <= killed
        assert not first.acts, "it was cut off, and has stopped by itself"


@pytest.mark.parametrize("seconds", [30 + number / 3 for number in range(12)])
async def test_the_lease_is_taken_the_moment_it_has_run_out(api: MemoryApi, seconds: float) -> None:
    """Counted from its last renewal: neither from the next look at it, nor until the next look after that."""
    a, b = Candidate(api, "a"), Candidate(api, "b")
    async with a.running():
        await asyncio.sleep(0.1)
        async with b.running():
            await asyncio.sleep(seconds)
            a.cut_off()
            renewed = asyncio.get_running_loop().time() // 2 * 2
            while not b.acts:
                await asyncio.sleep(0.05)
            assert asyncio.get_running_loop().time() <= renewed + 15 + 0.2


async def test_who_cannot_watch_takes_the_lease_by_looking_at_it(api: MemoryApi) -> None:
    a, b = Candidate(api, "a"), Candidate(api, "b")
    async with a.running():
        await asyncio.sleep(0.1)
        b.election._client.watch = _forbidden  # type: ignore[method-assign, assignment]
        async with b.running():
            await asyncio.sleep(31)
            a.cut_off()
            while not b.acts:
                await asyncio.sleep(0.05)
            assert asyncio.get_running_loop().time() <= 30 + 15 + 2.4 + 0.2


async def _forbidden(*args: object, **kwargs: object) -> AsyncIterator[WatchEvent[Lease]]:
    raise errors.Forbidden("not allowed to watch")
    yield


async def test_a_late_watch_does_not_bring_back_what_was(api: MemoryApi) -> None:
    """It tells of a leader of yesterday after the lease was seen to be another's."""
    a, b = Candidate(api, "a"), Candidate(api, "b")
    async with a.running():
        await asyncio.sleep(3)
        async with b.running():
            await asyncio.sleep(0.1)
            seen, free_at = await lease(api), b.election._free_at
            for revision, kind in ((1, "MODIFIED"), (2, "DELETED")):
                b.election._heard(WatchEvent(kind, seen, revision))  # type: ignore[arg-type]
            assert b.election._free_at == free_at
            assert b.election._lease is not None


async def test_a_leader_that_is_cut_off_stops_before_another_starts(api: MemoryApi) -> None:
    a, b = Candidate(api, "a"), Candidate(api, "b")
    async with a.running() as task:
        await asyncio.sleep(1)
        async with b.running():
            await asyncio.sleep(20)
            a.cut_off()
            async with asyncio.timeout(60):
                while a.acts:
                    assert not b.acts
                    await asyncio.sleep(0.1)
            assert not b.acts
            with pytest.raises(Lost, match="leader election lost"):
                await task
            await asyncio.sleep(15)
            assert b.acts
            assert max(a.written) < min(b.written)


async def test_a_short_outage_costs_nobody_the_lease(api: MemoryApi) -> None:
    a, b = Candidate(api, "a"), Candidate(api, "b")
    async with a.running():
        await asyncio.sleep(1)
        async with b.running():
            await asyncio.sleep(20)
            a.cut_off()
            b.cut_off()
            await asyncio.sleep(5)
            a.cut_off(api.store)
            b.cut_off(api.store)
            await asyncio.sleep(60)
            assert a.acts
            assert not b.acts


async def test_a_paused_leader_writes_nothing_when_it_wakes(api: MemoryApi) -> None:
    """Its timers are late, and its loop would go on where it was: the clock is asked before each write."""
    a, b = Candidate(api, "a"), Candidate(api, "b")
    async with a.running() as task:
        await asyncio.sleep(1.9)
        a.slept = 40.0
        assert not a.election.leading
        before = len(a.written)
        async with b.running():
            await asyncio.gather(task, return_exceptions=True)
            assert len(a.written) == before
            await asyncio.sleep(20)
            assert b.acts


async def test_the_times_in_a_lease_are_not_trusted(api: MemoryApi) -> None:
    """The holder's clock is an hour behind: its lease is not taken from it as long as it renews it."""
    past = datetime(2020, 1, 1, tzinfo=UTC)
    spec = LeaseSpec(holderIdentity="z", leaseDurationSeconds=15, acquireTime=past, renewTime=past, leaseTransitions=3)
    held = await api.create(Lease(metadata=ObjectMeta(name="kube-scheduler", namespace="kube-system"), spec=spec))
    a = Candidate(api, "a")
    async with a.running():
        for _ in range(20):
            await asyncio.sleep(10)
            held.metadata.annotations = {"renewed": str(asyncio.get_running_loop().time())}
            held = await api.update(held)
            assert not a.acts
        await asyncio.sleep(20)
        assert a.acts
        assert (await lease(api)).spec.leaseTransitions == 4


async def test_an_answer_that_is_lost_is_no_lease_that_is_lost(api: MemoryApi) -> None:
    a = Candidate(api, "a")
    async with a.running():
        await asyncio.sleep(1)
        left = [1]

        def lost(verb: str, model: type[Object], key: str) -> Exception | None:
            if model is Lease and left[0]:
                left[0] -= 1
                return errors.Timeout("no answer")
            return None

        a.election._client.fail_after = lost  # type: ignore[attr-defined]
        await asyncio.sleep(60)
        assert left == [0]
        assert a.acts


async def test_a_lease_that_was_taken_away_by_hand_is_lost_at_once(api: MemoryApi) -> None:
    a = Candidate(api, "a")
    async with a.running() as task:
        await asyncio.sleep(1)
        taken = await lease(api)
        taken.spec.holderIdentity = "somebody"
        await api.update(taken)
        await asyncio.sleep(3)
        assert task.done()
        assert not a.acts


async def test_a_lease_that_was_deleted_is_written_anew_by_its_holder(api: MemoryApi) -> None:
    a, b = Candidate(api, "a"), Candidate(api, "b")
    async with a.running():
        await asyncio.sleep(1)
        async with b.running():
            for _ in range(20):
                await asyncio.sleep(3.17)
                await api.delete(Lease, "kube-scheduler", "kube-system")
                assert a.acts
                assert not b.acts
            await asyncio.sleep(3)
            assert a.acts
            assert (await lease(api)).spec.holderIdentity == "a"
            assert b.written == []


async def test_whose_lease_was_deleted_may_still_act_as_long_as_it_would_have_run(api: MemoryApi) -> None:
    """A leader that is cut off does not hear of the deletion."""
    a, b = Candidate(api, "a"), Candidate(api, "b")
    async with a.running() as task:
        await asyncio.sleep(1)
        async with b.running():
            await asyncio.sleep(5)
            a.cut_off()
            await api.delete(Lease, "kube-scheduler", "kube-system")
            async with asyncio.timeout(60):
                while not b.acts:
                    await asyncio.sleep(0.1)
            assert not a.acts
            with pytest.raises(Lost):
                await task


async def test_a_failure_of_the_work_ends_the_process_and_gives_the_lease_back(api: MemoryApi) -> None:
    election = Election(MemoryApi(api.store), OPTIONS, identity="a", ended=lambda holder: False)

    async def fail() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await election.run(fail)
    assert (await lease(api)).spec.holderIdentity == ""


async def test_without_election_it_just_leads(api: MemoryApi) -> None:
    a = Candidate(api, "a", ElectionOptions(leader_elect=False))
    async with a.running():
        await asyncio.sleep(1)
        assert a.written
    with pytest.raises(errors.NotFound):
        await lease(api)


async def test_a_dead_process_of_this_machine_is_not_waited_for(api: MemoryApi) -> None:
    a = Candidate(api, own_identity())
    async with a.running():
        await asyncio.sleep(1)
    b = Candidate(api, "b")
    b.election._ended = lambda holder: holder == a.identity
    async with b.running():
        await asyncio.sleep(0.1)
        assert b.acts


def test_who_has_ended_is_known_for_processes_of_this_machine_only() -> None:
    me = own_identity()
    assert not has_ended(me)
    ended = subprocess.Popen(["true"])
    ended.wait()
    machine, pid, start = me.rsplit("_", 2)
    assert has_ended(f"{machine}_{ended.pid}_{start}")
    assert has_ended(f"{machine}_{pid}_{int(start) - 1}"), "the number was given to another process"
    assert not has_ended(f"elsewhere_{ended.pid}_{start}")
    assert not has_ended("node-1_0f5c0b1e-7a0e-4e0c-8a8e-0a0d3b0c6f6e"), "a Kubernetes daemon's"
    assert str(os.getpid()) == pid


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["--leader-elect-lease-duration=10s"], "lease-duration must be greater"),
        (["--leader-elect-retry-period=9s"], "renew-deadline must be greater"),
    ],
)
def test_times_that_make_no_sense_together_are_refused(argv: list[str], complaint: str) -> None:
    parser = daemon.flags("kube-scheduler", "")
    add_flags(parser, "kube-scheduler")
    with pytest.raises(daemon.Fatal, match=complaint):
        from_args(parser.parse_args(argv))
    assert from_args(parser.parse_args([])) == OPTIONS
    assert not from_args(parser.parse_args(["--leader-elect=false", *argv])).leader_elect
