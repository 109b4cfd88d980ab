"""Rules for endpoints."""

from __future__ import annotations

from kube.api import core, names
from kube.api.errors import required
from kube.api.validation import addresses, containers
from kube.api.validation.meta import Errors, each, object_meta, object_meta_update, one_of


def validate(endpoints: core.Endpoints) -> Errors:
    """Endpoints, new or changed."""
    yield from object_meta(endpoints.metadata, names.dns_subdomain)
    for i, subset in enumerate(endpoints.subsets):
        path = f"subsets[{i}]"
        if not subset.addresses and not subset.notReadyAddresses:
            yield required(path, "must specify `addresses` or `notReadyAddresses`")
        for j, address in enumerate(subset.addresses):
            yield from _address(f"{path}.addresses[{j}]", address)
        for j, address in enumerate(subset.notReadyAddresses):
            yield from _address(f"{path}.notReadyAddresses[{j}]", address)
        for j, port in enumerate(subset.ports):
            yield from _port(f"{path}.ports[{j}]", port, name_required=len(subset.ports) > 1)


def validate_update(new: core.Endpoints, old: core.Endpoints) -> Errors:
    """Changed endpoints."""
    yield from object_meta_update(new.metadata, old.metadata)
    yield from validate(new)


def _address(path: str, address: core.EndpointAddress) -> Errors:
    if address.hostname:
        yield from each(f"{path}.hostname", address.hostname, names.dns_label(address.hostname))
    if address.nodeName is not None:
        yield from each(f"{path}.nodeName", address.nodeName, names.dns_subdomain(address.nodeName))
    yield from addresses.reachable(f"{path}.ip", address.ip)


def _port(path: str, port: core.EndpointPort, *, name_required: bool) -> Errors:
    if port.name:
        yield from each(f"{path}.name", port.name, names.dns_label(port.name))
    elif name_required:
        yield required(f"{path}.name")
    yield from each(f"{path}.port", port.port, names.port_number(port.port))
    yield from one_of(f"{path}.protocol", port.protocol, containers.PROTOCOLS)
    if port.appProtocol is not None:
        yield from each(f"{path}.appProtocol", port.appProtocol, names.qualified(port.appProtocol))
