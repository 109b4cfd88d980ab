"""Where things are in etcd: Kubernetes' own layout, so that a kube-apiserver finds every object (docs/architecture.md).

Everything is under `/registry`. Besides the objects there are two kinds of keys that belong to another object and are
written in its transaction: the pods of a node under that node (etcd cannot filter by `spec.nodeName`), and the claims
on cluster IPs and node ports (two apiservers cannot hand out one address twice).
"""

from __future__ import annotations

from kube.api.resources import Resource

ROOT = "/registry/"
BOUND_PODS = ROOT + "nodes/"
IP_CLAIMS = ROOT + "ipaddresses/"
NODE_PORT_CLAIMS = ROOT + "nodeports/"


def prefix(resource: Resource, namespace: str = "") -> str:
    """Under which all objects of a resource are, or those in one namespace. Ends with a slash."""
    base = f"{ROOT}{resource.prefix}/"
    return f"{base}{namespace}/" if namespace else base


def object_key(resource: Resource, namespace: str, name: str) -> str:
    """Where an object is."""
    return f"{ROOT}{resource.prefix}/{namespace}/{name}" if namespace else f"{ROOT}{resource.prefix}/{name}"


def bound_pods_prefix(node: str) -> str:
    """Under which the pods bound to a node are: what its kubelet watches."""
    return f"{BOUND_PODS}{node}/boundpods/"


def bound_pod_key(node: str, namespace: str, name: str) -> str:
    """Where a bound pod is."""
    return f"{bound_pods_prefix(node)}{namespace}/{name}"


def ip_claim_key(ip: str) -> str:
    """Where the claim on a cluster IP is: an IPAddress object."""
    return f"{IP_CLAIMS}{ip}"


def node_port_claim_key(port: int) -> str:
    """Where the claim on a node port is."""
    return f"{NODE_PORT_CLAIMS}{port}"
