"""kubectl's typed commands, which write protobuf, against an apiserver over a real etcd.

What is stored is compared with what the same command prints as JSON (`--dry-run=client`), and our table of fields with
the descriptors that are compiled into kubectl.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import re
import shutil
import socket
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError

from kube.api import protobuf
from kube.apiserver.app import App
from tests.conftest import unavailable
from tests.integration.apiserver.test_etcd_outage import Apiserver, pod
from tests.own_etcd import OwnEtcd


def _kubectls() -> list[Path]:
    """The newest ones beside the kubectl on the PATH: `kubectl.1.33`, `kubectl.1.32`; else itself."""
    found = shutil.which("kubectl")
    if found is None:
        return []
    beside = Path(found).resolve()
    versions = [path for minor in (33, 32) if (path := beside.with_name(f"kubectl.1.{minor}")).exists()]
    return versions or [beside]


KUBECTLS = _kubectls()


class Server:
    """An apiserver that listens, and remembers what its clients sent."""

    def __init__(self, url: str, apiserver: Apiserver, sent: list[tuple[str, str, str]]) -> None:
        self.url, self.apiserver, self.sent = url, apiserver, sent

    async def kubectl(self, binary: Path, command: str) -> str:
        """What kubectl prints; fails the test if it fails."""
        environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
        process = await asyncio.create_subprocess_exec(
            str(binary), f"--server={self.url}", "--cache-dir=/dev/null/none", *command.split(), env=environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode == 0, f"kubectl {command}: {out.decode()}{err.decode()}"
        return out.decode()


@pytest.fixture
async def server(own_etcd: OwnEtcd) -> AsyncIterator[Server]:
    apiserver = Apiserver(own_etcd.endpoint)
    await apiserver.start()
    sent: list[tuple[str, str, str]] = []
    listener = socket.create_server(("127.0.0.1", 0))
    running = uvicorn.Server(uvicorn.Config(_remembering(apiserver.app, sent), log_config=None, lifespan="off"))
    serving = asyncio.create_task(running.serve([listener]))
    yield Server(f"http://127.0.0.1:{listener.getsockname()[1]}", apiserver, sent)
    apiserver.handlers.stopping.set()
    running.should_exit = True
    await serving
    await apiserver.stop()


def _remembering(app: App, sent: list[tuple[str, str, str]]) -> Callable[..., Awaitable[None]]:
    async def remember(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        sent.append((scope["method"], scope["path"], headers.get(b"content-type", b"").decode()))
        await app(scope, receive, send)

    return remember


CREATED = [
    ("namespace", "team"),
    ("configmap", "settings --from-literal=a=1 --from-literal=b=zwei"),
    ("secret", "generic password --from-literal=a=geheim"),
    ("secret", "docker-registry pull --docker-username=u --docker-password=p --docker-server=registry.example"),
    ("serviceaccount", "robot"),
    ("quota", "limits --hard=cpu=1,memory=1G,pods=2 --scopes=BestEffort"),
    ("deployment", "web --image=nginx --replicas=2 --port=80"),
    ("deployment", "none --image=nginx --replicas=0"),
    ("service", "clusterip web --tcp=80:8080"),
    ("service", "nodeport open --tcp=80:http --node-port=30005"),
    ("service", "externalname out --external-name=example.com"),
    ("job", "once --image=busybox -- date"),
    ("cronjob", "often --image=busybox --schedule=*/5_*_*_*_* -- date"),
    ("role", "reader --verb=get,list --resource=pods,deployments.apps"),
    ("rolebinding", "readers --role=reader --user=jane --group=all --serviceaccount=default:robot"),
    ("clusterrole", "admin --verb=* --resource=*"),
    ("clusterrole", "logs --verb=get --non-resource-url=/logs/*"),
    ("clusterrole", "sum --aggregation-rule=a=b"),
    ("clusterrolebinding", "admins --clusterrole=admin --user=root"),
    ("poddisruptionbudget", "most --selector=app=web --min-available=50%"),
    ("poddisruptionbudget", "all-but-one --selector=app=web --max-unavailable=1"),
    ("priorityclass", "high --value=1000 --global-default=false --description=x"),
    ("ingress", "door --rule=example.com/a*=web:80,tls=cert --class=some --annotation=a=b"),
    ("ingress", "fallback --default-backend=web:http"),
]


@pytest.mark.parametrize("kubectl", KUBECTLS or [Path("kubectl")], ids=lambda path: path.name)
async def test_what_kubectl_creates_in_protobuf_is_what_it_prints_in_json(server: Server, kubectl: Path) -> None:
    if not KUBECTLS:
        unavailable("the command kubectl")
    for kind, words in CREATED:
        command = f"create {kind} {words}".replace("*_*", "*\x00*")
        name = next(word for word in words.split() if word not in ("generic", "docker-registry", "clusterip",
                                                                   "nodeport", "externalname"))  # fmt: skip
        await _compare(server, kubectl, kind, name, command)
