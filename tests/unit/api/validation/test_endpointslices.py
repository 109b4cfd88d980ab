"""Rules for endpoint slices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kube.api.discovery import EndpointSlice

Complaints = Callable[..., list[str]]


def endpoint_slice(*addresses: str, kind: str = "IPv4", ports: Any = (), **endpoint: Any) -> dict[str, Any]:
    endpoints = [{"addresses": list(addresses), **endpoint}]
    meta = {"name": "a", "namespace": "default"}
    return {"metadata": meta, "addressType": kind, "endpoints": endpoints, "ports": list(ports)}


NEW: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a slice": (endpoint_slice("10.0.0.1", ports=[{"port": 80}], hostname="a", nodeName="n", zone="z"), []),
    "of IPv6": (endpoint_slice("fd00::1", kind="IPv6"), []),
    "of names": (endpoint_slice("example.com", kind="FQDN"), []),
    "without endpoints": ({"metadata": {"name": "a", "namespace": "b"}, "addressType": "IPv4"}, []),
    "without a type": (endpoint_slice("x", kind=""), ["addressType: Required value"]),
    "of a type that is not known": (
        endpoint_slice("x", kind="IP"),
        ['addressType: Unsupported value: "IP": supported values: "FQDN", "IPv4", "IPv6"'],
    ),
    "an endpoint without address": (
        endpoint_slice(),
        ["endpoints[0].addresses: Required value: must contain at least 1 address"],
    ),
    "an address of the other family": (
        endpoint_slice("fd00::1"),
        ['endpoints[0].addresses[0]: Invalid value: "fd00::1": must be a valid IPv4 address'],
    ),
    "an address of this host alone": (
        endpoint_slice("127.0.0.1"),
        ['endpoints[0].addresses[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, '
         "::1/128)"],
    ),
    "a name without domain": (
        endpoint_slice("web", kind="FQDN"),
        ['endpoints[0].addresses[0]: Invalid value: "web": should be a domain with at least two segments separated by '
         "dots"],
    ),
    "too many addresses": (
        endpoint_slice(*["10.0.0.1"] * 101),
        ["endpoints[0].addresses: Too many: 101: must have at most 100 items"],
    ),
    "two ports of one name": (
        endpoint_slice("10.0.0.1", ports=[{"name": "a"}, {"name": "a"}]),
        ['ports[1].name: Duplicate value: "a"'],
    ),
    "a protocol that is not known": (
        endpoint_slice("10.0.0.1", ports=[{"protocol": "ICMP"}]),
        ['ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"'],
    ),
    "a zone hinted at twice": (
        endpoint_slice("10.0.0.1", hints={"forZones": [{"name": "z"}, {"name": "z"}]}),
        ['endpoints[0].hints.forZones[1].name: Duplicate value: "z"'],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), NEW.values(), ids=NEW)
def test_new_slices(complaints: Complaints, data: dict[str, Any], expected: list[str]) -> None:
    assert complaints(EndpointSlice, data) == expected


def test_the_type_of_addresses_stays(update_complaints: Complaints) -> None:
    old, new = endpoint_slice("10.0.0.1"), endpoint_slice("fd00::1", kind="IPv6")
    assert update_complaints(EndpointSlice, new, old) == ['addressType: Invalid value: "IPv6": field is immutable']
