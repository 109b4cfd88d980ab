"""Rules for what a pod may learn about itself, by environment or by files: the downward API."""

from __future__ import annotations

from collections.abc import Collection

from kube.api import core, names, quantity
from kube.api.errors import invalid, not_supported, required
from kube.api.validation.meta import Errors, each

ENV_FIELDS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
VOLUME_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_KNOWN = {*ENV_FIELDS, *VOLUME_FIELDS, "spec.restartPolicy", "spec.schedulerName", "status.phase"}

_RESOURCES = ("limits.cpu", "limits.ephemeral-storage", "limits.memory",
              "requests.cpu", "requests.ephemeral-storage", "requests.memory")  # fmt: skip
_HUGE_PAGES = ("limits.hugepages-", "requests.hugepages-")
_CPU_UNITS = ("1m", "1")
_BYTE_UNITS = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")


def split_subscript(path: str) -> tuple[str, str] | None:
    """`metadata.labels['app']` as path and subscript; None if there is no subscript."""
    if not path.endswith("']") or "['" not in path:
        return None
    name, _, subscript = path[:-2].partition("['")
    return (name, subscript) if name else None


def field_ref(path: str, reference: core.ObjectFieldSelector, fields: Collection[str]) -> Errors:
    """A field of the pod, which must be one of these."""
    if not reference.apiVersion:
        yield required(f"{path}.apiVersion")
        return
    if not reference.fieldPath:
        yield required(f"{path}.fieldPath")
        return
    wanted = "spec.nodeName" if reference.fieldPath == "spec.host" else reference.fieldPath
    subscripted = split_subscript(wanted)
    problem = ""
    if reference.apiVersion != "v1":
        problem = f"unsupported pod version: {reference.apiVersion}"
    elif subscripted is not None and subscripted[0] not in ("metadata.annotations", "metadata.labels"):
        problem = f"field label does not support subscript: {wanted}"
    elif subscripted is None and wanted not in _KNOWN:
        problem = f"field label not supported: {wanted}"
    if problem:
        yield invalid(f"{path}.fieldPath", reference.fieldPath, f"error converting fieldPath: {problem}")
    elif subscripted is not None:
        name, key = subscripted
        yield from each(path, key, names.qualified(key.lower() if name == "metadata.annotations" else key))
    elif wanted not in fields:
        yield not_supported(f"{path}.fieldPath", wanted, sorted(fields))


def resource_ref(path: str, reference: core.ResourceFieldSelector, *, in_volume: bool = False) -> Errors:
    """A request or limit of a container."""
    resource = reference.resource
    if in_volume and not reference.containerName:
        yield required(f"{path}.containerName")
    elif not resource:
        yield required(f"{path}.resource")
    elif resource not in _RESOURCES and not resource.startswith(_HUGE_PAGES):
        yield not_supported(f"{path}.resource", resource, _RESOURCES)
    if not quantity.parse(reference.divisor):
        return
    if resource in ("limits.cpu", "requests.cpu"):
        if reference.divisor not in _CPU_UNITS:
            detail = "only divisor's values 1m and 1 are supported with the cpu resource"
            yield invalid(f"{path}.divisor", resource, detail)
    elif reference.divisor not in _BYTE_UNITS:
        kind = "memory" if resource.endswith(".memory") else "local ephemeral storage"
        if resource.startswith(_HUGE_PAGES):
            kind = "hugepages"
        detail = f"only divisor's values {', '.join(_BYTE_UNITS)} are supported with the {kind} resource"
        yield invalid(f"{path}.divisor", resource, detail)
