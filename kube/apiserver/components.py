"""ComponentStatus: whether etcd, the scheduler and the controller manager answer, asked when somebody asks.

Deprecated upstream for what it is: one place that looks at one copy of each daemon, at its default address.
(pkg/registry/core/componentstatus)
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable, Mapping

from kube.api import errors
from kube.api.core import ComponentCondition, ComponentStatus
from kube.api.meta import ObjectMeta
from kube.store.store import Store, Unavailable

Check = Callable[[], Awaitable[str]]
"""Says `ok`, or raises Unwell."""

ADDRESSES = {
    "controller-manager": "http://127.0.0.1:10252/healthz",
    "scheduler": "http://127.0.0.1:10251/healthz",
}
TIMEOUT = 2.0
DEPRECATED = "v1 ComponentStatus is deprecated in v1.19+"


class Unwell(Exception):
    """What is wrong with a component."""


class Components:
    """The components that are looked at, each with its check."""

    def __init__(self, store: Store, addresses: Mapping[str, str] = ADDRESSES) -> None:
        self._checks: dict[str, Check] = {name: _http(url) for name, url in addresses.items()}
        self._checks["etcd-0"] = _store(store)

    async def get(self, name: str) -> ComponentStatus:
        """How one component is. Raises NotFound."""
        check = self._checks.get(name)
        if check is None:
            raise errors.not_found("componentstatuses", name)
        try:
            condition = ComponentCondition(type="Healthy", status="True", message=await check())
        except Unwell as error:
            condition = ComponentCondition(type="Healthy", status="False", message=str(error))
        return ComponentStatus(metadata=ObjectMeta(name=name), conditions=[condition])

    async def list(self) -> list[ComponentStatus]:
        """How they all are."""
        return await asyncio.gather(*(self.get(name) for name in sorted(self._checks)))


def _store(store: Store) -> Check:
    async def check() -> str:
        try:
            async with asyncio.timeout(TIMEOUT):
                await store.revision()
        except TimeoutError:
            raise Unwell("context deadline exceeded") from None
        except Unavailable as error:
            raise Unwell(str(error)) from None
        return "ok"

    return check


def _http(url: str) -> Check:
    async def check() -> str:
        # Where it is used: to import it takes a tenth of a second, and nobody needs it at the start.
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
                text = (await response.text(errors="replace")).strip()
        except aiohttp.ClientConnectorError as error:
            why = os.strerror(error.os_error.errno or errno.EIO).lower()
            raise Unwell(f"Get {errors.quote(url)}: dial tcp {error.host}:{error.port}: connect: {why}") from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            why = str(error) or "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            raise Unwell(f"Get {errors.quote(url)}: {why}") from None
        if response.status != 200:
            raise Unwell(text or f"HTTP probe failed with statuscode: {response.status}")
        return text

    return check
