"""kube-scheduler's wiring.

It keeps nothing: whatever it had decided is in the bindings, and what was only assumed is decided again.
"""

from __future__ import annotations

import asyncio

from kube import daemon
from kube.api.core import Pod
from kube.client import flags
from kube.client.events import EventRecorder
from kube.client.informer import Informers
from kube.client.leaderelection import Election
from kube.client.rest import Client
from kube.scheduler import metrics
from kube.scheduler.algorithm import Algorithm
from kube.scheduler.eventhandlers import EventHandlers, SpreadSelectors
from kube.scheduler.filters import default_filters
from kube.scheduler.nodeinfo import Cache
from kube.scheduler.options import Options
from kube.scheduler.queue import SchedulingQueue
from kube.scheduler.reporter import Reporter
from kube.scheduler.scheduler import Scheduler
from kube.scheduler.scores import LeastAllocated, SelectorSpread, Weighted


async def run(options: Options) -> None:
    """Schedule pods until cancelled. Raises daemon.Fatal."""
    async with flags.connect(options.client, user_agent="kube-scheduler") as (client, sources):
        informers = Informers(sources)
        recorder = EventRecorder(client, options.scheduler_name)
        scheduler = build(client, informers, recorder, scheduler_name=options.scheduler_name, seed=options.seed)

        election = Election(client, options.election)
        synced = asyncio.Event()

        def in_sync() -> None:
            if not synced.is_set():
                raise RuntimeError("the caches are not filled yet")

        async def work() -> None:
            async with asyncio.TaskGroup() as working:
                working.create_task(recorder.run(), name="events")
                working.create_task(scheduler.run(), name="scheduler")

        checks = {"informers": in_sync, "leaderElection": election.healthy}
        async with (
            daemon.serve_health(options.address, options.port, checks),
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(informers.run(), name="informers")
            # Also a process that waits for the lease keeps its caches: it leads as soon as it is its turn.
            await informers.synced()
            synced.set()
            tasks.create_task(election.run(work), name="leader election")


def build(
    client: Client,
    informers: Informers,
    recorder: EventRecorder,
    *,
    scheduler_name: str = "default-scheduler",
    seed: int | None = None,
) -> Scheduler:
    """A scheduler that reads these informers and writes with this client. Run it when they have synced."""
    cache, queue = Cache(), SchedulingQueue()
    EventHandlers(cache, queue, scheduler_name).watch(informers)
    metrics.watch(queue)
    selectors = SpreadSelectors(informers)
    scores = [Weighted(LeastAllocated()), Weighted(SelectorSpread(cache, selectors.of))]
    algorithm = Algorithm(cache, default_filters(), scores, seed)
    reporter = Reporter(client, recorder, informers.of(Pod).get)
    return Scheduler(queue, cache, algorithm.choose, client.bind, reporter)
