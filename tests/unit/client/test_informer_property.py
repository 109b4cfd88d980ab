"""Whatever happens to the store and to the connection: nothing is lost, and nothing is told twice."""

from __future__ import annotations

import asyncio
import contextlib

import looptime
from hypothesis import given, settings
from hypothesis import strategies as st

from kube.api.core import Pod
from kube.client.informer import Informer
from kube.client.source import EtcdSources
from tests.unit.client.cluster import Cluster, Told, cached, settle

NAMES = st.sampled_from("abcd")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), NAMES),
        st.tuples(st.just("recreate"), NAMES),
        st.tuples(st.just("delete"), NAMES),
        st.tuples(st.just("cut"), st.just("")),
        st.tuples(st.just("down"), st.just("")),
        st.tuples(st.just("up"), st.just("")),
        st.tuples(st.just("compact"), st.just("")),
        st.tuples(st.just("corrupt"), NAMES),
        st.tuples(st.just("wait"), st.sampled_from(["0", "0.01", "0.15", "7"])),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(steps=STEPS)
def test_the_cache_equals_the_store_and_the_handlers_were_told_how(steps: list[tuple[str, str]]) -> None:
    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        runner.run(follow(steps))


async def follow(steps: list[tuple[str, str]]) -> None:
    cluster = Cluster()
    informer = Informer(EtcdSources(cluster.store).of(Pod))
    informer.add_index("node", lambda pod: [pod.spec.nodeName])
    told = Told(informer)
    running = asyncio.ensure_future(informer.run())
    try:
        for number, (what, arg) in enumerate(steps):
            await step(cluster, what, arg, number)
        cluster.store.down = False
        for name in "abcd":
            await repair(cluster, name)
        await asyncio.sleep(20)
        assert cached(informer) == await cluster.pods()
        assert told.replayed == cached(informer)
        for node in {pod.spec.nodeName for pod in informer.list()}:
            expected = {pod.key for pod in informer.list() if pod.spec.nodeName == node}
            assert {pod.key for pod in informer.indexed("node", node)} == expected
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await cluster.store.close()


async def step(cluster: Cluster, what: str, arg: str, number: int) -> None:
    store = cluster.store
    if what == "wait":
        await asyncio.sleep(float(arg))
    elif what == "cut":
        store.interrupt()
    elif what == "down":
        store.down = True
        store.interrupt()
    elif what == "up":
        store.down = False
    else:
        # The cluster changes also while we cannot see it.
        was_down, store.down = store.down, False
        if what == "put":
            await cluster.put(arg, node=f"n{number % 3}")
        elif what == "recreate":
            await cluster.delete(arg)
            await cluster.put(arg, uid=f"uid-{number}")
        elif what == "delete":
            await cluster.delete(arg)
        elif what == "corrupt":
            await cluster.corrupt(arg)
        elif what == "compact":
            await store.compact(await store.revision())
        store.down = was_down
    if number % 4 == 0:
        await settle()


async def repair(cluster: Cluster, name: str) -> None:
    """A value that cannot be read leaves the cache as it was (or not): in the end there is none."""
    if cluster.is_corrupt(name):
        await cluster.put(name)
