"""Rules for endpoint slices (pkg/apis/discovery/validation)."""

from __future__ import annotations

from collections.abc import Callable

from kube.api import discovery, names
from kube.api.errors import duplicate, invalid, not_supported, required, too_many
from kube.api.validation import addresses, containers
from kube.api.validation.meta import Errors, each, labels, object_meta, object_meta_update, one_of, unchanged

_MAX_ENDPOINTS, _MAX_ADDRESSES, _MAX_PORTS, _MAX_TOPOLOGY, _MAX_ZONES = 1000, 100, 20000, 16, 8
_TYPES = ("FQDN", "IPv4", "IPv6")


def validate(slice_: discovery.EndpointSlice) -> Errors:
    """A new endpoint slice."""
    yield from object_meta(slice_.metadata, names.dns_subdomain)
    if not slice_.addressType:
        yield required("addressType")
    elif slice_.addressType not in _TYPES:
        yield not_supported("addressType", slice_.addressType, _TYPES)
    if len(slice_.endpoints) > _MAX_ENDPOINTS:
        yield too_many("endpoints", len(slice_.endpoints), _MAX_ENDPOINTS)
    else:
        for i, endpoint in enumerate(slice_.endpoints):
            yield from _endpoint(f"endpoints[{i}]", endpoint, slice_.addressType)
    yield from _ports(slice_.ports)


def validate_update(new: discovery.EndpointSlice, old: discovery.EndpointSlice) -> Errors:
    """A changed endpoint slice: the type of its addresses stays."""
    yield from object_meta_update(new.metadata, old.metadata)
    yield from validate(new)
    yield from unchanged("addressType", new.addressType, old.addressType)


def _ip(version: str) -> Callable[[str, str], Errors]:
    def check(field: str, address: str) -> Errors:
        if addresses.family(address) != version:
            yield invalid(field, address, f"must be a valid {version} address")
        yield from addresses.reachable(field, address)

    return check


def _domain(field: str, name: str) -> Errors:
    if not name:
        yield required(field)
        return
    name = name.removesuffix(".")
    problems = names.dns_subdomain(name)
    yield from each(field, name, problems)
    if problems:
        return
    parts = name.split(".")
    if len(parts) < 2:
        yield invalid(field, name, "should be a domain with at least two segments separated by dots")
    for part in parts:
        yield from each(field, part, names.dns_label(part))


_ADDRESSES: dict[str, Callable[[str, str], Errors]] = {"IPv4": _ip("IPv4"), "IPv6": _ip("IPv6"), "FQDN": _domain}


def _endpoint(path: str, endpoint: discovery.Endpoint, kind: str) -> Errors:
    if not endpoint.addresses:
        yield required(f"{path}.addresses", "must contain at least 1 address")
    elif len(endpoint.addresses) > _MAX_ADDRESSES:
        yield too_many(f"{path}.addresses", len(endpoint.addresses), _MAX_ADDRESSES)
    if kind in _ADDRESSES:
        for i, address in enumerate(endpoint.addresses):
            yield from _ADDRESSES[kind](f"{path}.addresses[{i}]", address)
    if endpoint.nodeName is not None:
        yield from each(f"{path}.nodeName", endpoint.nodeName, names.dns_subdomain(endpoint.nodeName))
    topology = f"{path}.deprecatedTopology"
    if len(endpoint.deprecatedTopology) > _MAX_TOPOLOGY:
        yield too_many(topology, len(endpoint.deprecatedTopology), _MAX_TOPOLOGY)
    yield from labels(topology, endpoint.deprecatedTopology)
    if endpoint.hostname is not None:
        yield from each(f"{path}.hostname", endpoint.hostname, names.dns_label(endpoint.hostname))
    if endpoint.hints is not None:
        yield from _hints(f"{path}.hints", endpoint.hints)


def _hints(path: str, hints: discovery.EndpointHints) -> Errors:
    if len(hints.forZones) > _MAX_ZONES:
        yield too_many(f"{path}.forZones", len(hints.forZones), _MAX_ZONES)
        return
    seen: set[str] = set()
    for i, zone in enumerate(hints.forZones):
        field = f"{path}.forZones[{i}].name"
        if zone.name in seen:
            yield duplicate(field, zone.name)
        seen.add(zone.name)
        yield from each(field, zone.name, names.label_value(zone.name))


def _ports(ports: list[discovery.EndpointPort]) -> Errors:
    if len(ports) > _MAX_PORTS:
        yield too_many("ports", len(ports), _MAX_PORTS)
        return
    seen: set[str] = set()
    for i, port in enumerate(ports):
        path, name = f"ports[{i}]", port.name or ""
        if name:
            yield from each(f"{path}.name", name, names.dns_label(name))
        if name in seen:
            yield duplicate(f"{path}.name", name)
        seen.add(name)
        yield from one_of(f"{path}.protocol", port.protocol or "", containers.PROTOCOLS)
        if port.appProtocol is not None:
            yield from each(f"{path}.appProtocol", port.appProtocol, names.qualified(port.appProtocol))
