"""How a kind's values are put together, as far as server-side apply must know: what is merged field by field, what is
one thing that has one owner, and by which keys a list's items are known.

It is read off the models: a model is a struct of its fields, a `dict` a map that is merged by its keys, a list one
thing. What is otherwise is said here, in the words of upstream's markers (`+listType`, `+listMapKey`, `+mapType`,
`+structType`); most lists that are merged by a key have the same one in a strategic merge patch, whose table is used.
Kinds that are only stored are deduced from their values, as a custom resource without a schema is, but for the parts
that are named here: the template of a pod, a selector, the conditions of a status.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, get_args, get_origin

from kube.api import core, decode
from kube.api.container import AnyContainer, ResourceRequirements
from kube.api.meta import Model, Object, ObjectMeta
from kube.api.patch import MERGE_KEYS, VALUES
from kube.api.unstructured import Unstructured


@dataclass(frozen=True)
class Shape:
    """How values of some type are merged. What a value is (map, list or plain) says the value itself."""

    fields: Mapping[str, Shape] = field(default_factory=dict)
    """Of a struct: its fields."""
    element: Shape | None = None
    """Of a map or list: what its values or items are. None: a struct, which has no other fields."""
    atomic: bool = False
    """The value has one owner, as a whole."""
    keys: tuple[str, ...] = ()
    """Of a list: what its items are known by."""
    values: bool = False
    """Of a list: it is a set of plain values."""

    def of(self, name: str) -> Shape:
        """The shape of a field or of a map's value. Raises KeyError for a field that the struct does not have."""
        found = self.fields.get(name, self.element)
        if found is None:
            raise KeyError(name)
        return found


LEAF = Shape(atomic=True)
"""A plain value, or something that is treated like one."""


class _Deduced(Shape):
    """Whatever it is: maps are merged, lists are not."""

    def of(self, name: str) -> Shape:
        return self


DEDUCED = _Deduced(element=LEAF)
ATOMIC_STRUCTS = frozenset({
    "LabelSelector", "LocalObjectReference", "TypedLocalObjectReference", "ObjectReference", "OwnerReference",
    "SecretReference", "ConfigMapKeySelector", "SecretKeySelector", "ObjectFieldSelector", "ResourceFieldSelector",
    "NodeSelector", "NodeSelectorTerm", "TopologySelectorTerm", "ScopeSelector", "ScopedResourceSelectorRequirement",
    "EndpointAddress", "EndpointPort",
})  # fmt: skip
"""`+structType=atomic`: upstream's names of the types."""

ATOMIC_MAPS: Mapping[type[Model], frozenset[str]] = {
    core.PodSpec: frozenset({"nodeSelector"}),
    core.ServiceSpec: frozenset({"selector"}),
    core.ReplicationControllerSpec: frozenset({"selector"}),
}
"""`+mapType=atomic`"""

LIST_KEYS: Mapping[type[Model], Mapping[str, tuple[str, ...]]] = {
    AnyContainer: {"ports": ("containerPort", "protocol")},
    ResourceRequirements: {"claims": ("name",)},
    core.PodSpec: {"topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable")},
    core.PodStatus: {"hostIPs": ()},
    core.ServiceSpec: {"ports": ("port", "protocol")},
}
"""`+listMapKey`, where it is not the key of a strategic merge patch; without keys the list is one thing."""

KEY_DEFAULTS: Mapping[str, Any] = {"protocol": "TCP", "port": 0, "containerPort": 0}
"""What an item that leaves out a key has for it (other keys: "")."""


@cache
def of(model: type[Model]) -> Shape:
    """The shape of a model's objects."""
    if issubclass(model, Unstructured):
        return _unstructured(model)
    fields = {name: _field(model, name, annotation) for name, annotation in decode.fields(model).items()}
    if issubclass(model, Object):
        fields |= {"kind": LEAF, "apiVersion": LEAF}
    return Shape(fields, atomic=any(base.__name__ in ATOMIC_STRUCTS for base in model.__mro__[:1]))


def _field(model: type[Model], name: str, annotation: Any) -> Shape:
    annotation = decode.plain(annotation)
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is list:
        keys = _keys(model, name)
        if keys == (VALUES,):
            return Shape(element=LEAF, values=True)
        element = _element(args[0])
        return Shape(element=element, keys=keys, atomic=not keys)
    if origin is dict:
        atomic = any(name in ATOMIC_MAPS.get(base, ()) for base in model.__mro__)
        return Shape(element=_element(args[1]), atomic=atomic)
    return _element(annotation)


def _element(annotation: Any) -> Shape:
    annotation = decode.plain(annotation)
    return of(annotation) if isinstance(annotation, type) and issubclass(annotation, Model) else LEAF


def _keys(model: type[Model], name: str) -> tuple[str, ...]:
    for base in model.__mro__:
        if name in LIST_KEYS.get(base, {}):
            return LIST_KEYS[base][name]
        if name in MERGE_KEYS.get(base, {}):
            return (MERGE_KEYS[base][name],)
    return ()


def _open(fields: Mapping[str, Shape]) -> Shape:
    """A part of which only some fields are known."""
    return Shape(fields, DEDUCED)


def _list(*keys: str, **fields: Shape) -> Shape:
    return Shape(element=_open(fields), keys=keys)


_WORKLOAD = {"template": of(core.PodTemplateSpec), "selector": LEAF}
_PARTS: Mapping[str, Mapping[str, Shape]] = {
    "Job": {"spec": _open(_WORKLOAD)},
    "CronJob": {"spec": _open({"jobTemplate": _open({"metadata": of(ObjectMeta), "spec": _open(_WORKLOAD)})})},
    **{kind: {"spec": _open(_WORKLOAD)} for kind in ("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet")},
    "NetworkPolicy": {"spec": _open({"podSelector": LEAF})},
    "PodDisruptionBudget": {"spec": _open({"selector": LEAF})},
    "PersistentVolumeClaim": {"spec": _open({"selector": LEAF, "dataSource": LEAF})},
    "PersistentVolume": {"spec": _open({"claimRef": LEAF})},
    "CSINode": {"spec": _open({"drivers": _list("name")})},
    "IngressClass": {"spec": _open({})},
    **{kind: {"roleRef": LEAF} for kind in ("RoleBinding", "ClusterRoleBinding")},
    **{
        kind: {"webhooks": _list("name", namespaceSelector=LEAF, objectSelector=LEAF, matchConditions=_list("name"))}
        for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
    },
}
_STATUS = _open({"conditions": _list("type")})


def _unstructured(model: type[Unstructured]) -> Shape:
    known: dict[str, Shape] = {"kind": LEAF, "apiVersion": LEAF, "metadata": of(ObjectMeta), "spec": _open({})}
    return Shape({**known, "status": _STATUS, **_PARTS.get(model.kind, {})}, DEDUCED)
