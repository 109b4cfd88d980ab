"""All the wiring of a kubelet."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import gc
import os
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

from aiohttp import web

from kube import daemon, serving
from kube.api.core import Node, Service
from kube.certificates import Pair
from kube.client.events import EventRecorder, Pace
from kube.client.flags import connect
from kube.client.informer import Informers
from kube.kubelet import claim, dns, machine, node_api, streaming
from kube.kubelet.access import Access
from kube.kubelet.configuration import ConfigurationManager
from kube.kubelet.dns import Dns
from kube.kubelet.docker import DockerRuntime
from kube.kubelet.eviction import Level
from kube.kubelet.eviction_manager import EvictionManager
from kube.kubelet.fake import FakeRuntime
from kube.kubelet.garbage_collector import GarbageCollector, disk_of
from kube.kubelet.hollow import hollow_nodes
from kube.kubelet.host import Host
from kube.kubelet.images import Images
from kube.kubelet.kubelet import Kubelet
from kube.kubelet.mirrors import Mirrors
from kube.kubelet.node import NodeAgent, NodeFacts, allocatable, hard_reserved
from kube.kubelet.node_admission import NodeAdmission
from kube.kubelet.options import RESOLV_CONF, Options
from kube.kubelet.pod_files import PodFiles
from kube.kubelet.pod_network import PodNetwork
from kube.kubelet.pod_worker import PodWorker
from kube.kubelet.prober import Prober
from kube.kubelet.pulled_images import PulledImages
from kube.kubelet.runtime import EngineUnavailable, Runtime, RuntimeFailure
from kube.kubelet.static_pods import FileSource, Source, StaticPods, UrlSource
from kube.kubelet.stats import Stats
from kube.kubelet.status_manager import StatusManager
from kube.kubelet.termination import TerminationLogs
from kube.kubelet.tokens import TokenManager
from kube.kubelet.volume_manager import VolumeManager
from kube.kubelet.volumes import Volumes

HOLLOW_RANGE = "10.244.0.0/16"
"""Addresses of pods that need none, as nobody reaches them."""


async def run(options: Options) -> None:
    """Run this node's pods until cancelled; the containers go on without us."""
    name = options.hostname_override or machine.hostname()
    facts = NodeFacts(
        name=name,
        ip=options.node_ip or daemon.own_address(),
        machine=machine.inspect(options.root_dir),
        version=daemon.version(),
        port=options.port,
        max_pods=options.max_pods,
        labels=options.node_labels,
    )
    reserved = (options.kube_reserved, options.system_reserved, hard_reserved(options.eviction_hard, facts))
    facts = dataclasses.replace(facts, reserved=reserved)
    if options.hollow.nodes:
        await _run_hollow(options, facts)
        return
    own = _sources_on_the_node(options, name)
    async with (
        _runtime(options, name) as runtime,
        # With pods of its own, the node waits for nobody: it may be they that bring etcd.
        connect(options.client, user_agent=f"kubelet/{name}", need_etcd=not own) as (client, sources),
        _prober(runtime) as prober,
    ):
        with _locked(options.root_dir), _claimed(options, name):
            await claim.refuse_a_second(client, facts)
            informers = Informers(sources)
            pods, services = informers.bound_pods(name), informers.of(Service)
            recorder = EventRecorder(client, "kubelet", name, pace=Pace(options.event_qps, options.event_burst))
            statuses = StatusManager(client)
            configuration = ConfigurationManager(sources)
            pulled_images = PulledImages(options.root_dir / "pulled-images.json")
            host = Host(
                runtime=runtime,
                statuses=statuses,
                recorder=recorder,
                images=Images(runtime, configuration, parallel=options.max_parallel_image_pulls, pulled=pulled_images),
                prober=prober,
                volumes=VolumeManager(
                    Volumes(options.root_dir), configuration, TokenManager(client), allocatable(facts)
                ),
                termination_logs=TerminationLogs(options.root_dir),
                pod_files=PodFiles(options.root_dir),
                services=services.list,
                configuration=configuration,
                ip=facts.ip,
                pause_image=options.pod_infra_container_image,
                dns=_dns(options),
                memory_capacity=facts.machine.memory,
                allocatable=allocatable(facts),
                seccomp_profiles=options.root_dir / "seccomp",
                allowed_unsafe_sysctls=options.allowed_unsafe_sysctls,
            )
            static = StaticPods(own)
            mirrors = Mirrors(client, name, static, pods.get)
            kubelet = Kubelet(
                name, host, pods, services, statuses, static, mirrors, sync_frequency=options.sync_frequency
            )
            network = None
            if isinstance(runtime, DockerRuntime) and not options.pod_cidr:
                network = PodNetwork(name, informers.of(Node), runtime, non_masquerade_cidr=options.non_masquerade_cidr)

            def levels() -> Mapping[str, Level]:
                return machine.levels(options.root_dir, garbage.directory)

            def workers() -> list[PodWorker]:
                return [*kubelet.workers.values()]

            garbage = GarbageCollector(
                name, runtime, recorder, workers, pulled_images, options.pod_infra_container_image,
                containers=options.container_gc, images=options.image_gc, disk=disk_of,
                ready=lambda: kubelet.synced,
            )  # fmt: skip
            evictions = EvictionManager(
                runtime, host.volumes, recorder, workers,
                (*options.eviction_hard, *options.eviction_soft), levels,
                transition_period=options.eviction_pressure_transition_period, reclaim=garbage.reclaim,
                most_grace=options.eviction_max_pod_grace_period,
            )  # fmt: skip
            agent = NodeAgent(
                client,
                runtime,
                recorder,
                facts,
                pressures=evictions.pressures,
                frequency=options.node_status_update_frequency,
                report_frequency=options.node_status_report_frequency,
                register=options.register_node,
                network_problem=lambda: network.problem if network else "",
                was_given_up=kubelet.was_given_up,
            )

            host.admit = NodeAdmission(agent, host.allocatable, kubelet.beside, evictions.pressures).refusal

            async def engine_answers() -> None:
                await runtime.info()

            def pods_compared() -> None:
                if not kubelet.synced:
                    raise RuntimeError("pods and containers have not been compared yet")

            checks = {"engine": engine_answers, "syncloop": pods_compared}
            stats = web.get("/stats/summary", Stats(kubelet, runtime, levels).summary)
            routes = [*node_api.routes(kubelet, runtime), *streaming.routes(kubelet, runtime), stats]
            access = Access(options.access, name, client)
            async with (
                _serve_healthz(options, checks),
                daemon.serve_health(
                    options.address, options.port, checks, routes, tls=_tls(options, facts), guard=access.guard
                ),
                asyncio.TaskGroup() as tasks,
            ):
                tasks.create_task(informers.run(), name="informers")
                tasks.create_task(configuration.run(), name="configuration")
                tasks.create_task(recorder.run(), name="events")
                tasks.create_task(statuses.run(), name="statuses")
                tasks.create_task(agent.run(), name="node")
                if network:
                    tasks.create_task(network.run(), name="pod network")
                tasks.create_task(evictions.run(), name="evictions")
                tasks.create_task(garbage.run(), name="garbage")
                tasks.create_task(kubelet.run(), name="kubelet")


