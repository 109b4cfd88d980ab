"""The Docker runtime while its engine dies, hangs and comes back: an engine of the tests' own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from kube.kubelet.docker import DockerRuntime
from kube.kubelet.runtime import Change, EngineUnavailable, SandboxConfig, SandboxStatus, State
from tests.own_docker import OwnDocker
from tests.runtime_contract import DEAF, PATIENCE, RUNS, listening, log, look, new_pod, start


@pytest.fixture
async def runtime(engine: OwnDocker) -> AsyncIterator[DockerRuntime]:
    runtime = DockerRuntime("restarted", socket=engine.socket)
    yield runtime
    if not engine.answers():
        engine.start()
    for container in await runtime.list_containers():
        await runtime.remove_container(container.id)
    for box in await runtime.list_sandboxes():
        await runtime.remove_sandbox(box.id)
    await runtime.close()


async def host_sandbox(runtime: DockerRuntime) -> SandboxStatus:
    """A sandbox that needs no network of the engine's."""
    return await runtime.run_sandbox(SandboxConfig(new_pod(), host_network=True))


async def test_while_the_engine_is_dead_calls_say_so_and_then_all_is_found_again(
    runtime: DockerRuntime, engine: OwnDocker
) -> None:
    box = await host_sandbox(runtime)
    id = await start(runtime, box, RUNS)
    before = await look(runtime, id)
    async with asyncio.timeout(60), listening(runtime) as changes:
        assert await anext(changes) == Change(None)
        engine.kill()
        for call in (runtime.info(), runtime.list_containers(), runtime.stop_container(id, 5)):
            with pytest.raises(EngineUnavailable):
                await call
        await asyncio.to_thread(engine.start)
        assert await anext(changes) == Change(None)
        assert await look(runtime, id) == before
        assert await runtime.list_sandboxes() == [box]
        await runtime.stop_container(id, 5)
        assert await anext(changes) == Change(box.pod)
        status = await look(runtime, id)
        assert (status.state, status.exit_code) == (State.EXITED, 0)


async def test_what_waits_on_an_engine_that_dies_does_not_wait_for_ever(
    runtime: DockerRuntime, engine: OwnDocker
) -> None:
    id = await start(runtime, await host_sandbox(runtime), DEAF)
    stopping = asyncio.create_task(runtime.stop_container(id, 600))
    reading = asyncio.create_task(log(runtime, id, follow=True))
    hanging = asyncio.create_task(runtime.exec(id, ["sleep", "600"], 600))
    await asyncio.sleep(0.5)
    assert not any(task.done() for task in (stopping, reading, hanging))
    engine.kill()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(EngineUnavailable):
            await stopping
        with pytest.raises(EngineUnavailable):
            await hanging
        with pytest.raises(EngineUnavailable):
            await reading


async def test_an_engine_that_hangs_is_unavailable_and_the_loop_runs_on(
    runtime: DockerRuntime, engine: OwnDocker
) -> None:
    id = await start(runtime, await host_sandbox(runtime), RUNS)
    hasty = DockerRuntime("restarted", socket=engine.socket, timeout=1)
    engine.pause()
    try:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(EngineUnavailable):
                await hasty.list_containers()
            with pytest.raises(TimeoutError):
                await runtime.exec(id, ["true"], 0.5)
    finally:
        engine.resume()
        await hasty.close()
    assert (await runtime.exec(id, ["true"], 10)).exit_code == 0


async def test_closing_while_the_engine_hangs_does_not_wait_for_it(runtime: DockerRuntime, engine: OwnDocker) -> None:
    hung = DockerRuntime("restarted", socket=engine.socket, timeout=600)
    await hung.info()
    engine.pause()
    try:
        waiting = asyncio.create_task(hung.info())
        await asyncio.sleep(0.1)
        async with asyncio.timeout(5):
            await hung.close()
    finally:
        engine.resume()
    await waiting
