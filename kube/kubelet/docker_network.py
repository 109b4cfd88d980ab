"""The pod network: one Docker bridge with the range of pod addresses. Every sandbox without hostNetwork is on it."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import docker
from docker.errors import APIError, NotFound

from kube.kubelet.runtime import RuntimeFailure

DEFAULT_MTU = 1500

log = logging.getLogger(__name__)


def ensure_network(client: docker.APIClient, name: str, cidr: str, bridge: str) -> None:
    """Create the network unless it is there. Raises RuntimeFailure when it is there with another range."""
    found = _ranges(client, name)
    if found is None:
        try:
            client.create_network(name, **network_options(cidr, bridge, default_mtu()), check_duplicate=True)
        except APIError as error:
            found = _ranges(client, name)  # another kubelet of this engine may have been faster
            if found is None:
                raise RuntimeFailure(_why(name, cidr, bridge, str(error.explanation or error))) from error
        else:
            log.info("created the pod network %s, %s", name, cidr)
            return
    if cidr not in found:
        raise RuntimeFailure(
            f"the Docker network {name} has the range {', '.join(found) or 'none'}, not {cidr}: "
            f"remove it (docker network rm {name}) or give its range as --pod-cidr"
        )


def network_options(cidr: str, bridge: str, mtu: int) -> dict[str, Any]:
    """What Docker is told of the network."""
    return {
        "driver": "bridge",
        "ipam": docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet=cidr)]),
        "options": {
            "com.docker.network.bridge.name": bridge,
            "com.docker.network.bridge.enable_icc": "true",
            "com.docker.network.bridge.enable_ip_masquerade": "true",
            "com.docker.network.driver.mtu": str(mtu),
        },
    }


def _ranges(client: docker.APIClient, name: str) -> list[str] | None:
    try:
        network = client.inspect_network(name)
    except NotFound:
        return None
    return [pool.get("Subnet", "") for pool in network["IPAM"]["Config"] or ()]


def _why(name: str, cidr: str, bridge: str, words: str) -> str:
    if "overlap" in words.lower():
        return (
            f"the pod network {name} cannot have the range {cidr}, another network or route of this machine covers "
            f"part of it: give another as --pod-cidr ({words})"
        )
    return f"cannot create the pod network {name}, {cidr}, bridge {bridge}: {words}"


def default_mtu() -> int:
    """The MTU of the default route: a pod's larger packets would not leave the machine."""
    with contextlib.suppress(OSError, ValueError), open("/proc/net/route") as routes:
        for line in routes:
            fields = line.split()
            if len(fields) > 7 and fields[1] == fields[7] == "00000000":
                with open(f"/sys/class/net/{fields[0]}/mtu") as mtu:
                    return int(mtu.read())
    return DEFAULT_MTU
