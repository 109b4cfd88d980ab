"""The fake passes the contract's suite, in virtual time; and it fails, ends and waits on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from kube.kubelet.fake import FakeRuntime, Program
from kube.kubelet.runtime import (
    Change,
    ContainerConfig,
    EngineUnavailable,
    ImageNotFound,
    Runtime,
    RuntimeFailure,
    SandboxConfig,
    State,
)
from tests.runtime_contract import (
    RUNS,
    RuntimeContract,
    container,
    listening,
    log,
    look,
    new_pod,
    sandbox,
    start,
    teach,
)

pytestmark = pytest.mark.looptime


class TestFakeRuntime(RuntimeContract):
    @pytest.fixture
    async def runtime(self) -> AsyncIterator[Runtime]:
        runtime = teach(FakeRuntime())
        yield runtime
        await runtime.close()


@pytest.fixture
async def fake() -> AsyncIterator[FakeRuntime]:
    fake = teach(FakeRuntime())
    yield fake
    await fake.close()


async def test_a_container_ends_when_the_test_says_so(fake: FakeRuntime) -> None:
    id = await start(fake, await sandbox(fake))
    fake.exit(id, 137, oom_killed=True)
    status = await look(fake, id)
    assert (status.state, status.exit_code, status.oom_killed) == (State.EXITED, 137, True)


async def test_a_sandbox_ends_when_the_test_says_so(fake: FakeRuntime) -> None:
    box = await sandbox(fake)
    fake.exit(box.id)
    [status] = await fake.list_sandboxes()
    assert (status.state, status.ip) == (State.EXITED, "")


async def test_while_the_engine_is_down_every_call_is_unavailable_and_containers_run_on(fake: FakeRuntime) -> None:
    id = await start(fake, await sandbox(fake))
    fake.kill_engine()
    for call in (fake.info(), fake.list_containers(), fake.start_container(id), fake.stop_container(id, 0)):
        with pytest.raises(EngineUnavailable):
            await call
    fake.start_engine()
    assert (await look(fake, id)).state is State.RUNNING


async def test_after_a_break_everything_is_to_be_looked_at(fake: FakeRuntime) -> None:
    async with listening(fake) as changes:
        assert await anext(changes) == Change(None)
        fake.kill_engine()
        coming = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(60)
        assert not coming.done()
        fake.start_engine()
        assert await coming == Change(None)


async def test_after_a_reboot_all_have_ended(fake: FakeRuntime) -> None:
    id = await start(fake, await sandbox(fake))
    fake.kill_engine()
    fake.start_engine(containers_survive=False)
    assert (await look(fake, id)).state is State.EXITED
    assert [status.state for status in await fake.list_sandboxes()] == [State.EXITED]


async def test_a_call_fails_as_often_as_it_is_told_to(fake: FakeRuntime) -> None:
    fake.fail("run_sandbox", RuntimeFailure("no space left on device"), times=2)
    for _ in range(2):
        with pytest.raises(RuntimeFailure, match="no space left"):
            await sandbox(fake)
    assert (await sandbox(fake)).ip


async def test_time_is_the_loops() -> None:
    epoch = datetime(2026, 1, 1, tzinfo=UTC)
    fake = FakeRuntime(epoch=epoch, sandbox_delay=1, create_delay=2, start_delay=4)
    fake.images["kube/web:latest"] = Program(exit_code=1, after=60)
    box = await fake.run_sandbox(SandboxConfig(new_pod()))
    id = await fake.create_container(box.id, ContainerConfig(box.pod, "main", "kube/web"))
    await fake.start_container(id)
    begun = (await look(fake, id)).started_at
    assert begun is not None
    assert begun == box.created_at + timedelta(seconds=6)
    await asyncio.sleep(61)
    status = await look(fake, id)
    assert (status.exit_code, status.finished_at) == (1, begun + timedelta(seconds=60))


async def test_an_image_is_pulled_from_the_registry() -> None:
    fake = FakeRuntime(images=["kube/pause"], registry=["kube/web:2"], pull_delay=5)
    assert (await fake.pull("kube/web:2")).names == ["kube/web:2"]
    assert await fake.image("kube/web:2") is not None
    with pytest.raises(ImageNotFound):
        await fake.pull("kube/web:3")


async def test_what_is_written_reaches_those_who_follow(fake: FakeRuntime) -> None:
    id = await start(fake, await sandbox(fake), RUNS)
    reading = asyncio.create_task(log(fake, id, follow=True, tail=0))
    await asyncio.sleep(1)
    fake.write(id, b"more\n")
    await asyncio.sleep(1)
    fake.write(id, b"and more\n")
    fake.exit(id)
    assert await reading == b"more\nand more\n"


async def test_the_address_of_a_pod_that_is_gone_is_free_again() -> None:
    fake = FakeRuntime(pod_cidr="10.244.3.0/29")
    boxes = [await sandbox(fake) for _ in range(5)]
    assert [box.ip for box in boxes] == [f"10.244.3.{host}" for host in range(2, 7)]
    with pytest.raises(RuntimeFailure, match="no available IPv4 addresses"):
        await sandbox(fake)
    await fake.remove_sandbox(boxes[2].id)
    assert (await sandbox(fake)).ip == "10.244.3.4"


async def test_the_calls_that_change_something_are_kept_in_order(fake: FakeRuntime) -> None:
    box = await sandbox(fake)
    id = await fake.create_container(box.id, container(box))
    await fake.start_container(id)
    await fake.remove_container(id)
    main = f"k8s_main_{box.pod.name}_default_{box.pod.uid}_0"
    assert list(fake.calls)[1:] == [("create_container", main), ("start_container", main), ("remove_container", main)]
    with pytest.raises(KeyError):
        fake.id_of(main)
