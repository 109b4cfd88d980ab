"""A connection to a port on the loopback of a pod, made inside the pod's network namespace.

What listens only on 127.0.0.1 is reached too, as with Kubernetes (which runs socat there, or enters the namespace as is
done here). A thread of its own enters the namespace, connects, and ends; the socket stays in the namespace in which it
was made. Without the right to enter it, the pod's address is called from the node.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import threading

TIMEOUT = 10.0
CLONE_NEWNET = 0x40000000


class _NoEntry(OSError):
    """The namespace cannot be entered."""


async def connect_to_loopback(pid: int, address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a port in the network namespace of a process, else at `address`. Raises OSError."""
    try:
        connected = await _in_namespace(f"/proc/{pid}/ns/net", port)
    except _NoEntry:
        async with asyncio.timeout(TIMEOUT):
            return await asyncio.open_connection(address, port)
    return await asyncio.open_connection(sock=connected)


async def _in_namespace(path: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    result: asyncio.Future[socket.socket] = loop.create_future()

    def settle(found: socket.socket | OSError) -> None:
        if result.done():  # nobody waits any more
            if isinstance(found, socket.socket):
                found.close()
        elif isinstance(found, socket.socket):
            result.set_result(found)
        else:
            result.set_exception(found)

    def run() -> None:
        found: socket.socket | OSError
        try:
            found = _enter_and_connect(path, port)
        except OSError as error:
            found = error
        loop.call_soon_threadsafe(settle, found)

    # Never a pool's thread: it stays in the namespace until it ends.
    threading.Thread(target=run, name="port-forward", daemon=True).start()
    return await result


def _enter_and_connect(path: str, port: int) -> socket.socket:
    try:
        namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _NoEntry(*error.args) from error
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(namespace, CLONE_NEWNET) != 0:
            raise _NoEntry(ctypes.get_errno(), "setns")
    finally:
        os.close(namespace)
    refused: OSError | None = None
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            connection = socket.socket(family)
        except OSError as error:
            refused = refused or error
            continue
        connection.settimeout(TIMEOUT)
        try:
            connection.connect((host, port))
        except OSError as error:
            connection.close()
            refused = refused or error
        else:
            connection.setblocking(False)
            return connection
    assert refused is not None
    raise refused
