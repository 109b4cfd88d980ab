"""A node for tests: a kubelet on any runtime, and the real apiserver over the store in memory, without sockets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import httpx
import orjson

from kube.api import core, errors, resources
from kube.api.authentication import TokenRequest
from kube.api.core import Container, ObjectReference, Pod, PodSpec, Service
from kube.api.meta import Object, ObjectMeta
from kube.apiserver.app import Api as ApiserverApi
from kube.apiserver.app import App
from kube.apiserver.bootstrap import create_namespaces
from kube.apiserver.cache import Cache
from kube.apiserver.discovery import Discovery
from kube.apiserver.handlers import Handlers
from kube.apiserver.nodes import NodeClient
from kube.apiserver.pages import pages
from kube.apiserver.registry import strategies
from kube.apiserver.verbs import Verbs
from kube.client.informer import Informers
from kube.client.rest import MERGE_PATCH, ObjectList
from kube.client.source import EtcdSources
from kube.kubelet.configuration import ConfigurationManager
from kube.kubelet.dns import Dns
from kube.kubelet.fake import FakeRuntime
from kube.kubelet.host import Host
from kube.kubelet.images import Images
from kube.kubelet.kubelet import Kubelet
from kube.kubelet.mirrors import Mirrors
from kube.kubelet.pod_files import PodFiles
from kube.kubelet.prober import Answer, Prober
from kube.kubelet.pulled_images import PulledImages
from kube.kubelet.runtime import Runtime
from kube.kubelet.static_pods import FileSource, StaticPods
from kube.kubelet.status_manager import StatusManager
from kube.kubelet.termination import TerminationLogs
from kube.kubelet.tokens import TokenManager
from kube.kubelet.volume_manager import VolumeManager
from kube.kubelet.volumes import Volumes
from kube.store.memory import MemoryStore

T = TypeVar("T", bound=Object)
R = TypeVar("R", bound=Runtime)
NODE = "node-1"
HOST_IP = "192.168.0.1"


def container(name: str = "main", image: str = "kube/web", **more: Any) -> dict[str, Any]:
    """A container as a user writes it."""
    return {"name": name, "image": image, "imagePullPolicy": "IfNotPresent", **more}


def make_pod(name: str = "web", *containers: dict[str, Any], uid: str = "uid-1", **spec: Any) -> Pod:
    """A pod bound to the node, as the kubelet sees it."""
    found = [Container.parse(c) for c in containers or (container(),)]
    pod = Pod(metadata=ObjectMeta(name=name, namespace="default", uid=uid), spec=PodSpec(containers=found))
    pod.spec.nodeName = NODE
    return Pod.parse({**pod.to_dict(), "spec": {**pod.spec.to_dict(), **spec}})


class Api:
    """The kubelet's client, on an apiserver in this process. `down`: it cannot be reached."""

    def __init__(self, app: App) -> None:
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://kube")
        self.down = False
        self.writes: list[tuple[str, str]] = []
        """Method and path of every write."""
        self.tokens = 0
        """Tokens that were asked for. They are the test's own: this apiserver has no key to sign any with."""

    async def get(self, model: type[T], name: str, namespace: str = "") -> T:
        return model.parse(await self._request("GET", resources.of(model).path(namespace, name)))

    async def list(self, model: type[T], namespace: str = "", *, labels: str = "", fields: str = "") -> ObjectList[T]:
        path = resources.of(model).path(namespace)
        data = orjson.loads(await self._request("GET", path, params={"labelSelector": labels, "fieldSelector": fields}))
        return ObjectList([model.parse(item) for item in data["items"]], data["metadata"]["resourceVersion"])

    async def create(self, obj: T) -> T:
        path = resources.of(type(obj)).path(obj.namespace)
        return type(obj).parse(await self._request("POST", path, content=obj.to_json()))

    async def send(self, obj: Object) -> None:
        await self.create(obj)

    async def update(self, obj: T, subresource: str = "") -> T:
        path = resources.of(type(obj)).path(obj.namespace, obj.name, subresource)
        return type(obj).parse(await self._request("PUT", path, content=obj.to_json()))

    async def patch(self, model: type[T], name: str, namespace: str, patch: dict[str, Any]) -> T:
        path, headers = resources.of(model).path(namespace, name), {"Content-Type": MERGE_PATCH}
        return model.parse(await self._request("PATCH", path, content=orjson.dumps(patch), headers=headers))

    async def patch_status(self, obj: Object, changes: Mapping[str, Any]) -> str:
        path = resources.of(type(obj)).path(obj.namespace, obj.name, "status")
        patch = {"metadata": {"resourceVersion": obj.metadata.resourceVersion}, "status": changes}
        headers = {"Content-Type": MERGE_PATCH}
        body = await self._request("PATCH", path, content=orjson.dumps(patch), headers=headers)
        return str(orjson.loads(body)["metadata"]["resourceVersion"])

    async def delete(
        self,
        model: type[T],
        name: str,
        namespace: str = "",
        *,
        grace_period: int | None = None,
        uid: str = "",
        resource_version: str = "",
    ) -> None:
        options: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if grace_period is not None:
            options["gracePeriodSeconds"] = grace_period
        if uid:
            options["preconditions"] = {"uid": uid}
        await self._request("DELETE", resources.of(model).path(namespace, name), content=orjson.dumps(options))

    async def create_token(self, account: str, namespace: str, request: TokenRequest) -> TokenRequest:
        if self.down:
            raise errors.ServiceUnavailable("cannot reach the apiserver: it is down")
        self.tokens += 1
        assert request.spec.boundObjectRef is not None
        answer = request.clone()
        answer.status.token = f"{namespace}/{account} {request.spec.boundObjectRef.name} {self.tokens}"
        answer.status.expirationTimestamp = datetime.now(UTC) + timedelta(seconds=request.spec.expirationSeconds or 0)
        return answer

    async def bind(self, pod: Pod, node: str) -> None:
        binding = core.Binding(
            metadata=ObjectMeta(name=pod.name, namespace=pod.namespace), target=ObjectReference(kind="Node", name=node)
        )
        path = resources.PODS.path(pod.namespace, pod.name, "binding")
        await self._request("POST", path, content=binding.to_json())

    async def _request(self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> bytes:
        if self.down:
            raise errors.ServiceUnavailable("cannot reach the apiserver: it is down")
        if method != "GET":
            self.writes.append((method, path))
        if headers is None:
            headers = {"Content-Type": "application/json"} if "content" in more else {}
        answer = await self.http.request(method, path, headers=headers, **more)
        if answer.status_code >= 300:
            raise errors.from_status(answer.json(), answer.status_code)
        return answer.content


@dataclass
class Recorder:
    """Keeps the events that it is told."""

    events: list[tuple[str, str, str, str]] = field(default_factory=list)
    """Type, reason, message, fieldPath."""

    def event(self, obj: Object | ObjectReference, type: Literal["Normal", "Warning"], reason: str, text: str) -> None:
        path = obj.fieldPath if isinstance(obj, ObjectReference) else ""
        self.events.append((type, reason, text, path))

    def reasons(self) -> list[str]:
        return [reason for _, reason, _, _ in self.events]

    def messages(self, reason: str) -> list[str]:
        return [text for _, found, text, _ in self.events if found == reason]


class ScriptedProber(Prober):
    """Gives the answers that the test wants, by the name of the container; success if none is wanted."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(runtime)
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[float, str]] = []
        self.real = False
        """Whether the containers are asked after all."""

    async def ask(self, probe: core.Probe, container: Container, id: str, ip: str) -> Answer:
        if self.real:
            return await super().ask(probe, container, id, ip)
        self.asked.append((asyncio.get_running_loop().time(), container.name))
        return self.answers.get(container.name, Answer(True))


class TestNode(Generic[R]):
    """One node and its cluster."""

    __test__ = False

    def __init__(
        self,
        root: Path,
        runtime: R,
        *,
        name: str = NODE,
        prober: Prober | None = None,
        ip: str = HOST_IP,
        dns: Dns | None = None,
    ) -> None:
        self.dns = dns or Dns()
        self.name, self.ip = name, ip
        self.runtime = runtime
        self.prober = prober or Prober(runtime)
        self.store = MemoryStore()
        self.cache = Cache(self.store)
        registry = strategies(self.cache, IPv4Network("10.96.0.0/24"), range(30000, 30010), ["ServiceAccount"])
        self.verbs = Verbs(self.store, self.cache, registry)
        discovery = Discovery()
        app = App(ApiserverApi(Handlers(self.verbs, self.cache, NodeClient()), discovery), pages(discovery, {}))
        self.api = Api(app)
        self.recorder = Recorder()
        self.pulled = PulledImages()
        self.root = root
        self.services: Callable[[], list[Service]] = list
        """The services that the kubelet knows."""
        self._kubelet: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[TestNode[R]]:
        """The cluster, and the node's kubelet."""
        tasks = [asyncio.create_task(self.cache.run()), asyncio.create_task(self.cache.progress())]
        await self.cache.ready.wait()
        await create_namespaces(self.verbs)
        try:
            self.start_kubelet()
            yield self
        finally:
            await self.kill_kubelet()
            volumes = Volumes(self.root)
            for uid in volumes.uids():  # what is mounted would keep the directory from being removed
                while True:
                    try:
                        volumes.remove(uid)
                    except FileNotFoundError:
                        pass
                    except OSError as error:  # a thread of the kubelet is at it too
                        if error.errno != errno.ENOTEMPTY:
                            raise
                        continue
                    break
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.api.http.aclose()
            await self.prober.close()
            await self.runtime.close()
            await self.store.close()

    def start_kubelet(self) -> None:
        """A new kubelet, which knows nothing."""
        self._kubelet = asyncio.create_task(self._run_kubelet())

    async def kill_kubelet(self) -> None:
        """As kill -9: what it was about to do is not done."""
        assert self._kubelet is not None
        self._kubelet.cancel()
        results = await asyncio.gather(self._kubelet, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, asyncio.CancelledError):
                raise result

    async def _run_kubelet(self) -> None:
        sources = EtcdSources(self.store)
        informers, self.configuration = Informers(sources), ConfigurationManager(sources)
        pods, services = informers.bound_pods(self.name), informers.of(Service)
        statuses = StatusManager(self.api)
        self.services = services.list
        self.volumes, self.token_manager = Volumes(self.root), TokenManager(self.api)
        self.host = host = Host(
            runtime=self.runtime,
            statuses=statuses,
            recorder=self.recorder,
            images=Images(self.runtime, self.configuration, pulled=self.pulled),
            prober=self.prober,
            volumes=VolumeManager(self.volumes, self.configuration, self.token_manager),
            termination_logs=TerminationLogs(self.root),
            pod_files=PodFiles(self.root),
            services=services.list,
            configuration=self.configuration,
            ip=self.ip,
            dns=self.dns,
            memory_capacity=2**34,
        )
        static = StaticPods([FileSource(self.root / "manifests", self.name, 20)])
        mirrors = Mirrors(self.api, self.name, static, pods.get)
        self.kubelet = Kubelet(self.name, host, pods, services, statuses, static, mirrors)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(informers.run())
            tasks.create_task(self.configuration.run())
            tasks.create_task(statuses.run())
            tasks.create_task(self.kubelet.run())

    async def create(self, name: str = "web", *containers: dict[str, Any], bind: bool = True, **spec: Any) -> Pod:
        """A pod, created and bound through the API."""
        body = {"containers": list(containers) or [container()], **spec}
        pod = await self.api.create(Pod.parse({"metadata": {"name": name, "namespace": "default"}, "spec": body}))
        if bind:
            await self.api.bind(pod, self.name)
        return pod

    async def pod(self, name: str = "web") -> Pod:
        return await self.api.get(Pod, name, "default")

    async def delete(self, name: str = "web", grace: int | None = None) -> None:
        await self.api.delete(Pod, name, "default", grace_period=grace)

    async def until(self, condition: Callable[[Pod], bool], name: str = "web", within: float = 60.0) -> Pod:
        """The pod, once it is as wanted. Fails with what it is instead, `within` seconds of virtual time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        while True:
            pod = await self.pod(name)
            if condition(pod):
                return pod
            if loop.time() > deadline:
                raise AssertionError(f"not within {within:g} s: {orjson.dumps(pod.to_dict()['status']).decode()}")
            await asyncio.sleep(pause(deadline - within))

    async def until_there(self, condition: Callable[[Pod], bool], name: str, within: float = 60.0) -> Pod:
        """As `until`, of a pod that may not be there yet."""
        async with asyncio.timeout(within):
            while True:
                with contextlib.suppress(errors.NotFound):
                    if condition(pod := await self.pod(name)):
                        return pod
                await asyncio.sleep(0.1)

    async def until_gone(self, name: str = "web", within: float = 60.0) -> float:
        """Seconds until there is no such pod any more."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        while loop.time() < begin + within:
            try:
                await self.pod(name)
            except errors.NotFound:
                return loop.time() - begin
            await asyncio.sleep(pause(begin))
        raise AssertionError(f"still there after {within:g} s")

    async def until_runtime(self, condition: Callable[[], bool], within: float = 60.0) -> None:
        """Wait for the runtime to be as wanted."""
        begin = asyncio.get_running_loop().time()
        async with asyncio.timeout(within):
            while not condition():
                await asyncio.sleep(pause(begin))


class FakeNode(TestNode[FakeRuntime]):
    """A node on the fake runtime, whose probes answer as the test wants."""

    def __init__(self, root: Path) -> None:
        runtime = FakeRuntime(NODE)
        self.answers = ScriptedProber(runtime)
        super().__init__(root, runtime, prober=self.answers)

    def id(self, pod: Pod, name: str = "main", attempt: int = 0) -> str:
        """The id of one of the pod's containers (POD: of its sandbox). Raises KeyError."""
        return self.runtime.id_of(f"k8s_{name}_{pod.name}_default_{pod.metadata.uid}_{attempt}")


def pause(begin: float) -> float:
    """Seconds until the next look: often at first, as what is waited for mostly comes at once."""
    return 0.01 if asyncio.get_running_loop().time() - begin < 1 else 0.1


def is_ready(pod: Pod) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)


def condition(pod: Pod, type: str) -> core.PodCondition:
    return next(c for c in pod.status.conditions if c.type == type)
