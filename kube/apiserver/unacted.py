"""What is stored although nothing here acts on it yet: whoever sets it is told so, in a `Warning` header.

The tables name it; when a daemon learns to act on a field or a kind, its line goes away. A field counts as set when it
is neither empty nor false; behind a path may stand the values that ask for nothing special, because they are what
happens anyway (`spec.os.name`: "linux").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kube.api import core, resources
from kube.api.meta import Object

Leaf = frozenset[Any]
"""The values of a field that need no warning."""
Tree = dict[str, "Tree | Leaf"]

MOST = 20
"""Warnings a request gets: a header has to stay small."""

# The kubelet (kube/kubelet) and the scheduler (kube/scheduler) do not look at these fields of a container,
_CONTAINER: dict[str, tuple[Any, ...]] = {
    "resizePolicy": (),
    "resources.claims": (),
    "securityContext.windowsOptions": (),
    "volumeDevices": (),
    "volumeMounts.recursiveReadOnly": ("Disabled",),
}

VOLUMES = ("configMap", "downwardAPI", "emptyDir", "hostPath", "projected", "secret")
"""The kinds of volumes that the kubelet has."""

# and not at these of a pod.
_POD_SPEC: dict[str, tuple[Any, ...]] = {
    **{f"{kind}.{field}": plain for kind in ("containers", "initContainers") for field, plain in _CONTAINER.items()},
    **{f"volumes.{kind}": () for kind in core.VolumeSource.model_fields if kind not in VOLUMES},
    "ephemeralContainers": (),
    "hostUsers": (True,),
    "os.name": ("linux",),
    "resourceClaims": (),
    "resources": (),
    "runtimeClassName": (),
    "securityContext.seLinuxChangePolicy": (),
    "securityContext.supplementalGroupsPolicy": ("Merge",),
    "securityContext.windowsOptions": (),
}

# The proxy (kube/proxy) does not look at these.
_SERVICE_SPEC: dict[str, tuple[Any, ...]] = {
    "ports.protocol": ("TCP", "UDP"),
}

FIELDS: dict[type[Object], dict[str, tuple[Any, ...]]] = {
    core.Pod: {f"spec.{field}": plain for field, plain in _POD_SPEC.items()},
    core.ReplicationController: {f"spec.template.spec.{field}": plain for field, plain in _POD_SPEC.items()},
    core.Service: {f"spec.{field}": plain for field, plain in _SERVICE_SPEC.items()},
    core.Node: {"spec.configSource": ()},
}

_ACTED_ON = (
    resources.PRIORITY_CLASSES,
    resources.CLUSTER_ROLES,
    resources.CLUSTER_ROLE_BINDINGS,
    resources.ROLES,
    resources.ROLE_BINDINGS,
)
"""Kinds that are only stored as far as the verbs go, and read by something here."""

KINDS: dict[resources.Resource, str] = {
    resources.ENDPOINT_SLICES: "the proxy reads Endpoints",
    **dict.fromkeys((each for each in resources.STORED_ONLY if each not in _ACTED_ON), "no controller here acts on it"),
    resources.POD_DISRUPTION_BUDGETS: "no controller here counts its pods",
}
"""Kinds of which nothing is acted on."""


def warnings(obj: Object) -> list[str]:
    """What of an object that a client wrote is only stored."""
    resource = resources.of(type(obj))
    if resource in KINDS:
        return [f"{resource.api_version} {resource.kind} is stored, but {KINDS[resource]}"]
    tree = _TREES.get(type(obj))
    if tree is None:
        return []
    found = [f"{where}: stored, but nothing here acts on it yet" for where in _set(obj, tree, "")]
    if len(found) > MOST:
        found[MOST:] = [f"{len(found) - MOST} more fields are stored, but nothing here acts on them yet"]
    return found


def _set(value: Any, tree: Tree, path: str) -> Iterator[str]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _set(item, tree, f"{path}[{index}]")
        return
    given = value.model_fields_set
    if given.isdisjoint(tree):
        return  # as of most parts of most objects
    for name, below in tree.items():
        if name not in given:
            continue
        part = getattr(value, name)
        where = f"{path}.{name}" if path else name
        if isinstance(below, dict):
            if part is not None:
                yield from _set(part, below, where)
        elif below and (isinstance(part, bool | str) or part is None):
            if part not in (None, "") and part not in below:
                yield f"{where}={str(part).lower() if isinstance(part, bool) else part}"
        elif part:
            yield where


def _tree(paths: Mapping[str, tuple[Any, ...]]) -> Tree:
    root: Tree = {}
    for path, plain in paths.items():
        *parents, last = path.split(".")
        node = root
        for name in parents:
            below = node.setdefault(name, {})
            assert isinstance(below, dict), f"{path} is below a field that is in the table itself"
            node = below
        node[last] = frozenset(plain)
    return root


_TREES: dict[type[Object], Tree] = {model: _tree(paths) for model, paths in FIELDS.items()}
