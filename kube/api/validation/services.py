"""Rules for services."""

from __future__ import annotations

from kube.api import core, defaults, names
from kube.api.errors import Verbatim, duplicate, field_forbidden, invalid, not_supported, required
from kube.api.validation import addresses, containers
from kube.api.validation.meta import Errors, each, labels, object_meta, object_meta_update, one_of

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_POLICIES = ("Cluster", "Local")
_DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")
_FAMILIES = ("IPv4", "IPv6")
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_AFFINITY_SECONDS = 86400
KUBELET_PORT = 10250
_FIXED = "may not change once set"


def headless(spec: core.ServiceSpec) -> bool:
    """Whether the service has no address of its own."""
    return spec.clusterIPs == ["None"]


def validate(service: core.Service) -> Errors:
    """A service, new or changed."""
    yield from object_meta(service.metadata, names.dns_1035_label)
    spec = service.spec
    if not spec.ports and not headless(spec) and spec.type != "ExternalName":
        yield required("spec.ports")
    for i, port in enumerate(spec.ports if spec.type == "LoadBalancer" else ()):
        if port.port == KUBELET_PORT:
            detail = f"may not expose port {KUBELET_PORT} externally since it is used by kubelet"
            yield invalid(f"spec.ports[{i}]", port.port, detail)
    if spec.type in ("LoadBalancer", "NodePort") and headless(spec):
        yield invalid("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {spec.type} services")
    elif spec.type == "ExternalName":
        yield from _external_name(spec)
    seen: set[str] = set()
    for i, port in enumerate(spec.ports):
        yield from _port(f"spec.ports[{i}]", port, seen, name_required=len(spec.ports) > 1)
    yield from labels("spec.selector", spec.selector)
    yield from one_of("spec.sessionAffinity", spec.sessionAffinity, ("ClientIP", "None"))
    yield from _affinity("spec.sessionAffinityConfig", spec)
    yield from _cluster_ips(spec)
    for i, ip in enumerate(spec.externalIPs):
        yield from addresses.reachable(f"spec.externalIPs[{i}]", ip)
    yield from one_of("spec.type", spec.type, _TYPES)
    yield from _unique_ports(spec)
    yield from _load_balancer(spec)
    yield from _traffic(spec)


def _external_name(spec: core.ServiceSpec) -> Errors:
    for name in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if getattr(spec, name):
            yield field_forbidden(f"spec.{name}", "may not be set for ExternalName services")
    name = spec.externalName.removesuffix(".")
    if not name:
        yield required("spec.externalName")
    else:
        yield from each("spec.externalName", name, names.dns_subdomain(name))


def _port(path: str, port: core.ServicePort, seen: set[str], *, name_required: bool) -> Errors:
    if port.name:
        yield from each(f"{path}.name", port.name, names.dns_label(port.name))
        if port.name in seen:
            yield duplicate(f"{path}.name", port.name)
        seen.add(port.name)
    elif name_required:
        yield required(f"{path}.name")
    yield from each(f"{path}.port", port.port, names.port_number(port.port))
    yield from one_of(f"{path}.protocol", port.protocol, containers.PROTOCOLS)
    yield from containers.port(f"{path}.targetPort", port.targetPort)
    if port.appProtocol is not None:
        yield from each(f"{path}.appProtocol", port.appProtocol, names.qualified(port.appProtocol))


def _affinity(path: str, spec: core.ServiceSpec) -> Errors:
    config = spec.sessionAffinityConfig
    if spec.sessionAffinity == "None":
        if config is not None:
            yield field_forbidden(path, "must not be set when session affinity is None")
        return
    if spec.sessionAffinity != "ClientIP":
        return
    why = "when session affinity type is ClientIP"
    if config is None:
        yield required(path, why)
    elif config.clientIP is None:
        yield required(f"{path}.clientIP", why)
    elif config.clientIP.timeoutSeconds is None:
        yield required(f"{path}.clientIP.timeoutSeconds", why)
    elif not 0 < config.clientIP.timeoutSeconds <= _AFFINITY_SECONDS:
        detail = f"must be greater than 0 and less than {_AFFINITY_SECONDS}"
        yield invalid(f"{path}.clientIP.timeoutSeconds", config.clientIP.timeoutSeconds, detail)


