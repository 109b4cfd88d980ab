"""Many nodes in one process, for tests of scale: everything of a kubelet but the containers, as kubemark has it.

Each hollow node is a node to everybody else: it registers, renews its lease, watches its own bound pods, starts and
ends their containers (in memory, kubelet/fake.py), probes (every answer is a success), writes statuses and events. What
can be shared without a difference that anybody sees is shared: the client, the services, ConfigMaps and Secrets, the
writers of statuses. There is no node API: logs and exec have nothing to show.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kube import daemon
from kube.api import core
from kube.api.core import Container, Pod, Service
from kube.client.events import EventRecorder, Pace
from kube.client.informer import Informers
from kube.client.rest import Client
from kube.client.source import Sources
from kube.kubelet.configuration import ConfigurationManager
from kube.kubelet.fake import FakeRuntime, Program
from kube.kubelet.host import Host
from kube.kubelet.images import Images
from kube.kubelet.kubelet import Kubelet
from kube.kubelet.mirrors import Mirrors
from kube.kubelet.node import NodeAgent, NodeFacts, capacity
from kube.kubelet.pod_files import PodFiles
from kube.kubelet.prober import Answer, Prober
from kube.kubelet.runtime import ContainerConfig, Mount, container_name
from kube.kubelet.static_pods import StaticPods
from kube.kubelet.status_manager import StatusManager
from kube.kubelet.termination import TerminationLogs
from kube.kubelet.tokens import TokenManager
from kube.kubelet.volume_manager import VolumeManager
from kube.kubelet.volumes import Volumes

STAGGER = 0.01
"""Seconds between the starts of two nodes: so that their heartbeats do not come all at once for ever."""
WRITERS = 48
"""Statuses that are written at once, by all nodes together."""


@dataclass(frozen=True, slots=True)
class HollowOptions:
    """What the nodes are like."""

    nodes: int = 0
    name: str = "hollow-node"
    """Their names are this with a number behind."""
    cpus: int = 8
    memory: int = 32 * 2**30
    start_time: float = 0.0
    """Seconds that a sandbox takes to be made, and a container to be started."""
    pull_time: float = 0.0
    failures: float = 0.0
    """Share of the containers' starts that fail."""


class HollowRuntime(FakeRuntime):
    """An engine in memory that has every image, or can pull it, and fails as often as it is told to."""

    def __init__(self, node: str, options: HollowOptions, *, pod_cidr: str) -> None:
        super().__init__(
            node,
            pod_cidr=pod_cidr,
            sandbox_delay=options.start_time,
            start_delay=options.start_time,
            pull_delay=options.pull_time,
            every_image=True,
        )
        self._failures_share = options.failures

    async def create_container(self, sandbox_id: str, config: ContainerConfig) -> str:
        id = await super().create_container(sandbox_id, config)
        # By its name, which has the attempt in it: the same run of the same pods fails in the same places.
        if zlib.crc32(container_name(config).encode()) % 10_000 < self._failures_share * 10_000:
            self.teach(id, Program(exit_code=128, start_error="the hollow engine fails, as it was told to"))
        return id


class HollowProber(Prober):
    """Nobody listens in a hollow pod, and everybody is well."""

    async def ask(self, probe: core.Probe, container: Container, id: str, ip: str) -> Answer:
        return Answer(True)


class HollowVolumes(VolumeManager):
    """No directories are made."""

    async def mount(self, pod: Pod) -> dict[str, Path]:
        return {}

    async def mounts(
        self, container: Container, paths: Mapping[str, Path], env: Mapping[str, str], pod: Pod
    ) -> Sequence[Mount]:
        return []

    async def remove(self, uid: str) -> None:
        return

    async def uids(self) -> list[str]:
        return []


def ranges(pod_cidr: str, nodes: int, pods: int) -> Iterator[str]:
    """A range of pod addresses for each node, for so many pods. Raises Fatal if they cannot be had."""
    whole = ipaddress.ip_network(pod_cidr)
    longer = max(nodes - 1, 0).bit_length()
    if whole.num_addresses >> longer < pods + 4:  # the network's, the bridge's and the broadcast address, and a spare
        raise daemon.Fatal(f"--pod-cidr={pod_cidr} is too small for {nodes} nodes of {pods} pods: give a wider range")
    return (str(subnet) for subnet in whole.subnets(prefixlen_diff=longer))


class HollowNode:
    """One of them."""

    def __init__(
        self,
        facts: NodeFacts,
        runtime: FakeRuntime,
        client: Client,
        informers: Informers,
        statuses: StatusManager,
        configuration: ConfigurationManager,
        pace: Pace,
        *,
        frequency: float,
        sync_frequency: float,
    ) -> None:
        self.recorder = EventRecorder(client, "kubelet", facts.name, pace=pace)
        self.prober = HollowProber(runtime)
        services = informers.of(Service)
        host = Host(
            runtime=runtime,
            statuses=statuses,
            recorder=self.recorder,
            images=Images(runtime, configuration),
            prober=self.prober,
            volumes=HollowVolumes(Volumes(Path("/hollow")), configuration, TokenManager(client)),
            termination_logs=TerminationLogs(None),
            pod_files=PodFiles(None),
            services=services.list,
            configuration=configuration,
            ip=facts.ip,
            memory_capacity=facts.machine.memory,
            allocatable=capacity(facts),
        )
        pods = informers.bound_pods(facts.name)
        static = StaticPods()
        mirrors = Mirrors(client, facts.name, static, pods.get)
        self.kubelet = Kubelet(
            facts.name, host, pods, services, statuses, static, mirrors, sync_frequency=sync_frequency
        )
        self.agent = NodeAgent(
            client, runtime, self.recorder, facts, frequency=frequency, was_given_up=self.kubelet.was_given_up
        )

    async def run(self) -> None:
        """Be a node until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.recorder.run(), name="events")
            tasks.create_task(self.agent.run(), name="node")
            tasks.create_task(self.kubelet.run(), name="kubelet")


@contextlib.asynccontextmanager
async def hollow_nodes(
    options: HollowOptions,
    facts: NodeFacts,
    client: Client,
    sources: Sources,
    *,
    pod_cidr: str = "10.244.0.0/16",
    pace: Pace | None = None,
    frequency: float = 10.0,
    sync_frequency: float = 60.0,
) -> AsyncIterator[list[HollowNode]]:
    """Hollow nodes that run. `facts` are those of each, but for the name, cpus and memory; `pace`: of all together."""
    machine = replace(facts.machine, cpus=options.cpus, memory=options.memory)
    informers, statuses = Informers(sources), StatusManager(client, workers=WRITERS)
    configuration, pace = ConfigurationManager(sources), pace or Pace()
    nodes = []
    for number, cidr in zip(range(options.nodes), ranges(pod_cidr, options.nodes, facts.max_pods), strict=False):
        own = replace(facts, name=f"{options.name}-{number}", machine=machine)
        runtime = HollowRuntime(own.name, options, pod_cidr=cidr)
        nodes.append(
            HollowNode(
                own, runtime, client, informers, statuses, configuration, pace,
                frequency=frequency, sync_frequency=sync_frequency,
            )
        )  # fmt: skip

    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(informers.run(), name="informers"),
            tasks.create_task(statuses.run(), name="statuses"),
            tasks.create_task(configuration.run(), name="configuration"),
            tasks.create_task(_begin(nodes), name="nodes"),
        ]
        try:
            yield nodes
        finally:
            for task in running:
                task.cancel()


async def _begin(nodes: list[HollowNode]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for node in nodes:
            tasks.create_task(node.run(), name=node.kubelet.name)
            await asyncio.sleep(STAGGER)
