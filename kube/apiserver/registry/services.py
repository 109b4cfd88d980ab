"""Services: cluster IPs and node ports are claimed in the service's own transaction.

A claim is a key of its own that must not exist yet, so two apiservers cannot hand out one address twice, and there is
nothing to repair: the claim is created, and deleted, together with its service. Kubernetes' allocator keeps a bitmap in
one object and repairs it every few minutes.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address, IPv4Network, ip_address

import orjson

from kube.api import errors
from kube.api.core import LoadBalancerStatus, Service, ServiceSpec
from kube.api.defaults import externally_accessible
from kube.api.meta import now
from kube.api.resources import SERVICES, Resource
from kube.api.validation.services import needs_health_check
from kube.apiserver.cache import Cache
from kube.apiserver.registry.strategy import Companions, Strategy
from kube.store import keys
from kube.store.store import Compare, Delete, Put

WITH_CLUSTER_IP = ("ClusterIP", "NodePort", "LoadBalancer")
WITH_NODE_PORT = ("NodePort", "LoadBalancer")


class ServiceStrategy(Strategy):
    """Services."""

    create_on_update = True
    returns_deleted = True
    allocates = True

    def __init__(self, resource: Resource, cache: Cache, ips: IPv4Network, ports: range) -> None:
        super().__init__(resource)
        self._cache = cache
        self._ips = ips
        self._ports = ports
        self._random = random.Random()

    def prepare_update(self, new: Service, old: Service) -> None:
        """Besides the status, keep what the client left out: the addresses that the service has."""
        super().prepare_update(new, old)
        _keep_allocated(new.spec, old.spec)
        _drop_what_its_type_has_not(new.spec, old.spec)
        if old.spec.type == "LoadBalancer" and new.spec.type != "LoadBalancer":
            new.status.loadBalancer = LoadBalancerStatus()

    def allocate(self, new: Service, old: Service | None, taken: Collection[str]) -> None:
        spec = new.spec
        if spec.type in WITH_CLUSTER_IP:
            _settle_families(new, old)
            if spec.clusterIP == "" and not spec.clusterIPs:
                spec.clusterIP = self._free_ip(new, taken)
            elif spec.clusterIP not in ("", "None") and keys.ip_claim_key(spec.clusterIP) not in _claims(old):
                self._check_ip(new, taken)
            if not spec.clusterIPs:
                spec.clusterIPs = [spec.clusterIP]
        mine = _node_ports(old)
        chosen = _node_ports(new)
        if spec.type in WITH_NODE_PORT:
            for index, port in enumerate(spec.ports):
                if port.nodePort and port.nodePort not in mine:
                    if why := self._cannot_have(port.nodePort, taken):
                        raise _invalid(new, errors.invalid(f"spec.ports[{index}].nodePort", port.nodePort, why))
                elif not port.nodePort and _allocates_node_ports(spec):
                    # One port for both of a name server's protocols.
                    same = (p.nodePort for p in spec.ports if p.port == port.port and p.protocol != port.protocol)
                    port.nodePort = next(filter(None, same), 0) or self._free_port(chosen, taken)
                    if not port.nodePort:
                        why = "failed to allocate a nodePort: range is full"
                        raise _invalid(new, errors.invalid(f"spec.ports[{index}].nodePort", 0, why))
                    chosen.add(port.nodePort)
        if needs_health_check(spec):
            self._allocate_health_check(spec, mine, chosen, taken)

    def companions(self, new: Service | None, old: Service | None, value: bytes = b"") -> Companions:
        """The claims: those gained must be free, those lost are given back."""
        before, after = set(_claims(old)), set(_claims(new))
        companions = Companions()
        for key in sorted(after - before):
            assert new is not None
            companions.compares.append(Compare(key, 0))
            companions.ops.append(Put(key, _claim(key, new)))
        companions.ops += [Delete(key) for key in sorted(before - after)]
        return companions

    def _free_ip(self, service: Service, taken: Collection[str]) -> str:
        used = set(self._used_ips())
        size = self._ips.num_addresses
        base = int(self._ips.network_address)
        # Upstream hands out dynamic addresses from the upper part first, so that a small number chosen by hand is
        # rarely taken (KEP-3070); the lower band is used when the upper one is full.
        band = min(max(16, size // 16), 256) if size > 32 else 0
        upper = self._pick(range(base + 1 + band, base + size - 1), used, taken)
        chosen = upper or self._pick(range(base + 1, base + 1 + band), used, taken)
        if chosen is None:
            raise errors.InternalError(
                f'failed to allocate IP for service "{service.metadata.name}": range {self._ips} is full'
            )
        return chosen

    def _pick(self, addresses: range, used: set[str], taken: Collection[str]) -> str | None:
        def free(number: int) -> bool:
            ip = str(IPv4Address(number))
            return ip not in used and keys.ip_claim_key(ip) not in taken

        if not addresses:
            return None
        for _ in range(16):
            number = self._random.choice(addresses)
            if free(number):
                return str(IPv4Address(number))
        start = self._random.randrange(len(addresses))
        rotated = (addresses[(start + i) % len(addresses)] for i in range(len(addresses)))
        found = next((number for number in rotated if free(number)), None)
        return None if found is None else str(IPv4Address(found))

    def _used_ips(self) -> Iterator[str]:
        # The fields of an entry are decoded once, so this is a walk over strings.
        for entry in self._cache.of(SERVICES).entries.values():
            yield entry.fields.get("spec.clusterIP", "")

    def _check_ip(self, service: Service, taken: Collection[str]) -> None:
        ip = service.spec.clusterIP
        try:
            address = ip_address(ip)
        except ValueError:
            return  # validation names it
        why = ""
        if address not in self._ips or address in (self._ips.network_address, self._ips.broadcast_address):
            why = f"failed to allocate IP {ip}: the provided IP ({ip}) is not in the valid range. " + (
                f"The range of valid IPs is {self._ips}"
            )
        elif keys.ip_claim_key(ip) in taken:
            why = f"failed to allocate IP {ip}: provided IP is already allocated"
        if why:
            raise _invalid(service, errors.invalid("spec.clusterIPs", [ip], why))

    def _allocate_health_check(
        self, spec: ServiceSpec, mine: set[int], chosen: set[int], taken: Collection[str]
    ) -> None:
        """The port at which load balancers ask: of the same range, and by the same rule."""
        port = spec.healthCheckNodePort
        if port and port not in mine and (why := self._cannot_have(port, taken)):
            why = f"failed to allocate requested HealthCheck NodePort {port}: {why}"
            raise errors.InternalError(f"Internal error occurred: {why}")
        spec.healthCheckNodePort = port or self._free_port(chosen, taken)
        if not spec.healthCheckNodePort:
            why = "failed to allocate a HealthCheck NodePort 0: range is full"
            raise errors.InternalError(f"Internal error occurred: {why}")

    def _free_port(self, chosen: set[int], taken: Collection[str]) -> int:
        """A port that nobody has; 0: there is none."""
        busy = set(chosen)
        for entry in self._cache.of(SERVICES).entries.values():
            if entry.fields.get("spec.type") in WITH_NODE_PORT:
                spec = orjson.loads(entry.value)["spec"]
                busy |= {port.get("nodePort", 0) for port in spec.get("ports", ())}
                busy.add(spec.get("healthCheckNodePort", 0))
        free = [p for p in self._ports if p not in busy and keys.node_port_claim_key(p) not in taken]
        return self._random.choice(free) if free else 0

    def _cannot_have(self, port: int, taken: Collection[str]) -> str:
        """Why a port cannot be given; empty: it can."""
        if port not in self._ports:
            return (f"provided port is not in the valid range. "
                    f"The range of valid ports is {self._ports.start}-{self._ports.stop - 1}")  # fmt: skip
        return "provided port is already allocated" if keys.node_port_claim_key(port) in taken else ""


def _keep_allocated(new: ServiceSpec, old: ServiceSpec) -> None:
    """Addresses and ports that an update leaves out stay as they are (patchAllocatedValues)."""
    if new.type in WITH_CLUSTER_IP and old.type in WITH_CLUSTER_IP and not new.clusterIP:
        new.clusterIP, new.clusterIPs = old.clusterIP, new.clusterIPs or old.clusterIPs
    elif new.clusterIP not in ("", old.clusterIP) and new.clusterIPs == old.clusterIPs:
        new.clusterIPs = [new.clusterIP]  # an old client, which knows one address alone (normalizeClusterIPs)
    if new.type in WITH_NODE_PORT and old.type in WITH_NODE_PORT:
        known = {p.name: p.nodePort for p in old.ports}
        used = {port.nodePort for port in new.ports}
        for port in new.ports:
            was = known.get(port.name, 0)
            if not port.nodePort and was not in used:
                port.nodePort = was
    if needs_health_check(new) and needs_health_check(old):
        new.healthCheckNodePort = new.healthCheckNodePort or old.healthCheckNodePort


def _settle_families(service: Service, old: Service | None) -> None:
    """The families of a service's addresses, in a cluster that has IPv4 alone (initIPFamilyFields). Raises Invalid."""
    spec, policy = service.spec, "spec.ipFamilyPolicy"
    found = []
    if spec.ipFamilyPolicy == "SingleStack" and len(spec.ipFamilies) == 2:
        if old is not None and spec.ipFamilies == old.spec.ipFamilies:
            spec.ipFamilies = spec.ipFamilies[:1]  # with the families as they were, the policy says what is wanted
        else:
            detail = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"
            found.append(errors.invalid(policy, spec.ipFamilyPolicy, detail))
    # What stands behind a headless service without selector is its owner's affair.
    if not found and (spec.clusterIP != "None" or spec.selector):
        if spec.ipFamilyPolicy == "RequireDualStack":
            detail = "this cluster is not configured for dual-stack services"
            found.append(errors.invalid(policy, spec.ipFamilyPolicy, detail))
        for i, family in enumerate(spec.ipFamilies):
            if family == "IPv6":
                found.append(errors.invalid(f"spec.ipFamilies[{i}]", family, "not configured on this cluster"))
    if found:
        raise errors.invalid_object("Service", service.metadata.name, found)


