"""Many watchers of one collection, and when each of them was told of each write.

`python -m deploy.benchmarks._watchers HOST PORT COLLECTION WATCHERS WRITES RATE` watches, creates so many pods at that
rate, and prints the seconds from the sending of a write to its arrival: the 50th and 99th percentile over all events,
and the longest.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import uvloop

from deploy.benchmarks._pods import pod


class Watcher(asyncio.Protocol):
    """One connection, which notes how many events there were at which time."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._head = b""
        self.events = 0
        self.arrived: list[tuple[int, float]] = []
        """After so many events, at what time."""
        self.began = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # what it is for TCP
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self.began.done():
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            assert head.startswith(b"HTTP/1.1 200"), head
            self.began.set_result(None)
        if count := data.count(b'{"type":"ADDED"'):
            self.events += count
            self.arrived.append((self.events, time.monotonic()))


async def _request(host: str, port: int, method: str, path: str, body: bytes = b"") -> bytes:
    """The body of an answer on a connection of its own."""
    reader, writer = await asyncio.open_connection(host, port)
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await reader.read()
    writer.close()
    head_, _, content = answer.partition(b"\r\n\r\n")
    assert head_.split()[1] in (b"200", b"201"), answer
    return content


async def measure(host: str, port: int, path: str, watchers: int, writes: int, rate: float) -> list[float]:
    """The seconds that each event took to each watcher, in order."""
    loop = asyncio.get_running_loop()
    listed = json.loads(await _request(host, port, "GET", f"{path}?limit=1"))
    version = listed["metadata"]["resourceVersion"]
    request = f"GET {path}?watch=1&resourceVersion={version} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    watching = [(await loop.create_connection(lambda: Watcher(request), host, port))[1] for _ in range(watchers)]
    await asyncio.gather(*(watcher.began for watcher in watching))
    sent: list[float] = []
    began = time.monotonic()
    for number in range(writes):
        await asyncio.sleep(began + number / rate - time.monotonic())
        sent.append(time.monotonic())
        await _request(host, port, "POST", path, json.dumps(pod(f"watched-{number:08d}")).encode())
    async with asyncio.timeout(60):
        while any(watcher.events < writes for watcher in watching):
            await asyncio.sleep(0.01)
    took: list[float] = []
    for watcher in watching:
        number = 0
        for events, moment in watcher.arrived:
            took += [moment - sent[index] for index in range(number, min(events, writes))]
            number = events
    return sorted(took)


def main() -> None:
    """Measure, and print."""
    host, port, path, watchers, writes, rate = sys.argv[1:]
    took = uvloop.run(measure(host, int(port), path, int(watchers), int(writes), float(rate)))
    print(json.dumps({"p50": took[len(took) // 2], "p99": took[len(took) * 99 // 100], "longest": took[-1]}))


if __name__ == "__main__":
    main()
