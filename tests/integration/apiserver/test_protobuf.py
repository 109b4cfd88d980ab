"""kubectl's typed commands, which write protobuf, against an apiserver over a real etcd.

What is stored is compared with what the server makes of the same command's JSON (`--dry-run=client -o json`), and our
table of fields with the descriptors that are compiled into kubectl.
"""

from __future__ import annotations

import asyncio
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

    def __init__(self, url: str, apiserver: Apiserver, sent: list[tuple[str, str, str]], cache: Path) -> None:
        self.url, self.apiserver, self.sent, self.cache = url, apiserver, sent, cache

    async def kubectl(self, binary: Path, command: str) -> str:
        """What kubectl prints; fails the test if it fails."""
        environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
        process = await asyncio.create_subprocess_exec(
            str(binary), f"--server={self.url}", f"--cache-dir={self.cache}", *command.split(), env=environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode == 0, f"kubectl {command}: {out.decode()}{err.decode()}"
        return out.decode()


@pytest.fixture
async def server(own_etcd: OwnEtcd, tmp_path: Path) -> AsyncIterator[Server]:
    apiserver = Apiserver(own_etcd.endpoint)
    await apiserver.start()
    sent: list[tuple[str, str, str]] = []
    listener = socket.create_server(("127.0.0.1", 0))
    running = uvicorn.Server(uvicorn.Config(_remembering(apiserver.app, sent), log_config=None, lifespan="off"))
    serving = asyncio.create_task(running.serve([listener]))
    yield Server(f"http://127.0.0.1:{listener.getsockname()[1]}", apiserver, sent, tmp_path / "kubectl")
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


# What is made, and its name.
CREATED = {
    "namespace team": "team",
    "configmap settings --from-literal=a=1 --from-literal=b=zwei": "settings",
    "secret generic password --from-literal=a=geheim": "password",
    "secret docker-registry pull --docker-username=u --docker-password=p --docker-server=registry.example": "pull",
    "serviceaccount robot": "robot",
    "quota limits --hard=cpu=1,memory=1G,pods=2": "limits",
    "quota best-effort --hard=pods=2 --scopes=BestEffort": "best-effort",
    "deployment web --image=nginx --replicas=2 --port=80": "web",
    "deployment none --image=nginx --replicas=0": "none",
    "service clusterip web --tcp=80:8080": "web",
    "service clusterip headless --tcp=80 --clusterip=None": "headless",
    "service nodeport open --tcp=80:http --node-port=30005": "open",
    "service externalname out --external-name=example.com": "out",
    "job once --image=busybox -- date": "once",
    "cronjob often --image=busybox --schedule=@hourly --restart=OnFailure -- date": "often",
    "role reader --verb=get,list --resource=pods,services --resource-name=a": "reader",
    "rolebinding readers --role=reader --user=jane --group=all --serviceaccount=default:robot": "readers",
    "clusterrole admin --verb=* --resource=*": "admin",
    "clusterrole logs --verb=get --non-resource-url=/logs/*": "logs",
    "clusterrole sum --aggregation-rule=a=b": "sum",
    "clusterrolebinding admins --clusterrole=admin --user=root": "admins",
    "poddisruptionbudget most --selector=app=web --min-available=50%": "most",
    "poddisruptionbudget but-one --selector=app=web --max-unavailable=1": "but-one",
    "priorityclass high --value=1000 --description=x": "high",
    "priorityclass zero --value=0 --preemption-policy=Never": "zero",
    "ingress door --rule=example.com/a*=web:80,tls=cert --class=some --annotation=a=b": "door",
    "ingress fallback --default-backend=web:http": "fallback",
}
# What the server gives each object anew.
GIVEN = ("uid", "resourceVersion", "creationTimestamp", "clusterIP", "clusterIPs")


@pytest.fixture(params=KUBECTLS or [Path("kubectl")], ids=lambda path: path.name)
def kubectl(request: pytest.FixtureRequest) -> Path:
    if not KUBECTLS:
        unavailable("the command kubectl")
    path: Path = request.param
    return path


async def test_what_kubectl_creates_in_protobuf_is_what_its_json_makes(server: Server, kubectl: Path) -> None:
    for words, name in CREATED.items():
        kind = words.split()[0]
        flags, dashes, command = f"create {words}".partition(" -- ")
        local = json.loads(await server.kubectl(kubectl, f"{flags} --dry-run=client -o json{dashes}{command}"))
        await server.kubectl(kubectl, f"{flags}{dashes}{command}")
        _, path, content_type = next(sent for sent in reversed(server.sent) if sent[0] == "POST")
        assert content_type == protobuf.MEDIA_TYPE, f"{words}: {path}"
        stored = json.loads(await server.kubectl(kubectl, f"get {kind} {name} -o json"))
        local["metadata"]["name"] += "-json"
        answer = await server.apiserver.http.post(path, params={"dryRun": "All"}, json=local)
        assert answer.status_code == 201, f"{words}: {answer.text}"
        assert _comparable(stored) == _comparable(answer.json()), words


def _comparable(obj: dict[str, Any]) -> dict[str, Any]:
    for part in (obj["metadata"], obj.get("spec", {})):
        for field in GIVEN:
            if part.get(field) != "None":
                part.pop(field, None)
    metadata = obj["metadata"]
    metadata["name"] = metadata["name"].removesuffix("-json")
    metadata.get("labels", {}).pop("kubernetes.io/metadata.name", None)
    return obj


async def test_kubectl_asks_in_protobuf(server: Server, kubectl: Path) -> None:
    assert await server.kubectl(kubectl, "auth can-i create pods") == "yes\n"
    assert "[*]" in await server.kubectl(kubectl, "auth can-i --list")
    assert "system:unsecured" in await server.kubectl(kubectl, "auth whoami")
    asked = {path.rpartition("/")[2]: content_type for method, path, content_type in server.sent if method == "POST"}
    assert asked == dict.fromkeys(
        ("selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"), protobuf.MEDIA_TYPE
    )


async def test_kubectl_drains(server: Server, kubectl: Path) -> None:
    await server.apiserver.http.post("/api/v1/nodes", json={"metadata": {"name": "n"}})
    bound = pod("p")
    bound["spec"]["nodeName"] = "n"
    path = "/api/v1/namespaces/default/pods"
    assert (await server.apiserver.http.post(path, json=bound)).status_code == 201
    drained = await server.kubectl(kubectl, "drain n --force --grace-period=0 --timeout=20s")
    assert "pod/p evicted" in drained
    assert (await server.apiserver.http.get(f"{path}/p")).status_code == 404


# The table of fields

SCALARS = {
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    "blob": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
}


def _compiled(binary: Path) -> dict[str, Any]:
    """The descriptors that a Go program holds, gzipped as gogo's generator leaves them; by their full names."""
    content = binary.read_bytes()
    found: dict[str, Any] = {}
    for match in re.finditer(rb"\x1f\x8b\x08\0\0\0\0\0\x02\xff", content):
        try:
            raw = zlib.decompressobj(31).decompress(content[match.start() : match.start() + 1_000_000])
            file = descriptor_pb2.FileDescriptorProto.FromString(raw)
        except (zlib.error, DecodeError):
            continue
        found.update({f"{file.package}.{message.name}": message for message in file.message_type})
    return found


def _described(message: str) -> dict[int, tuple[str, str, object]]:
    """Shape, name and type of our fields, by number; the type of a message is its full name."""
    packages = protobuf.table().packages
    result: dict[int, tuple[str, str, object]] = {}
    for number, field in protobuf.fields(message).items():
        alias, _, name = field.type.partition(".")
        type_ = f".{packages[alias]}.{name}" if name else SCALARS[alias]
        result[number] = (field.shape, field.name.lower(), type_)
    return result


def _upstream(full: str, message: Any) -> dict[int, tuple[str, str, object]]:
    nested = {f".{full}.{inner.name}": inner for inner in message.nested_type}
    result: dict[int, tuple[str, str, object]] = {}
    for field in message.field:
        shape = "list" if field.label == field.LABEL_REPEATED else "one"
        kind: Any = field
        if field.type_name in nested:
            shape, kind = "map", nested[field.type_name].field[1]
        result[field.number] = (shape, field.name.lower(), kind.type_name or kind.type)
    return result


def test_the_table_is_what_is_compiled_into_kubectl() -> None:
    """An API version that is newer than kubectl is not in it."""
    if not KUBECTLS:
        unavailable("the command kubectl")
    compiled = _compiled(KUBECTLS[0])
    if not compiled:
        pytest.skip(f"no descriptors are found in {KUBECTLS[0].name}")
    compared = 0
    for message in protobuf.table().messages:
        alias, _, name = message.partition(".")
        full = f"{protobuf.table().packages[alias]}.{name}"
        if full not in compiled:
            continue
        ours, theirs = _described(message), _upstream(full, compiled[full])
        if KUBECTLS[0].name == "kubectl.1.33":
            assert set(ours) == set(theirs), message
        for number in set(ours) & set(theirs):
            shape, name, type_ = theirs[number]
            inline = ours[number][1] == protobuf.INLINE
            assert ours[number] == (shape, protobuf.INLINE if inline else name, type_), f"{message} {number}"
            compared += 1
    assert compared > 1500
