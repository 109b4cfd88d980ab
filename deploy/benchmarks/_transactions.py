"""The floor of a create: etcd transactions that do what it has to do, by gRPC's own client and nothing else.

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

from kube.store import messages
from kube.store.connection import TXN


async def measure(target: str, value: bytes, seconds: float) -> float:
    """Transactions a second."""
    async with grpc.aio.insecure_channel(target) as channel:
        txn = channel.unary_unary(TXN.path, messages.TxnRequest.SerializeToString, TXN.answer)
        numbers = itertools.count()
        end = time.monotonic() + seconds

        async def write() -> int:
            done = 0
            while time.monotonic() < end:
                key = b"/floor/%d/%d" % (os.getpid(), next(numbers))
                request = messages.TxnRequest()
                request.compare.add(key=key, target=messages.MOD, result=messages.EQUAL, mod_revision=0)
                put = request.success.add().request_put
                put.key, put.value = key, value
                await txn(request)
                done += 1
            return done

        return sum(await asyncio.gather(*(write() for _ in range(16)))) / seconds


if __name__ == "__main__":
    print(uvloop.run(measure(sys.argv[1].removeprefix("http://"), Path(sys.argv[2]).read_bytes(), float(sys.argv[3]))))