def _tls(options: Options, facts: NodeFacts) -> ssl.SSLContext:
    """What the node API speaks TLS with. Raises Fatal."""
    kept = Pair(options.cert_dir / "kubelet.crt", options.cert_dir / "kubelet.key")
    hosts = [facts.name, facts.ip, "localhost", "127.0.0.1"]
    pair = serving.serving_pair(options.tls_cert_file, options.tls_private_key_file, kept, facts.name, hosts)
    return serving.server_context(pair, options.client_ca_file)


@contextlib.asynccontextmanager
async def _serve_healthz(options: Options, checks: Mapping[str, daemon.Check]) -> AsyncIterator[None]:
    """Tell health and metrics, by plain HTTP, to whoever is on the node."""
    if not options.healthz_port:
        yield
        return
    async with daemon.serve_health(options.healthz_bind_address, options.healthz_port, checks, flag="--healthz-port"):
        yield


def _sources_on_the_node(options: Options, node: str) -> list[Source]:
    sources: list[Source] = []
    if options.pod_manifest_path is not None:
        sources.append(FileSource(options.pod_manifest_path, node, options.file_check_frequency))
    if options.manifest_url:
        headers = options.manifest_url_header
        sources.append(UrlSource(options.manifest_url, headers, node, options.http_check_frequency))
    return sources