def _cluster_ips(spec: core.ServiceSpec) -> Errors:
    if spec.type == "ExternalName":
        return
    field, ips = "spec.clusterIPs", spec.clusterIPs
    if spec.clusterIP:
        if not ips:
            yield required(field)
        elif ips[0] != spec.clusterIP:
            yield invalid(field, ips, "first value must match `clusterIP`")
    elif ips:
        yield invalid(field, ips, "must be empty when `clusterIP` is not specified")
    for i, family in enumerate(spec.ipFamilies):
        if family not in _FAMILIES:
            yield not_supported(f"spec.ipFamilies[{i}]", family, _FAMILIES)
        if family in spec.ipFamilies[:i]:
            yield duplicate(f"spec.ipFamilies[{i}]", family)
    if spec.ipFamilyPolicy is not None and spec.ipFamilyPolicy not in _FAMILY_POLICIES:
        yield not_supported("spec.ipFamilyPolicy", spec.ipFamilyPolicy, _FAMILY_POLICIES)
    if ips and ips[0] == "None":
        if len(ips) > 1:
            yield invalid(field, ips, "'None' must be the first and only value")
        return
    problems = [error for i, ip in enumerate(ips) for error in each(f"{field}[{i}]", ip, names.ip(ip))]
    yield from problems
    if len(ips) > 2:
        yield invalid(field, ips, "may only hold up to 2 values")
    if problems:
        return
    families = [addresses.family(ip) for ip in ips]
    if len(set(families)) < len(families):
        yield invalid(field, ips, "may specify no more than one IP for each IP family")
    for i, (ip, wanted) in enumerate(zip(ips, spec.ipFamilies, strict=False)):
        if wanted in _FAMILIES and addresses.family(ip) != wanted:
            yield invalid(f"{field}[{i}]", ip, f"expected an {wanted} value as indicated by `ipFamilies[{i}]`")


def _unique_ports(spec: core.ServiceSpec) -> Errors:
    node_ports: set[tuple[str, int]] = set()
    ports: set[tuple[str, int]] = set()
    for i, port in enumerate(spec.ports):
        if not port.nodePort:
            continue
        if spec.type == "ClusterIP":
            detail = "may not be used when `type` is 'ClusterIP'"
            yield field_forbidden(f"spec.ports[{i}].nodePort", detail)
        if (port.protocol, port.nodePort) in node_ports:
            yield duplicate(f"spec.ports[{i}].nodePort", port.nodePort)
        node_ports.add((port.protocol, port.nodePort))
    for i, port in enumerate(spec.ports):
        if (port.protocol, port.port) in ports:
            # Upstream prints its own struct, with what makes two ports the same and nothing else.
            value = Verbatim(
                f'core.ServicePort{{Name:"", Protocol:"{port.protocol}", AppProtocol:(*string)(nil), Port:{port.port}, '
                'TargetPort:intstr.IntOrString{Type:0, IntVal:0, StrVal:""}, NodePort:0}'
            )
            yield duplicate(f"spec.ports[{i}]", value)
        ports.add((port.protocol, port.port))


def _load_balancer(spec: core.ServiceSpec) -> Errors:
    only = "may only be used when `type` is 'LoadBalancer'"
    if spec.loadBalancerSourceRanges:
        field = "spec.LoadBalancerSourceRanges"
        if spec.type != "LoadBalancer":
            yield field_forbidden(field, only)
        for i, network in enumerate(spec.loadBalancerSourceRanges):
            yield from each(f"{field}[{i}]", network.strip(), names.cidr(network.strip()))
    if spec.type != "LoadBalancer":
        for name in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if getattr(spec, name) is not None:
                yield field_forbidden(f"spec.{name}", only)
    elif spec.loadBalancerClass is not None:
        yield from each("spec.loadBalancerClass", spec.loadBalancerClass, names.qualified(spec.loadBalancerClass))


def needs_health_check(spec: core.ServiceSpec) -> bool:
    """Whether nodes must tell a load balancer if they have endpoints."""
    return spec.type == "LoadBalancer" and spec.externalTrafficPolicy == "Local"


