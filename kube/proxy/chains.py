"""The names of the proxy's chains, in any mode: by them a mode finds and removes what another one left.

They are Kubernetes' own (pkg/proxy/iptables), so that whoever has read the rules of a node before can read these.
KUBE-IP-… and its like are ours: the branches of the first chain, see tree.py.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import lru_cache

from kube.proxy.services import Backend, ServicePort

# Mode userspace
PORTALS_CONTAINER = "KUBE-PORTALS-CONTAINER"
PORTALS_HOST = "KUBE-PORTALS-HOST"
NODEPORT_CONTAINER = "KUBE-NODEPORT-CONTAINER"
NODEPORT_HOST = "KUBE-NODEPORT-HOST"
PORTALS_INPUT = "KUBE-PORTALS-INPUT"

# Mode iptables
MARK_MASQ = "KUBE-MARK-MASQ"
NODEPORTS = "KUBE-NODEPORTS"
POSTROUTING = "KUBE-POSTROUTING"
HAIRPIN = "KUBE-HAIRPIN"
FORWARD = "KUBE-FORWARD"
FIREWALL = "KUBE-FIREWALL"
PROXY_FIREWALL = "KUBE-PROXY-FIREWALL"

# Both
SERVICES = "KUBE-SERVICES"
EXTERNAL_SERVICES = "KUBE-EXTERNAL-SERVICES"

CLUSTER, LOCAL, BACKEND, EXTERNAL, SOURCES = "KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-EXT-", "KUBE-FW-"
"""One chain a service port (or backend): all its backends, those on this node, one backend, what comes from outside,
what a load balancer lets in."""
SERVICE_BRANCH, EXTERNAL_BRANCH, SOURCES_BRANCH = "KUBE-IP-", "KUBE-EIP-", "KUBE-FIP-"
HAIRPIN_BRANCH, PORT_BRANCH = "KUBE-LIP-", "KUBE-PORTS-"

_OURS = re.compile(
    "|".join(
        (
            *map(re.escape, (PORTALS_CONTAINER, PORTALS_HOST, NODEPORT_CONTAINER, NODEPORT_HOST, PORTALS_INPUT)),
            *map(re.escape, (MARK_MASQ, NODEPORTS, POSTROUTING, HAIRPIN, FORWARD, FIREWALL, PROXY_FIREWALL)),
            *map(re.escape, (SERVICES, EXTERNAL_SERVICES)),
            *(f"{prefix}[A-Z2-7]{{16}}" for prefix in (CLUSTER, LOCAL, BACKEND, EXTERNAL, SOURCES)),
            *(
                f"{prefix}[0-9.]+-[0-9]+"
                for prefix in (SERVICE_BRANCH, EXTERNAL_BRANCH, SOURCES_BRANCH, HAIRPIN_BRANCH)
            ),
            f"{PORT_BRANCH}(TCP|UDP)-[0-9]+-[0-9]+",
        )
    )
)


def ours(chain: str) -> bool:
    """Whether a chain belongs to the proxy, of whatever mode."""
    return _OURS.fullmatch(chain) is not None


def of_service(prefix: str, service: ServicePort) -> str:
    """The name of a service port's chain (portProtoHash: the same as Kubernetes gives it)."""
    return prefix + _hash(f"{service.name}{service.protocol.lower()}")


def of_backend(service: ServicePort, backend: Backend) -> str:
    """The name of a backend's chain (servicePortEndpointChainName)."""
    return BACKEND + _hash(f"{service.name}{service.protocol.lower()}{backend}")


@lru_cache(maxsize=16384)
def _hash(text: str) -> str:
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode()[:16]
