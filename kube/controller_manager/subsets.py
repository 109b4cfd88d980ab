"""The addresses and ports behind a service: pure decisions, carried out by endpoints.py.

As upstream's endpoints controller and its RepackSubsets: pods that offer the same ports share a subset, no address
stands twice with the same port, and everything is in one order, so that equal endpoints are equal objects. (Upstream
orders ports and subsets by a hash of their Go representation; here it is by name, number and protocol.)
"""

from __future__ import annotations

from collections.abc import Iterable

from kube.api.core import EndpointAddress, EndpointPort, EndpointSubset, ObjectReference, Pod, Service, ServicePort
from kube.controller_manager.pod import ended, ready

HEADLESS = "service.kubernetes.io/headless"
MANAGED_BY = "endpoints.kubernetes.io/managed-by"
CONTROLLER = "endpoint-controller"

_Port = tuple[str, int, str, str | None]
"""Name, number, protocol, application protocol: a port as something that can be compared and sorted."""
_NO_PORT: _Port = ("", -1, "", None)


def has_endpoints(service: Service) -> bool:
    """Whether the service's endpoints are made by the controller, and not by hand or not at all."""
    return bool(service.spec.selector) and service.spec.type != "ExternalName"


def labels(service: Service) -> dict[str, str]:
    """The labels of the service's Endpoints: its own, whose they are, and a mark if it has no cluster IP."""
    result = {key: value for key, value in service.metadata.labels.items() if key != HEADLESS}
    result[MANAGED_BY] = CONTROLLER
    if service.spec.clusterIP in ("", "None"):
        result[HEADLESS] = ""
    return result


def target_port(pod: Pod, port: ServicePort) -> int | None:
    """The port of this pod that a port of the service leads to; None if the pod has no port of that name.

    A name is looked up among the ports of the same protocol of the pod's containers, and of its sidecars after them; 0
    means the service's own port.
    """
    if isinstance(port.targetPort, int):
        return port.targetPort or port.port
    if not port.targetPort:
        return port.port
    sidecars = [container for container in pod.spec.initContainers if container.restartPolicy == "Always"]
    return next(
        (
            found.containerPort
            for container in (*pod.spec.containers, *sidecars)
            for found in container.ports
            if found.name == port.targetPort and (found.protocol or "TCP") == (port.protocol or "TCP")
        ),
        None,
    )


def belongs(service: Service, pod: Pod) -> bool:
    """Whether the pod has an address that can stand in the service's endpoints, ready or not.

    A pod that has ended has not; one that is being deleted only if the service publishes what is not ready.
    """
    terminating = pod.metadata.deletionTimestamp is not None
    return not ended(pod) and bool(pod.status.podIP) and (not terminating or service.spec.publishNotReadyAddresses)


def address(service: Service, pod: Pod) -> EndpointAddress:
    """The pod's address, with what it is the address of."""
    named = bool(pod.spec.hostname) and pod.spec.subdomain == service.name and pod.namespace == service.namespace
    return EndpointAddress(
        ip=pod.status.podIP,
        hostname=pod.spec.hostname if named else "",
        nodeName=pod.spec.nodeName or None,
        targetRef=ObjectReference(kind="Pod", namespace=pod.namespace, name=pod.name, uid=pod.metadata.uid),
    )


def subsets(service: Service, pods: Iterable[Pod]) -> list[EndpointSubset]:
    """The subsets of a service's endpoints. `pods`: those that it selects."""
    offers: dict[_Port, dict[tuple[str, str], tuple[EndpointAddress, bool]]] = {}
    for pod in pods:
        if not belongs(service, pod):
            continue
        where = address(service, pod)
        is_ready = service.spec.publishNotReadyAddresses or ready(pod)
        for port in _ports(service, pod):
            offers.setdefault(port, {})[where.ip, pod.metadata.uid] = (where, is_ready)
    # Ports that exactly the same addresses offer share a subset.
    shared: dict[frozenset[tuple[str, str]], list[_Port]] = {}
    for port, addresses in offers.items():
        shared.setdefault(frozenset(addresses), []).append(port)
    packed = [
        _subset(sorted(ports, key=_order), [offers[ports[0]][key] for key in sorted(addresses)])
        for addresses, ports in shared.items()
    ]
    return sorted(packed, key=lambda subset: [_order(_of(port)) for port in subset.ports])


def _ports(service: Service, pod: Pod) -> list[_Port]:
    """The ports that a pod offers to a service. One without a port of the wanted name is left out of that port only."""
    if not service.spec.ports:
        # A headless service need not have ports: its addresses still have names.
        return [_NO_PORT] if service.spec.clusterIP == "None" else []
    return [
        (port.name, number, port.protocol or "TCP", port.appProtocol)
        for port in service.spec.ports
        if (number := target_port(pod, port)) is not None
    ]


def _of(port: EndpointPort) -> _Port:
    return (port.name, port.port, port.protocol, port.appProtocol)


def _order(port: _Port) -> tuple[str, int, str, str]:
    return (*port[:3], port[3] or "")


def _subset(ports: list[_Port], addresses: list[tuple[EndpointAddress, bool]]) -> EndpointSubset:
    return EndpointSubset(
        addresses=[where for where, is_ready in addresses if is_ready],
        notReadyAddresses=[where for where, is_ready in addresses if not is_ready],
        ports=[
            EndpointPort(name=name, port=number, protocol=protocol, appProtocol=app)
            for name, number, protocol, app in ports
            if number >= 0
        ],
    )
