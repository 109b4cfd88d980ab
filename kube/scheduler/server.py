"""kube-scheduler's wiring.

It keeps nothing: whatever it had decided is in the bindings, and what was only assumed is decided again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from aiohttp import web

from kube import daemon
from kube.api import resources
from kube.api.core import Pod
from kube.client import flags
from kube.client.events import EventRecorder
from kube.client.informer import Informers
from kube.client.leaderelection import Election
from kube.client.rest import Client
from kube.scheduler import configuration, explain, metrics, plan, policy
from kube.scheduler.algorithm import Algorithm
from kube.scheduler.cache import Cache
from kube.scheduler.configuration import Settings
from kube.scheduler.eventhandlers import DEFAULT_SCHEDULER, EventHandlers, SpreadSelectors
from kube.scheduler.options import Options
from kube.scheduler.plugins import Context
from kube.scheduler.podinfo import PodInfo, slimmed
from kube.scheduler.preemption import Preemption
from kube.scheduler.queue import SchedulingQueue
from kube.scheduler.reporter import Reporter
from kube.scheduler.scheduler import Scheduler

VOLUMES = [
    each.model for each in (resources.PERSISTENT_VOLUME_CLAIMS, resources.PERSISTENT_VOLUMES, resources.STORAGE_CLASSES)
]

EVENTS = 10_000
"""Events that may wait: one for each pod of a large batch, which is bound faster than that is told."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a scheduler is made of."""

    scheduler: Scheduler
    cache: Cache
    queue: SchedulingQueue
    algorithm: Algorithm
    preemption: Preemption
    decisions: explain.Decisions


async def run(options: Options) -> None:
    """Schedule pods until cancelled, or plan some and return. Raises daemon.Fatal."""
    settings = configured(options)
    daemon.collect_seldom()
    async with flags.connect(options.client, user_agent="kube-scheduler") as (client, sources):
        informers = Informers(sources)
        recorder = EventRecorder(client, options.scheduler_name, most=EVENTS)
        parts = build(client, informers, recorder, settings, seed=options.seed)
        if options.plan:
            await planned(informers, parts, options.filename)
            return
        election = Election(client, options.election)
        synced = asyncio.Event()

        def in_sync() -> None:
            if not synced.is_set():
                raise RuntimeError("the caches are not filled yet")

        async def work() -> None:
            async with asyncio.TaskGroup() as working:
                working.create_task(recorder.run(), name="events")
                working.create_task(parts.scheduler.run(), name="scheduler")

        checks = {"informers": in_sync, "leaderElection": election.healthy}
        routes = [web.get("/explain/{namespace}/{pod}", explanation_of(parts))]
        async with (
            daemon.serve_health(options.address, options.port, checks, routes),
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(informers.run(), name="informers")
            # Also a process that waits for the lease keeps its caches: it leads as soon as it is its turn.
            await informers.synced()
            synced.set()
            tasks.create_task(election.run(work), name="leader election")


def configured(options: Options) -> Settings:
    """What the flags and the files that they name ask for. Raises daemon.Fatal."""
    if options.config:
        return configuration.load(Path(options.config))
    if options.policy_config_file:
        return policy.load(Path(options.policy_config_file), options.scheduler_name)
    return configuration.built_in(options.scheduler_name)


def build(
    client: Client,
    informers: Informers,
    recorder: EventRecorder,
    settings: Settings | None = None,
    *,
    seed: int | None = None,
) -> Parts:
    """A scheduler that reads these informers and writes with this client. Run it when they have synced."""
    settings = settings or configuration.built_in(DEFAULT_SCHEDULER)
    cache, queue = Cache(), SchedulingQueue(settings.initial_backoff, settings.longest_backoff)
    selectors = SpreadSelectors(informers)
    claims, volumes, classes = (informers.of(each) for each in VOLUMES)
    context = Context(cache, selectors.of, selectors.of_services, claims.get, volumes.get, classes.get)
    algorithm = Algorithm(cache, settings.profiles(context), seed)
    informers.of(Pod).keep(slimmed)
    EventHandlers(cache, queue, algorithm.profiles).watch(informers)
    metrics.watch(queue)
    preemption = Preemption(cache, algorithm, informers.of(resources.POD_DISRUPTION_BUDGETS.model).list)
    queue.worth_a_try, queue.nominated = preemption.worth_a_try, cache.nominated_on
    reporter = Reporter(client, recorder, informers.of(Pod).get)
    decisions = explain.Decisions()
    scheduler = Scheduler(queue, cache, algorithm.choose, preemption, client.bind, reporter, decisions)
    return Parts(scheduler, cache, queue, algorithm, preemption, decisions)


async def planned(informers: Informers, parts: Parts, filename: str) -> None:
    """Print where the pods of a file would go. Raises daemon.Fatal if one could not go anywhere."""
    classes = informers.of(plan.PRIORITY_CLASSES)
    pods = plan.pods_of(filename)
    following = asyncio.create_task(informers.run(), name="informers")
    try:
        await informers.synced()
        pods = [plan.with_priority(pod, classes.list()) for pod in pods]
        nowhere = 0
        for each in plan.plan(parts.cache, parts.algorithm, parts.preemption, pods):
            nowhere += not each.node
            print(f"{each.pod.key} -> {each.message}\n\n{each.text}")  # noqa: T201  # what was asked for
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    if nowhere:
        raise daemon.Fatal(f"{nowhere} of {len(pods)} pods would not get a node")


def explanation_of(parts: Parts) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Answers `/explain/<namespace>/<pod>`."""

    async def answer(request: web.Request) -> web.Response:
        key = f"{request.match_info['namespace']}/{request.match_info['pod']}"
        waiting = parts.queue.pod(key)
        pod = PodInfo.of(waiting) if waiting is not None else parts.cache.pod(key)
        if pod is None:
            raise web.HTTPNotFound(text=f"no pod {key} has a node or waits for one here\n")
        found, decisions = explain.explain(parts.cache, parts.algorithm, pod), parts.decisions.of(key)
        wants_json = request.query.get("format") == "json" or "application/json" in request.headers.get("Accept", "")
        if wants_json:
            return web.json_response({**found.to_dict(), "decisions": [asdict(each) for each in decisions]})
        return web.Response(text=explain.text(found, decisions))

    return answer
