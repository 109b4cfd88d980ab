"""The floor of a create: etcd transactions that do what it has to do, by the same client library and nothing else.

`python -m deploy.benchmarks._transactions URL FILE SECONDS` writes the file's content under new names, 16 at a time,
and prints how many a second.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from pathlib import Path

import grpc.aio
import uvloop
from aetcd import rpc


async def measure(target: str, value: bytes, seconds: float) -> float:
    """Transactions a second."""
    async with grpc.aio.insecure_channel(target) as channel:
        txn = rpc.KVStub(channel).Txn
        numbers = itertools.count()
        end = time.monotonic() + seconds

        async def write() -> int:
            done = 0
            while time.monotonic() < end:
                key = b"/floor/%d/%d" % (os.getpid(), next(numbers))
                request = rpc.TxnRequest()
                request.compare.add(key=key, target=rpc.Compare.MOD, result=rpc.Compare.EQUAL, mod_revision=0)
                put = request.success.add().request_put
                put.key, put.value = key, value
                await txn(request)
                done += 1
            return done

        return sum(await asyncio.gather(*(write() for _ in range(16)))) / seconds


if __name__ == "__main__":
    print(uvloop.run(measure(sys.argv[1].removeprefix("http://"), Path(sys.argv[2]).read_bytes(), float(sys.argv[3]))))
