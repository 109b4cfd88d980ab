"""The pod network: one Docker bridge with the range of pod addresses. Every sandbox without hostNetwork is on it."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import sys
from typing import Any

import docker
from docker.errors import APIError, NotFound

from kube.kubelet.runtime import RuntimeFailure

DEFAULT_MTU = 1500

log = logging.getLogger(__name__)


def ensure_network(client: docker.APIClient, name: str, cidr: str, bridge: str, *, masquerade: bool = True) -> None:
    """Create the network unless it is there. Raises RuntimeFailure when it is there with another range."""
    found = _ranges(client, name)
    if found is None:
        # Another kubelet of this engine may be creating it at this moment: that is none in the way.
        in_the_way = _overlap(client, cidr, name) or conflict(
            cidr, _read("/proc/net/route"), _read("/etc/resolv.conf"), bridge
        )
        if in_the_way:
            raise RuntimeFailure(_refusal(name, cidr, in_the_way))
        try:
            client.create_network(
                name, **network_options(cidr, bridge, default_mtu(), masquerade), check_duplicate=True
            )
        except APIError as error:
            found = _ranges(client, name)  # the other kubelet was faster
            if found is None:
                raise RuntimeFailure(_refusal(name, cidr, str(error.explanation or error))) from error
        else:
            log.info("created the pod network %s, %s", name, cidr)
            return
    if cidr not in found:
        raise RuntimeFailure(
            f"the Docker network {name} has the range {', '.join(found) or 'none'}, not {cidr}: "
            f"remove it (docker network rm {name}) or give its range as --pod-cidr"
        )


def network_options(cidr: str, bridge: str, mtu: int, masquerade: bool = True) -> dict[str, Any]:
    """What Docker is told of the network. `masquerade`: what leaves the bridge bears the node's address."""
    return {
        "driver": "bridge",
        "ipam": docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet=cidr)]),
        "options": {
            "com.docker.network.bridge.name": bridge,
            "com.docker.network.bridge.enable_icc": "true",
            "com.docker.network.bridge.enable_ip_masquerade": "true" if masquerade else "false",
            "com.docker.network.driver.mtu": str(mtu),
        },
    }


def _ranges(client: docker.APIClient, name: str) -> list[str] | None:
    try:
        network = client.inspect_network(name)
    except NotFound:
        return None
    return [pool.get("Subnet", "") for pool in network["IPAM"]["Config"] or ()]


def _overlap(client: docker.APIClient, cidr: str, name: str) -> str:
    """The Docker network of another name whose range overlaps; "" if none does."""
    pods = ipaddress.ip_network(cidr)
    for network in client.networks():
        for pool in network["IPAM"]["Config"] or ():
            subnet = ipaddress.ip_network(pool.get("Subnet") or "::/128", strict=False)
            if subnet.overlaps(pods) and network["Name"] != name:
                return f"the Docker network {network['Name']} has {pool['Subnet']}"
    return ""


def _refusal(name: str, cidr: str, words: str) -> str:
    return f"cannot create the pod network {name} with the range {cidr} (another is given as --pod-cidr): {words}"


def conflict(cidr: str, routes: str, resolver: str, bridge: str) -> str:
    """What this machine already has inside the range, from its /proc/net/route and /etc/resolv.conf; "" if nothing.

    A route that is wider than the range is none (the bridge's own is more specific and wins), nor is the bridge's own.
    """
    pods = ipaddress.ip_network(cidr)
    for fields in _routes(routes):
        target, gateway, mask = (_address(fields[at]) for at in (1, 2, 7))
        network = ipaddress.IPv4Network(f"{target}/{mask}")
        if network.overlaps(pods) and network.prefixlen >= pods.prefixlen and fields[0] != bridge:
            return f"a route of this machine leads to {network} by {fields[0]}"
        if int(gateway) and gateway in pods:
            return f"it covers this machine's gateway {gateway}"
    for line in resolver.splitlines():
        match line.split():
            case ["nameserver", server, *_] if _within(server, pods):
                return f"it covers this machine's name server {server}"
    return ""


def _within(address: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(address) in network
    return False


def default_mtu() -> int:
    """The MTU of the default route: a pod's larger packets would not leave the machine."""
    for fields in _routes(_read("/proc/net/route")):
        if fields[1] == fields[7] == "00000000":
            with contextlib.suppress(ValueError):
                return int(_read(f"/sys/class/net/{fields[0]}/mtu"))
    return DEFAULT_MTU


def _routes(text: str) -> list[list[str]]:
    return [fields for line in text.splitlines()[1:] if len(fields := line.split()) > 7]


def _address(hexadecimal: str) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int(hexadecimal, 16).to_bytes(4, sys.byteorder))


def _read(path: str) -> str:
    with contextlib.suppress(OSError), open(path) as file:
        return file.read()
    return ""