async def _run_hollow(options: Options, facts: NodeFacts) -> None:
    # What is made for ten thousand pods stays; looking for cycles in it as often as by default is a fifth of the work.
    # To look through all that is there takes a second for a thousand pods, in which no node says that it is alive: what
    # the first look at fifty thousand objects does not find waits.
    gc.freeze()
    gc.set_threshold(50_000, 1000, 100)
    async with (
        connect(options.client, user_agent="kubelet/hollow") as (client, sources),
        hollow_nodes(
            options.hollow,
            facts,
            client,
            sources,
            pod_cidr=options.pod_cidr or HOLLOW_RANGE,
            pace=Pace(options.event_qps, options.event_burst),
            frequency=options.node_status_update_frequency,
            sync_frequency=options.sync_frequency,
        ),
        daemon.serve_health(options.address, options.port),
    ):
        await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def _runtime(options: Options, node: str) -> AsyncIterator[Runtime]:
    runtime: Runtime
    if options.container_runtime == "fake":
        runtime = FakeRuntime(node, pod_cidr=options.pod_cidr or HOLLOW_RANGE)
    else:
        runtime = DockerRuntime(
            node,
            socket=options.docker_endpoint.removeprefix("unix://"),
            network=options.network,
            pod_cidr=options.pod_cidr,
            bridge=options.bridge,
            log_size=options.container_log_max_size,
            log_files=options.container_log_max_files,
        )
    try:
        if isinstance(runtime, DockerRuntime) and options.pod_cidr:
            await _make_network(runtime)
        yield runtime
    finally:
        await runtime.close()


async def _make_network(runtime: DockerRuntime) -> None:
    """Make the pods' network now, so that a range that cannot be had is told at the start and not by every pod.

    An engine that does not answer is waited for later: it is made with the first sandbox.
    """
    try:
        await runtime.ensure_network()
    except EngineUnavailable:
        return
    except RuntimeFailure as error:
        raise daemon.Fatal(f"cannot make the pods' network: {error}") from None


@contextlib.asynccontextmanager
async def _prober(runtime: Runtime) -> AsyncIterator[Prober]:
    prober = Prober(runtime)
    try:
        yield prober
    finally:
        await prober.close()


def _claimed(options: Options, node: str) -> contextlib.AbstractContextManager[None]:
    """Hold the node's name, if there is an engine to fight over."""
    if options.container_runtime == "fake":
        return contextlib.nullcontext()
    return claim.held(node, options.docker_endpoint.removeprefix("unix://"))


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Keep a second kubelet out of the root directory: it would take our pods' volumes for leftovers."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = os.open(root / "kubelet.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise daemon.Fatal(f"cannot use --root-dir={root}: {error.strerror}: choose another directory") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise daemon.Fatal(
                f"another kubelet uses --root-dir={root}: stop it, or choose another directory"
            ) from None
        yield
    finally:
        os.close(lock)


def _dns(options: Options) -> Dns:
    """What the pods' resolvers are told; the node's own file is read once. Raises Fatal."""
    try:
        lines = options.resolv_conf.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        if options.resolv_conf != RESOLV_CONF:
            why = f"cannot read --resolv-conf={options.resolv_conf}: {error.strerror}"
            raise daemon.Fatal(f"{why}: give the file with this node's name servers") from None
        lines = []
    return Dns(options.cluster_dns, options.cluster_domain, dns.parse(lines))
