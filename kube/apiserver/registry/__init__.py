"""The rules of each kind."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Network

from kube.api import resources
from kube.api.resources import Resource
from kube.apiserver.cache import Cache
from kube.apiserver.registry.admission import PodAdmission
from kube.apiserver.registry.limit_ranges import ClaimStrategy, LimitRanger
from kube.apiserver.registry.others import (
    CreateOnUpdate,
    DisruptionBudgetStrategy,
    EndpointSliceStrategy,
    EventStrategy,
    LeaseStrategy,
    NamespaceStrategy,
    NodeStrategy,
    ReplicationControllerStrategy,
    ReturnsDeleted,
    ServiceAccountStrategy,
    StoredOnly,
)
from kube.apiserver.registry.pods import PodStrategy
from kube.apiserver.registry.priorities import PriorityClassStrategy
from kube.apiserver.registry.rbac import BindingStrategy, RoleStrategy
from kube.apiserver.registry.services import ServiceStrategy
from kube.apiserver.registry.strategy import Strategy

_PUT_CREATES = (resources.ENDPOINTS, resources.LIMIT_RANGES)


def strategies(
    cache: Cache, service_ips: IPv4Network, node_ports: range, disabled: Collection[str] = ()
) -> dict[Resource, Strategy]:
    """The strategy of every resource. `disabled`: names of admission plug-ins that are off."""
    special: dict[Resource, Strategy] = {
        resources.PODS: PodStrategy(resources.PODS, PodAdmission(cache, disabled)),
        resources.SERVICES: ServiceStrategy(resources.SERVICES, cache, service_ips, node_ports),
        resources.REPLICATION_CONTROLLERS: ReplicationControllerStrategy(resources.REPLICATION_CONTROLLERS),
        resources.NODES: NodeStrategy(resources.NODES),
        resources.NAMESPACES: NamespaceStrategy(resources.NAMESPACES),
        resources.EVENTS: EventStrategy(resources.EVENTS),
        resources.ENDPOINT_SLICES: EndpointSliceStrategy(resources.ENDPOINT_SLICES),
        resources.SERVICE_ACCOUNTS: ServiceAccountStrategy(resources.SERVICE_ACCOUNTS),
        resources.LEASES: LeaseStrategy(resources.LEASES),
        **{r: ReturnsDeleted(r) for r in (resources.POD_TEMPLATES, resources.RESOURCE_QUOTAS)},
        **{r: CreateOnUpdate(r) for r in _PUT_CREATES},
    }
    special |= {resource: StoredOnly(resource) for resource in resources.STORED_ONLY}
    if "LimitRanger" not in disabled:
        special[resources.PERSISTENT_VOLUME_CLAIMS] = ClaimStrategy(LimitRanger(cache))
    special[resources.POD_DISRUPTION_BUDGETS] = DisruptionBudgetStrategy(resources.POD_DISRUPTION_BUDGETS)
    special[resources.PRIORITY_CLASSES] = PriorityClassStrategy(resources.PRIORITY_CLASSES, cache)
    special |= {resource: RoleStrategy(resource) for resource in (resources.ROLES, resources.CLUSTER_ROLES)}
    special |= {r: BindingStrategy(r) for r in (resources.ROLE_BINDINGS, resources.CLUSTER_ROLE_BINDINGS)}
    return {resource: special.get(resource) or Strategy(resource) for resource in resources.RESOURCES}
