"""How a read learns up to where the cache must be: by a question to the store that began after the read did."""

from __future__ import annotations

import asyncio

import pytest

from kube.apiserver.cache import PROBES, Cache
from kube.store.memory import MemoryStore
from kube.store.store import Unavailable


class Asked(MemoryStore):
    """A store that answers when the test lets it."""

    def __init__(self) -> None:
        super().__init__()
        self.questions: list[asyncio.Future[int]] = []

    async def revision(self) -> int:
        question: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.questions.append(question)
        return await question


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def store() -> Asked:
    return Asked()


@pytest.fixture
def cache(store: Asked) -> Cache:
    cache = Cache(store)
    cache.revision = 1000
    return cache


def ask(cache: Cache) -> asyncio.Task[int]:
    return asyncio.create_task(cache._current_revision())


async def test_those_who_ask_together_share_a_question(store: Asked, cache: Cache) -> None:
    readers = [ask(cache) for _ in range(10)]
    await settle()
    (question,) = store.questions
    question.set_result(7)
    assert await asyncio.gather(*readers) == [7] * 10


async def test_who_comes_later_does_not_take_an_answer_that_may_be_older(store: Asked, cache: Cache) -> None:
    first = ask(cache)
    await settle()
    second = ask(cache)
    await settle()
    assert len(store.questions) == 2
    store.questions[0].set_result(7)
    assert await first == 7
    assert not second.done()
    store.questions[1].set_result(8)
    assert await second == 8


async def test_who_comes_when_all_questions_are_open_asks_with_the_others_when_one_is_back(
    store: Asked, cache: Cache
) -> None:
    early = []
    for _ in range(PROBES):
        early.append(ask(cache))
        await settle()
    late = [ask(cache) for _ in range(5)]
    await settle()
    assert len(store.questions) == PROBES
    store.questions[-1].set_result(7)  # in whichever order they come back
    assert await early[-1] == 7
    await settle()
    assert len(store.questions) == PROBES + 1
    store.questions[-1].set_result(9)
    assert await asyncio.gather(*late) == [9] * 5
    store.questions[0].set_result(7)
    await early[0]


async def test_nobody_is_left_waiting(store: Asked, cache: Cache) -> None:
    async with asyncio.timeout(20):
        for together in (1, 2, 3, 1, 5):
            readers = [ask(cache) for _ in range(together)]
            while not all(reader.done() for reader in readers):
                for question in store.questions:
                    if not question.done():
                        question.set_result(7)
                        readers += [ask(cache)] if len(readers) < 20 else []
                        break
                await asyncio.sleep(0)


async def test_all_who_wait_are_told_that_the_store_is_away(store: Asked, cache: Cache) -> None:
    first = ask(cache)
    await settle()
    second = ask(cache)
    await settle()
    third = ask(cache)
    await settle()
    store.questions[0].set_exception(Unavailable("away"))
    for reader in (first, third):
        with pytest.raises(Unavailable):
            await reader
    store.questions[1].set_result(7)
    assert await second == 7
    again = ask(cache)
    await settle()
    store.questions[-1].set_result(8)
    assert await again == 8


async def test_a_reader_who_gives_up_takes_nobody_along(store: Asked, cache: Cache) -> None:
    one, other = ask(cache), ask(cache)
    await settle()
    one.cancel()
    await settle()
    store.questions[0].set_result(7)
    assert await other == 7
