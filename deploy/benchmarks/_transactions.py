"""The floor of a create: etcd transactions that do what it has to do, and nothing else.

`python -m deploy.benchmarks._transactions CLIENT URL FILE SECONDS` writes the file's content under new names, 16 at a
time, and prints how many a second. CLIENT: `grpc`, gRPC's own for Python, or `store`, the one that the apiserver has.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc.aio
import uvloop

from kube.store import messages
from kube.store.connection import TXN
from kube.store.etcd import EtcdStore
from kube.store.store import Compare, Put

Write = Callable[[str, bytes], Awaitable[object]]


async def measure(write: Write, value: bytes, seconds: float) -> float:
    """Transactions a second."""
    numbers = itertools.count()
    await write(f"/floor/{os.getpid()}/first", value)
    end = time.monotonic() + seconds

    async def writer() -> int:
        done = 0
        while time.monotonic() < end:
            await write(f"/floor/{os.getpid()}/{next(numbers)}", value)
            done += 1
        return done

    return sum(await asyncio.gather(*(writer() for _ in range(16)))) / seconds


async def by_grpc(url: str, value: bytes, seconds: float) -> float:
    """The same by gRPC's own client."""
    async with grpc.aio.insecure_channel(url.removeprefix("http://")) as channel:
        txn = channel.unary_unary(TXN.path, messages.TxnRequest.SerializeToString, TXN.answer)

        def write(key: str, value: bytes) -> Awaitable[object]:
            request = messages.TxnRequest()
            request.compare.add(key=key.encode(), target=messages.MOD, result=messages.EQUAL, mod_revision=0)
            put = request.success.add().request_put
            put.key, put.value = key.encode(), value
            called: Awaitable[object] = txn(request)
            return called

        return await measure(write, value, seconds)


async def by_store(url: str, value: bytes, seconds: float) -> float:
    """The same by the store."""
    store = EtcdStore([url])
    try:
        return await measure(lambda key, value: store.txn([Compare(key, 0)], [Put(key, value)]), value, seconds)
    finally:
        await store.close()


if __name__ == "__main__":
    client, url, file, seconds = sys.argv[1:]
    ways = {"grpc": by_grpc, "store": by_store}
    print(uvloop.run(ways[client](url, Path(file).read_bytes(), float(seconds))))
