"""Requests that take too long are ended; the others never notice the clock."""

from __future__ import annotations

import asyncio

import pytest

from kube.apiserver.deadlines import Deadlines

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime]


async def _after(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


async def test_work_that_ends_in_time_gives_its_result() -> None:
    deadlines = Deadlines(10)
    assert await deadlines.keep(_after(9)) == 9
    assert await deadlines.keep(_after(9)) == 9, "the time begins anew with each work"


async def test_each_work_has_its_own_time() -> None:
    deadlines = Deadlines(10)
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def begin_at(start: float, seconds: float) -> tuple[str, float]:
        await asyncio.sleep(start)
        try:
            await deadlines.keep(_after(seconds))
        except TimeoutError:
            return "too long", loop.time() - began
        return "in time", loop.time() - began

    ended = await asyncio.gather(begin_at(0, 20), begin_at(3, 5), begin_at(4, 30), begin_at(25, 30))
    assert list(ended) == [("too long", 10), ("in time", 8), ("too long", 14), ("too long", 35)]


async def test_whoever_is_cancelled_by_somebody_else_ends_as_cancelled() -> None:
    deadlines = Deadlines(10)
    task = asyncio.create_task(deadlines.keep(_after(20)))
    await asyncio.sleep(5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_task_goes_on_after_its_work_was_ended() -> None:
    deadlines = Deadlines(10)
    with pytest.raises(TimeoutError):
        await deadlines.keep(_after(20))
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert await _after(1) == 1


async def test_what_a_work_raises_is_raised() -> None:
    async def fails() -> None:
        raise ValueError("so it is")

    with pytest.raises(ValueError, match="so it is"):
        await Deadlines(10).keep(fails())