def _drop_what_its_type_has_not(new: ServiceSpec, old: ServiceSpec) -> None:
    """What only the former type has goes with it, unless the client has set it anew (dropTypeDependentFields)."""
    if old.type in WITH_CLUSTER_IP and new.type not in WITH_CLUSTER_IP:
        if new.clusterIP in ("", old.clusterIP) and new.clusterIPs in ([], old.clusterIPs):
            new.clusterIP, new.clusterIPs = "", []
        _drop(new, old, "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy")
    if old.type in WITH_NODE_PORT and new.type not in WITH_NODE_PORT:
        before = {p.nodePort for p in old.ports}
        for port in new.ports:
            if port.nodePort in before:
                port.nodePort = 0
    if needs_health_check(old) and not needs_health_check(new):
        _drop(new, old, "healthCheckNodePort")
    if old.type == "LoadBalancer" and new.type != "LoadBalancer":
        _drop(new, old, "allocateLoadBalancerNodePorts", "loadBalancerClass")
    if externally_accessible(old) and not externally_accessible(new):
        _drop(new, old, "externalTrafficPolicy")


def _drop(new: ServiceSpec, old: ServiceSpec, *names: str) -> None:
    for name in names:
        if getattr(new, name) == getattr(old, name):
            setattr(new, name, ServiceSpec.model_fields[name].get_default(call_default_factory=True))


