"""Clients that write, read and watch while servers are killed, and note all of it for tests/history.py.

They speak plain HTTP, and no request is ever sent twice: a library that tries again by itself hides what is looked for.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.history import Event, History, Outcome, Read, Write

BROKEN = (aiohttp.ClientError, OSError, TimeoutError)
ALSO_THERE = "kube-root-ca.crt"
"""What the controller manager puts into every namespace."""
PAUSE = 0.02
"""Seconds before the next attempt at a server that is not there."""


class Recorder:
    """Clients of the config maps of one namespace, through any of several apiservers."""

    def __init__(self, urls: Sequence[str], namespace: str) -> None:
        self.history = History()
        self._collections = [f"{url}/api/v1/namespaces/{namespace}/configmaps" for url in urls]
        self._values = itertools.count(1)
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def running(self, writers: int) -> AsyncIterator[None]:
        """Within it, so many writers write, one reader lists and one watcher watches; after it, all has been seen."""
        connector = aiohttp.TCPConnector(force_close=True)
        timeout = aiohttp.ClientTimeout(total=15)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as self._session:
            # Else aiohttp sends a DELETE whose connection breaks again, also if that was a new one: behind one address
            # for all apiservers the second is answered that there is no such object.
            self._session._retry_connection = False
            stop = asyncio.Event()
            watcher = asyncio.create_task(self._watch(await self._revision()))
            async with asyncio.TaskGroup() as tasks:
                for number in range(writers):
                    tasks.create_task(self._write_on(f"w{number}", stop))
                tasks.create_task(self._read_on(stop))
                try:
                    yield
                finally:
                    stop.set()
            try:
                await self._see_the_end(watcher)
            finally:
                watcher.cancel()
                await asyncio.wait([watcher])
            items = [item for item in (await self._list())["items"] if item["metadata"]["name"] != ALSO_THERE]
            self.history.final = {item[0]: item[1:] for item in map(_read_item, items)}

    def acknowledged(self) -> int:
        """How many writes were."""
        return sum(write.outcome is Outcome.DONE for write in self.history.writes)

    async def _write_on(self, writer: str, stop: asyncio.Event) -> None:
        """One object after the other, each of a new name: created, changed a few times, perhaps deleted."""
        for number in itertools.count():
            if stop.is_set():
                return
            name = f"{writer}-{number}"
            plan = ["create", *["update"] * random.randrange(4), *["delete"] * random.randrange(2)]
            for verb in plan:
                if await self._write(verb, name) is not Outcome.DONE:
                    await asyncio.sleep(PAUSE)
                    break  # nobody knows what is there now: the next object, please

    async def _write(self, verb: str, name: str) -> Outcome:
        assert self._session is not None
        value = "" if verb == "delete" else str(next(self._values))
        url = random.choice(self._collections)
        method, headers = "DELETE", {}
        data: dict[str, Any] | None = None
        if verb == "create":
            method, data = "POST", {"metadata": {"name": name}, "data": {"value": value}}
        elif verb == "update":
            method, data = "PATCH", {"data": {"value": value}}
            headers = {"content-type": "application/merge-patch+json"}
        where = url if verb == "create" else f"{url}/{name}"
        sent, revision, outcome = time.monotonic(), 0, Outcome.UNKNOWN
        try:
            async with self._session.request(method, where, json=data, headers=headers) as answer:
                body = await answer.json()
                if answer.status < 300:
                    outcome = Outcome.DONE
                    revision = 0 if verb == "delete" else int(body["metadata"]["resourceVersion"])
                elif answer.status < 500:
                    outcome = Outcome.REFUSED
        except BROKEN:
            pass
        self.history.writes.append(Write(verb, name, value, sent, time.monotonic(), outcome, revision))
        return outcome

    async def _read_on(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await asyncio.sleep(PAUSE)
            sent = time.monotonic()
            try:
                revision = int((await self._list(limit=1))["metadata"]["resourceVersion"])
            except BROKEN:
                continue
            self.history.reads.append(Read(sent, time.monotonic(), revision))

    async def _list(self, **params: Any) -> dict[str, Any]:
        assert self._session is not None
        async with self._session.get(random.choice(self._collections), params=params) as answer:
            answer.raise_for_status()
            listed: dict[str, Any] = await answer.json()
            return listed

    async def _revision(self) -> int:
        return int((await self._list(limit=1))["metadata"]["resourceVersion"])

    async def _watch(self, revision: int) -> None:
        """Follow for ever, always going on where the last connection ended: at the next apiserver when the server has
        ended it, at the same one, once that is back, when it broke.
        """
        assert self._session is not None
        urls = itertools.cycle(self._collections)
        url = next(urls)
        while True:
            # Short, so that there are reconnections enough.
            timeout = random.choice((1, 3, 60))
            params = {"watch": "1", "resourceVersion": str(revision), "allowWatchBookmarks": "1",
                      "timeoutSeconds": str(timeout)}  # fmt: skip
            rest = b""
            try:
                endless = aiohttp.ClientTimeout(sock_connect=5)
                async with self._session.get(url, params=params, timeout=endless) as answer:
                    if answer.status == 410:
                        self.history.gaps.append(await answer.text())
                        return
                    answer.raise_for_status()
                    async for chunk in answer.content.iter_any():
                        *lines, rest = (rest + chunk).split(b"\n")
                        for line in lines:
                            revision = self._seen(json.loads(line))
                            if not revision:
                                return
                url = next(urls)
            except BROKEN:
                await asyncio.sleep(PAUSE)

    def _seen(self, event: dict[str, Any]) -> int:
        """Note an event; returns its revision, or 0 if it ends it all."""
        if event["type"] == "ERROR":
            self.history.gaps.append(json.dumps(event["object"]))
            return 0
        if event["type"] == "BOOKMARK":
            return int(event["object"]["metadata"]["resourceVersion"])
        if event["object"]["metadata"]["name"] == ALSO_THERE:
            return int(event["object"]["metadata"]["resourceVersion"])
        name, value, revision = _read_item(event["object"])
        self.history.events.append(Event(event["type"], name, value, revision))
        return revision

    async def _see_the_end(self, watcher: asyncio.Task[None]) -> None:
        """Write one more object, and wait until the watcher has seen it, and so everything before it."""
        async with asyncio.timeout(30):
            for number in itertools.count():
                if await self._write("create", f"end-{number}") is Outcome.DONE:
                    break
                await asyncio.sleep(0.1)
            while not watcher.done() and f"end-{number}" not in {event.name for event in self.history.events[-100:]}:
                await asyncio.sleep(0.05)


def _read_item(item: dict[str, Any]) -> tuple[str, str, int]:
    """Name, value and revision."""
    return item["metadata"]["name"], item["data"]["value"], int(item["metadata"]["resourceVersion"])
