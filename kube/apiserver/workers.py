"""`--workers N`: more cores for one apiserver. Processes share its ports; a supervisor starts those that die again.

Each worker is a whole apiserver, with a cache of its own, as several apiservers on one etcd are: they agree on every
read, because each asks etcd how far it has to be. A worker has its own listening socket on the shared port
(SO_REUSEPORT: the kernel spreads the connections), but the supervisor holds it, so a worker that is started again finds
the connections that came meanwhile. A worker lives no longer than its supervisor: it reads a pipe that only the
supervisor can write to, and that ends with it, however that ended.

Kubernetes' apiserver needs no such thing: Go uses all cores in one process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys

from kube import daemon
from kube.apiserver.options import Options

log = logging.getLogger(__name__)

SETTLED = 10.0
"""Seconds after which a worker counts as one that can work."""

LONGEST_PAUSE = 5.0
"""Seconds before a worker that dies again and again is started once more."""

STOP = 10.0
"""Seconds that a worker has to end after SIGTERM."""


async def supervise(options: Options) -> None:
    """Keep the workers running until cancelled. Raises Fatal."""
    from kube.apiserver import certificates

    # What is made once is not left to whichever worker comes first.
    certificates.make_absent(options)
    sockets = _sockets(options)
    alive, ours = os.pipe()
    try:
        async with asyncio.TaskGroup() as tasks:
            for number, listeners in enumerate(sockets):
                fds = [alive, *(listener.fileno() for listener in listeners)]
                tasks.create_task(_keep(number, fds), name=f"worker-{number}")
    finally:
        os.close(ours)


def _sockets(options: Options) -> list[list[socket.socket]]:
    """For each worker a socket on each port. Raises Fatal when a port is taken."""
    ports = [(options.insecure_bind_address, options.insecure_port, "--insecure-port")]
    if options.secure_port:
        ports.append((options.bind_address, options.secure_port, "--secure-port"))
    shared = []
    for address, port, flag in ports:
        # Sockets that share a port would share it with those of another apiserver, too.
        with daemon.listen(address, port, flag=flag) as alone:
            chosen: int = alone.getsockname()[1]
        shared.append([daemon.listen(address, chosen, flag=flag, shared=True) for _ in range(options.workers)])
    return [list(of_worker) for of_worker in zip(*shared, strict=True)]


def inherited(options: Options) -> list[socket.socket]:
    """A worker's sockets, the plain port's first. From now on it ends when its supervisor does."""
    alive, *listeners = options.worker_sockets
    # It is never written to: it can be read when its other end is closed. Nothing here needs a clean end.
    asyncio.get_running_loop().add_reader(alive, os._exit, 1)
    return [socket.socket(fileno=fd) for fd in listeners]


async def _keep(number: int, fds: list[int]) -> None:
    """Run one worker, again and again."""
    loop = asyncio.get_running_loop()
    pause, first = 0.1, True
    flag = f"--worker-sockets={','.join(map(str, fds))}"
    while True:
        began = loop.time()
        # A session of its own: what a terminal sends to all is the supervisor's to pass on.
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "kube.apiserver", *sys.argv[1:], flag, pass_fds=fds, start_new_session=True
        )
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await _stop(process)
            raise
        settled = loop.time() - began > SETTLED
        if first and not settled and code > 0:
            raise daemon.Fatal(f"worker {number} ended with code {code} at its start: what it said before tells why")
        first = False
        pause = 0.1 if settled else min(pause * 2, LONGEST_PAUSE)
        log.error("worker ended, starting it again", extra={"worker": number, "code": code, "in": f"{pause:g} s"})
        await asyncio.sleep(pause)


async def _stop(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