def _allocates_node_ports(spec: ServiceSpec) -> bool:
    return spec.type == "NodePort" or spec.allocateLoadBalancerNodePorts is not False


def _node_ports(service: Service | None) -> set[int]:
    """The node ports that a service holds, or asks for."""
    if service is None or service.spec.type not in WITH_NODE_PORT:
        return set()
    return {*(port.nodePort for port in service.spec.ports), service.spec.healthCheckNodePort} - {0}


def _invalid(service: Service, error: errors.FieldError) -> errors.Invalid:
    return errors.invalid_object("Service", service.metadata.name, [error])


def _claims(service: Service | None) -> Iterator[str]:
    if service is None:
        return
    if service.spec.type in WITH_CLUSTER_IP and service.spec.clusterIP not in ("", "None"):
        yield keys.ip_claim_key(service.spec.clusterIP)
    if service.spec.type in WITH_NODE_PORT:
        # One port number may be claimed once, whatever the protocols: simpler than upstream, which counts TCP and UDP
        # apart only within one service.
        yield from map(keys.node_port_claim_key, sorted(_node_ports(service)))


def _claim(key: str, service: Service) -> bytes:
    """The value of a claim: an IPAddress object, as Kubernetes keeps it since 1.33, or the like for a port."""
    name = key.rpartition("/")[2]
    meta = {"name": name, "uid": str(uuid.uuid4()), "creationTimestamp": now().strftime("%Y-%m-%dT%H:%M:%SZ")}
    parent = {"resource": "services", "namespace": service.metadata.namespace, "name": service.metadata.name}
    if key.startswith(keys.IP_CLAIMS):
        meta_labels = {"ipaddress.kubernetes.io/ip-family": "IPv4",
                       "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}  # fmt: skip
        return orjson.dumps({"kind": "IPAddress", "apiVersion": "networking.k8s.io/v1",
                             "metadata": {**meta, "labels": meta_labels}, "spec": {"parentRef": parent}})  # fmt: skip
    return orjson.dumps({"kind": "NodePort", "apiVersion": "v1", "metadata": meta, "spec": {"parentRef": parent}})
