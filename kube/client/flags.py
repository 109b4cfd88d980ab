"""The flags that say where a daemon reads and writes, and the connections they stand for.

Every daemon writes through the apiserver (`--master`, `--kubeconfig`). It reads etcd itself (`--etcd-servers`), or,
with `--source=api`, lists and watches at the apiserver: for nodes that hold no etcd credentials, and for any
Kubernetes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from kube import daemon
from kube.client.kubeconfig import KubeconfigError
from kube.client.rest import Client
from kube.client.source import ApiSources, EtcdSources, Sources
from kube.store.etcd import EtcdStore
from kube.store.store import Unavailable

ETCD_SERVERS = "http://127.0.0.1:2379"
MASTER = "http://127.0.0.1:8080"

ETCD_TIMEOUT = 5.0
"""Seconds that a read from etcd may take."""
ETCD_WAIT = 10.0
"""Seconds that etcd may take to answer for the first time."""


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """Where to read and write."""

    etcd_servers: tuple[str, ...] = (ETCD_SERVERS,)
    etcd_cafile: str = ""
    etcd_certfile: str = ""
    etcd_keyfile: str = ""
    master: str = ""
    kubeconfig: str = ""
    source: str = "etcd"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags to a daemon's parser."""
    group = parser.add_argument_group("where to read and write")
    group.add_argument(
        "--etcd-servers", type=daemon.comma_separated, default=[ETCD_SERVERS], metavar="URL[,URL]",
        help="etcd servers to read from",
    )  # fmt: skip
    group.add_argument("--etcd-cafile", default="", metavar="FILE", help="certificate authority of the etcd servers")
    group.add_argument("--etcd-certfile", default="", metavar="FILE", help="client certificate for etcd")
    group.add_argument("--etcd-keyfile", default="", metavar="FILE", help="key of the client certificate for etcd")
    group.add_argument(
        "--master", default="", metavar="URL",
        help=f"the apiserver; overrides the one in --kubeconfig (default: {MASTER} without a kubeconfig)",
    )  # fmt: skip
    group.add_argument("--kubeconfig", default="", metavar="FILE", help="kubeconfig of the apiserver and its user")
    group.add_argument(
        "--source", choices=("etcd", "api"), default="etcd",
        help="what to read: etcd itself, or the apiserver by list and watch",
    )  # fmt: skip


def from_args(args: argparse.Namespace) -> ClientOptions:
    """The options that `add_flags`' flags stand for."""
    return ClientOptions(
        etcd_servers=tuple(args.etcd_servers),
        etcd_cafile=args.etcd_cafile,
        etcd_certfile=args.etcd_certfile,
        etcd_keyfile=args.etcd_keyfile,
        master=args.master,
        kubeconfig=args.kubeconfig,
        source=args.source,
    )


@contextlib.asynccontextmanager
async def connect(
    options: ClientOptions | argparse.Namespace, *, user_agent: str = "kube", need_etcd: bool = True
) -> AsyncIterator[tuple[Client, Sources]]:
    """What to write with and what to read from. Raises daemon.Fatal if the flags are wrong or etcd does not answer.

    An apiserver that does not answer is waited for, and without `need_etcd` etcd too: whoever reads or writes there
    tries again anyway.
    """
    if isinstance(options, argparse.Namespace):
        options = from_args(options)
    async with contextlib.AsyncExitStack() as stack:
        try:
            master = options.master or ("" if options.kubeconfig else MASTER)
            client = Client.from_flags(master, options.kubeconfig, user_agent=user_agent)
        except KubeconfigError as error:
            raise daemon.Fatal(f"cannot find the apiserver: {error}") from None
        if "://" not in client.server:
            raise daemon.Fatal(f"cannot use --master={client.server}: give it as http://host:port or https://host:port")
        await stack.enter_async_context(client)
        sources: Sources = ApiSources(client)
        if options.source == "etcd":
            store = _store(options)
            stack.push_async_callback(store.close)
            if need_etcd:
                await _wait_for_etcd(store)
            sources = EtcdSources(store)
        yield client, sources


def _store(options: ClientOptions) -> EtcdStore:
    if not options.etcd_servers:
        raise daemon.Fatal("cannot read etcd: --etcd-servers is empty: name its servers, or give --source=api")
    try:
        return EtcdStore(
            options.etcd_servers,
            timeout=ETCD_TIMEOUT,
            ca=options.etcd_cafile,
            cert=options.etcd_certfile,
            key=options.etcd_keyfile,
        )
    except ValueError as error:
        raise daemon.Fatal(f"cannot read etcd: {error}: see --etcd-servers") from None
    except OSError as error:
        raise daemon.Fatal(f"cannot read etcd: {error}: see --etcd-cafile, --etcd-certfile, --etcd-keyfile") from None


async def _wait_for_etcd(store: EtcdStore) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + ETCD_WAIT
    while True:
        try:
            await store.revision()
            return
        except Unavailable as error:
            if loop.time() >= deadline:
                raise daemon.Fatal(f"cannot reach {error}: start it, or name another with --etcd-servers") from None
        await asyncio.sleep(0.2)
