"""kube-controller-manager's wiring.

All controllers read the same caches, which hold everything that was written before this process began: one that is
killed in the middle of its work finds what it had done, and goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from kube import daemon
from kube.api.core import Pod
from kube.client import flags
from kube.client.events import EventRecorder
from kube.client.informer import Informers
from kube.client.leaderelection import Election
from kube.client.rest import Client
from kube.controller_manager import indexes
from kube.controller_manager.controller import Controller
from kube.controller_manager.endpoint_slice_mirroring import EndpointSliceMirroringController
from kube.controller_manager.endpoint_slices import EndpointSliceController
from kube.controller_manager.endpoints import EndpointsController
from kube.controller_manager.garbage_collector import GarbageCollector
from kube.controller_manager.load_balancers import LoadBalancerController
from kube.controller_manager.namespace import NamespaceController
from kube.controller_manager.node_ipam import NodeIpamController
from kube.controller_manager.node_lifecycle import NodeLifecycleController
from kube.controller_manager.node_taints import Rates
from kube.controller_manager.options import Options
from kube.controller_manager.pod import sharing_parts
from kube.controller_manager.pod_gc import PodGarbageCollector
from kube.controller_manager.replication import ReplicationManager
from kube.controller_manager.resource_quota import ResourceQuotaController
from kube.controller_manager.root_ca import RootCAPublisher
from kube.controller_manager.service_account_tokens import TokenController
from kube.controller_manager.service_accounts import ServiceAccountController
from kube.controller_manager.taint_eviction import TaintEvictionController
from kube.serviceaccount import Signer


async def run(options: Options) -> None:
    """Run the controllers until cancelled. Raises daemon.Fatal."""
    daemon.collect_seldom()
    async with flags.connect(options.client, user_agent="kube-controller-manager") as (client, sources):
        informers = Informers(sources)
        controllers, recorders = build(options, client, informers)
        election = Election(client, options.election)
        synced = asyncio.Event()

        def in_sync() -> None:
            if not synced.is_set():
                raise RuntimeError("the caches are not filled yet")

        async def work() -> None:
            async with asyncio.TaskGroup() as working:
                for recorder in recorders:
                    working.create_task(recorder.run(), name="events")
                for controller in controllers:
                    working.create_task(controller.run(), name=controller.name)

        checks = {"informers": in_sync, "leaderElection": election.healthy}
        async with (
            daemon.serve_health(options.address, options.port, checks),
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(informers.run(), name="informers")
            # Also a process that waits for the lease keeps its caches: it leads as soon as it is its turn.
            await informers.synced()
            synced.set()
            tasks.create_task(election.run(work), name="leader election")


def build(options: Options, client: Client, informers: Informers) -> tuple[list[Controller], list[EventRecorder]]:
    """The controllers that were asked for, and the recorders that they tell their events. Run them all."""
    informers.of(Pod).keep(sharing_parts)
    indexes.install(informers)
    recorders: list[EventRecorder] = []

    def recorder(component: str) -> EventRecorder:
        recorders.append(EventRecorder(client, component))
        return recorders[-1]

    makers: dict[str, Callable[[], Controller]] = {
        "replicationcontroller": lambda: ReplicationManager(
            client, informers, recorder("replication-controller"), workers=options.concurrent_rc_syncs
        ),
        "endpoint": lambda: EndpointsController(
            client,
            informers,
            recorder("endpoint-controller"),
            workers=options.concurrent_endpoint_syncs,
            batch_period=options.endpoint_updates_batch_period,
        ),
        "endpointslice": lambda: EndpointSliceController(
            client,
            informers,
            recorder("endpoint-slice-controller"),
            workers=options.concurrent_service_endpoint_syncs,
            batch_period=options.endpoint_updates_batch_period,
            most=options.max_endpoints_per_slice,
        ),
        "endpointslicemirroring": lambda: EndpointSliceMirroringController(
            client, informers, workers=options.mirroring_concurrent_service_endpoint_syncs
        ),
        "garbagecollector": lambda: GarbageCollector(
            client, informers, recorder("garbage-collector-controller"), workers=options.concurrent_gc_syncs
        ),
        "namespace": lambda: NamespaceController(client, informers, workers=options.concurrent_namespace_syncs),
        "nodeipam": lambda: NodeIpamController(
            client,
            informers,
            recorder("cidrAllocator"),
            cluster=options.cluster_cidr,
            mask_size=options.node_cidr_mask_size,
        ),
        "nodelifecycle": lambda: NodeLifecycleController(
            client,
            informers,
            recorder("node-controller"),
            grace_period=options.node_monitor_grace_period,
            startup_grace_period=options.node_startup_grace_period,
            monitor_period=options.node_monitor_period,
            rates=Rates(
                options.node_eviction_rate,
                options.secondary_node_eviction_rate,
                options.unhealthy_zone_threshold,
                options.large_cluster_size_threshold,
            ),
        ),
        "taint-eviction": lambda: TaintEvictionController(client, informers, recorder("taint-eviction-controller")),
        "resourcequota": lambda: ResourceQuotaController(
            client,
            informers,
            workers=options.concurrent_resource_quota_syncs,
            sync_period=options.resource_quota_sync_period,
        ),
        "serviceaccount": lambda: ServiceAccountController(client, informers),
        "podgc": lambda: PodGarbageCollector(client, informers, threshold=options.terminated_pod_gc_threshold),
    }
    if not options.allocate_node_cidrs:
        del makers["nodeipam"]
    # Without an authority to tell of, what every pod mounts is there all the same, and empty.
    root_ca = _read(options.root_ca_file, "--root-ca-file") if options.root_ca_file else ""
    makers["root-ca-cert-publisher"] = lambda: RootCAPublisher(client, informers, root_ca=root_ca)
    if options.service_account_private_key_file:
        signer = Signer.load(Path(options.service_account_private_key_file))
        makers["serviceaccount-token"] = lambda: TokenController(
            client,
            informers,
            signer=signer,
            root_ca=root_ca,
            workers=options.concurrent_serviceaccount_token_syncs,
        )
    if (pool := options.load_balancer_ip_range) is not None:
        makers["service"] = lambda: LoadBalancerController(client, informers, recorder("service-controller"), pool=pool)
    return [make() for name, make in makers.items() if name in options.controllers], recorders


def _read(path: str, flag: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, ValueError) as error:
        raise daemon.Fatal(f"cannot read {flag}={path}: {error}") from None
