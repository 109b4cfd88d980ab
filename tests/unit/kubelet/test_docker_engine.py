"""How streams of the engine are cut into items, carried to the event loop, and given up."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kube.kubelet.docker_engine import Engine, demultiplexed, json_lines, lowest_oom_score_adj
from kube.kubelet.runtime import EngineUnavailable


def frame(payload: bytes, stream: int = 1) -> bytes:
    return struct.pack(">BxxxL", stream, len(payload)) + payload


FRAMES = frame(b"one\n") + frame(b"two\n", 2) + frame(b"") + frame(b"x" * 300) + frame(b"three\n")


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 64, 10_000])
def test_frames_are_put_together_however_the_connection_cuts_them(size: int) -> None:
    chunks = [FRAMES[at : at + size] for at in range(0, len(FRAMES), size)]
    assert b"".join(demultiplexed(chunks)) == b"one\ntwo\n" + b"x" * 300 + b"three\n"


def test_the_frames_of_one_chunk_come_out_as_one() -> None:
    assert list(demultiplexed([FRAMES])) == [b"one\ntwo\n" + b"x" * 300 + b"three\n"]


def test_what_is_cut_off_in_a_frame_is_not_given_out() -> None:
    assert list(demultiplexed([frame(b"one\n") + frame(b"two\n")[:-1]])) == [b"one\n"]


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_json_lines_are_put_together_however_the_connection_cuts_them(size: int) -> None:
    text = b'{"a": 1}\r\n{"a": 2}\n\n{"a": 3}'
    chunks = [text[at : at + size] for at in range(0, len(text), size)]
    assert list(json_lines(chunks)) == [{"a": 1}, {"a": 2}, {"a": 3}]


class Numbers:
    """A stream of numbers, as a thread reads it: without end unless told."""

    def __init__(self, end: int | None = None, error: Exception | None = None, block: bool = False) -> None:
        self.end, self.error, self.block = end, error, block
        self.read = 0
        self.interrupted = threading.Event()
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[int]:
        while self.end is None or self.read < self.end:
            if self.interrupted.is_set():
                return
            yield self.read
            self.read += 1
        if self.block:
            self.interrupted.wait(10)
        if self.error:
            raise self.error

    def interrupt(self) -> None:
        self.interrupted.set()

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine whose connection is never used."""
    engine = Engine("/nowhere")
    monkeypatch.setattr(engine, "_connected", object)
    yield engine
    engine._threads.shutdown()


def streamed(engine: Engine, numbers: Numbers, silence: float | None = None) -> Any:
    stream: Any = numbers
    return contextlib.aclosing(engine.stream(lambda _: stream, silence=silence))


async def test_an_open_stream_says_so_before_its_first_item(engine: Engine) -> None:
    async with streamed(engine, Numbers(0, block=True)) as batches:
        async with asyncio.timeout(10):
            assert await anext(batches) == []


async def test_a_stream_gives_all_of_its_items_in_order_and_ends(engine: Engine) -> None:
    numbers = Numbers(10_000)
    async with streamed(engine, numbers) as batches:
        items = [item async for batch in batches for item in batch]
    assert items == list(range(10_000))
    assert numbers.closed.wait(10)


async def test_a_reader_that_is_behind_holds_the_stream_up(engine: Engine) -> None:
    numbers = Numbers()
    async with streamed(engine, numbers) as batches:
        assert await anext(batches) == []
        last = -1
        for _ in range(5):
            await asyncio.sleep(0.01)
            batch = await anext(batches)
            assert batch[0] == last + 1
            last = batch[-1]
            assert len(batch) <= 512
            assert numbers.read <= last + 1 + 512
    assert numbers.closed.wait(10)


async def test_leaving_a_silent_stream_interrupts_and_closes_it(engine: Engine) -> None:
    numbers = Numbers(0, block=True)
    async with streamed(engine, numbers) as batches:
        assert await anext(batches) == []
    assert numbers.interrupted.is_set()
    assert numbers.closed.wait(10)


async def test_a_stream_that_breaks_raises_after_what_it_gave(engine: Engine) -> None:
    got: list[int] = []

    async def read_all() -> None:
        async with streamed(engine, Numbers(3, error=ConnectionResetError("gone"))) as batches:
            async for batch in batches:
                got.extend(batch)

    with pytest.raises(EngineUnavailable, match="gone"):
        await read_all()
    assert got == [0, 1, 2]


async def test_a_stream_that_is_silent_for_too_long_times_out(engine: Engine) -> None:
    numbers = Numbers(0, block=True)
    async with streamed(engine, numbers, silence=0.05) as batches:
        assert await anext(batches) == []
        with pytest.raises(TimeoutError):
            await anext(batches)
    assert numbers.closed.wait(10)


async def test_without_a_socket_a_call_says_that_the_engine_does_not_answer(tmp_path: Path) -> None:
    engine = Engine(str(tmp_path / "docker.sock"))
    with pytest.raises(EngineUnavailable, match="does not answer"):
        await engine.call(lambda client: client.ping())
    await engine.close()


async def test_after_closing_a_call_says_that_the_engine_does_not_answer(tmp_path: Path) -> None:
    engine = Engine(str(tmp_path / "docker.sock"))
    await engine.close()
    with pytest.raises(EngineUnavailable, match="closed"):
        await engine.call(lambda client: client.ping())


def test_an_engine_that_cannot_be_seen_is_taken_to_be_able_to_give_any_score(tmp_path: Path) -> None:
    assert lowest_oom_score_adj(str(tmp_path / "docker.sock")) == -1000


def test_the_lowest_score_is_read_from_the_process_at_the_other_end(tmp_path: Path) -> None:
    path = str(tmp_path / "docker.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        capable = int(_own("CapEff:"), 16) >> 24 & 1
        with open("/proc/self/oom_score_adj") as score:
            own = int(score.read())
        assert lowest_oom_score_adj(path) == (-1000 if capable else own)


def _own(field: str) -> str:
    with open("/proc/self/status") as status:
        return next(line.split()[1] for line in status if line.startswith(field))