def _traffic(spec: core.ServiceSpec) -> Errors:
    if not defaults.externally_accessible(spec):
        if spec.externalTrafficPolicy:
            detail = "may only be set for externally-accessible services"
            yield invalid("spec.externalTrafficPolicy", spec.externalTrafficPolicy, detail)
    else:
        yield from one_of("spec.externalTrafficPolicy", spec.externalTrafficPolicy, _POLICIES)
    port = spec.healthCheckNodePort
    if port and not needs_health_check(spec):
        detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        yield invalid("spec.healthCheckNodePort", port, detail)
    elif port:
        yield from each("spec.healthCheckNodePort", port, names.port_number(port))
    if spec.internalTrafficPolicy is None:
        if spec.type in ("ClusterIP", "NodePort", "LoadBalancer"):
            yield required("spec.internalTrafficPolicy")
    elif spec.internalTrafficPolicy not in _POLICIES:
        yield not_supported("spec.internalTrafficPolicy", spec.internalTrafficPolicy, _POLICIES)
    distribution = spec.trafficDistribution
    if distribution is not None and distribution not in _DISTRIBUTIONS:
        yield not_supported("spec.trafficDistribution", distribution, _DISTRIBUTIONS)


def validate_update(new: core.Service, old: core.Service) -> Errors:
    """A changed service: its addresses stay, unless it becomes or ceases to be ExternalName."""
    yield from object_meta_update(new.metadata, old.metadata)
    if "ExternalName" not in (new.spec.type, old.spec.type):
        yield from _cluster_ips_update(new.spec, old.spec)
        yield from _families_update(new.spec, old.spec)
    if new.spec.type == old.spec.type == "LoadBalancer" and new.spec.loadBalancerClass != old.spec.loadBalancerClass:
        yield invalid("spec.loadBalancerClass", new.spec.loadBalancerClass, _FIXED)
    ports = (new.spec.healthCheckNodePort, old.spec.healthCheckNodePort)
    if needs_health_check(new.spec) and needs_health_check(old.spec) and ports[0] != ports[1]:
        yield field_forbidden("spec.healthCheckNodePort", "field is immutable")
    yield from validate(new)


def _cluster_ips_update(new: core.ServiceSpec, old: core.ServiceSpec) -> Errors:
    now, before = new.clusterIPs, old.clusterIPs
    if headless(new) and headless(old):
        return
    if len(now) == len(before):
        for i, (ip, was) in enumerate(zip(now, before, strict=True)):
            if ip != was:
                yield invalid(f"spec.clusterIPs[{i}]", now, _FIXED)
        return
    if before and not now:
        yield invalid("spec.clusterIPs[0]", now, "primary clusterIP can not be unset")
    elif before and now[0] != before[0]:
        yield invalid("spec.clusterIPs[0]", now, _FIXED)
    if len(before) > len(now) == 1 and new.ipFamilyPolicy != "SingleStack":
        detail = "must be set to 'SingleStack' when releasing the secondary clusterIP"
        yield invalid("spec.ipFamilyPolicy", new.ipFamilyPolicy, detail)


def _families_update(new: core.ServiceSpec, old: core.ServiceSpec) -> Errors:
    now, before = new.ipFamilies, old.ipFamilies
    if headless(new) or headless(old):
        return
    if len(now) == len(before):
        if now != before:
            yield invalid("spec.ipFamilies[0]", now, _FIXED)
    elif now and before and now[0] != before[0]:
        yield invalid("spec.ipFamilies[0]", now, _FIXED)
    elif len(now) < len(before) and not new.clusterIPs:
        yield invalid("spec.ipFamilies[0]", now, "primary ipFamily can not be unset")


def validate_status_update(new: core.Service, old: core.Service) -> Errors:
    """A service whose status has changed."""
    yield from object_meta_update(new.metadata, old.metadata)
    path, ingress = "status.loadBalancer.ingress", new.status.loadBalancer.ingress
    if ingress and new.spec.type != "LoadBalancer":
        yield field_forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'")
        return
    for i, address in enumerate(ingress):
        where = f"{path}[{i}]"
        if address.ip:
            yield from each(f"{where}.ip", address.ip, names.ip(address.ip))
        if address.ipMode is None:
            if address.ip:
                yield required(f"{where}.ipMode", "must be specified when `ip` is set")
        elif not address.ip:
            yield field_forbidden(f"{where}.ipMode", "may not be specified when `ip` is not set")
        elif address.ipMode not in ("Proxy", "VIP"):
            yield not_supported(f"{where}.ipMode", address.ipMode, ("Proxy", "VIP"))
        if address.hostname:
            yield from each(f"{where}.hostname", address.hostname, names.dns_subdomain(address.hostname))
            if names.parse_ip(address.hostname) is not None:
                yield invalid(f"{where}.hostname", address.hostname, "must be a DNS name, not an IP address")
