"""Field managers on the wire: who makes a write, and what an apply configuration in a PATCH asks for.

(apiserver/pkg/endpoints/handlers/patch.go; meta/v1/validation)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from kube.api import decode, errors, managedfields, schema, typed
from kube.api.apply import Conflicts
from kube.api.managedfields import Author
from kube.api.meta import Object, now
from kube.api.resources import Resource
from kube.apiserver import body
from kube.apiserver.request import Request

APPLY_PATCH = "application/apply-patch+yaml"
MAX_MANAGER = 128
"""Bytes of a field manager's name."""


def author(request: Request) -> Author:
    """Who makes this write: the fieldManager, or else the first part of the User-Agent. Raises Invalid."""
    options = {"POST": "CreateOptions", "PUT": "UpdateOptions"}.get(request.method, "PatchOptions")
    name = request.query.text("fieldManager")
    found = _check_manager(name) if name else []
    if request.method == "PATCH" and request.content_type != APPLY_PATCH and request.query.all("force"):
        found.append(errors.field_forbidden("force", "may not be specified for non-apply patch"))
    if request.content_type == APPLY_PATCH and not name:
        found.append(errors.required("fieldManager", "is required for apply patch"))
    if found:
        raise errors.invalid_object(options, "", found, "meta.k8s.io")
    return Author(name or _from_user_agent(request.header(b"user-agent")), request.target.subresource)


def _check_manager(name: str) -> list[errors.FieldError]:
    found = []
    if len(name.encode()) > MAX_MANAGER:
        found.append(errors.too_long("fieldManager", name, MAX_MANAGER))
    for index, char in enumerate(name):
        if not char.isprintable():
            why = f"invalid character U+{ord(char):04X} (at position {index})"
            found.append(errors.invalid("fieldManager", name, why))
    return found


@lru_cache(maxsize=256)
def _from_user_agent(user_agent: str) -> str:
    printable = "".join(char for char in user_agent.partition("/")[0] if char.isprintable())
    return printable.encode()[:MAX_MANAGER].decode(errors="ignore")


@dataclass(frozen=True, slots=True)
class Apply:
    """What a manager wants an object to be, and whether it insists."""

    resource: Resource
    config: Mapping[str, Any]
    author: Author
    force: bool
    target: str
    """Name of the object."""

    def __call__(self, present: Object | None) -> Object:
        """The object with the configuration applied. Raises Conflict, BadRequest, Unclassified."""
        resource, model = self.resource, self.resource.model
        try:
            data = managedfields.applied(present, self.config, model, self.author, now(), force=self.force)
        except Conflicts as found:
            raise _conflict(found) from None
        except ValueError as error:
            raise errors.Unclassified(f"failed to merge config: {error}", code=500) from None
        wanted = decode.decode(model, body.without_nulls(data))
        if present is None and wanted.metadata.uid:
            why = (f"uid mismatch: the provided object specified uid {wanted.metadata.uid}, "
                   "and no existing object was found")  # fmt: skip
            raise errors.conflict(resource.plural, self.target, why, resource.group)
        return wanted


def read(request: Request, resource: Resource) -> Apply:
    """The apply configuration that a request carries. Raises BadRequest, Invalid."""
    target, model = request.target, resource.model
    who = author(request)
    config = _parse(request, model)
    _check_config(config, model, request)
    return Apply(resource, config, who, request.query.flag("force"), target.name)


def read_scale(request: Request, resource: Resource, scale: type[Object]) -> Apply:
    """A configuration of an object's scale, as one of the object itself."""
    who = author(request)
    config = _parse(request, scale)
    _check_config(config, scale, request)
    model = resource.model
    spec = {name: value for name, value in (config.get("spec") or {}).items() if name == "replicas"}
    own = {"kind": model.kind, "apiVersion": model.apiVersion, "metadata": config["metadata"], "spec": spec}
    return Apply(resource, own, who, request.query.flag("force"), request.target.name)


def _parse(request: Request, model: type[Object]) -> dict[str, Any]:
    try:
        return body.parse(request.body, "application/yaml", model)
    except errors.BadRequest as error:
        raise errors.BadRequest(f"error decoding YAML: {error.message}") from None


def _check_config(config: dict[str, Any], model: type[Object], request: Request) -> None:
    """Refuse what is no configuration of this very object."""
    target = request.target
    version, kind = config.get("apiVersion") or "", config.get("kind") or ""
    if (version, kind) != (model.apiVersion, model.kind):
        raise errors.BadRequest(f"invalid object type: {_go_kind(str(version), str(kind))}")
    meta = config.setdefault("metadata", {})
    if not isinstance(meta, dict):
        raise errors.BadRequest("metadata is not an object")
    if "managedFields" in meta:
        raise errors.BadRequest("metadata.managedFields must be nil")
    if wrong := list(typed.check(config, schema.of(model))):
        name, namespace = meta.get("name") or "", meta.get("namespace") or target.namespace
        lines = wrong[0] if len(wrong) == 1 else "errors:\n" + "\n".join(f"  {line}" for line in wrong)
        raise errors.Unclassified(
            f"failed to create typed patch object ({namespace}/{name}; {_go_kind(version, kind)}): {lines}", code=500
        )
    if not meta.get("name"):
        raise errors.BadRequest(
            f"the name of the object ({target.name} based on URL) was undeterminable: name must be provided"
        )
    if meta["name"] != target.name:
        raise errors.BadRequest(
            f"the name of the object ({meta['name']}) does not match the name on the URL ({target.name})"
        )
    if meta.get("namespace") not in (None, "", target.namespace):
        raise errors.BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    if target.namespace:
        meta["namespace"] = target.namespace


def _go_kind(version: str, kind: str) -> str:
    return f"{version if '/' in version else '/' + version}, Kind={kind}"


def _conflict(found: Conflicts) -> errors.Conflict:
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {conflict.manager}", "field": conflict.field}
        for conflict in found.conflicts
    ]
    return errors.Conflict(str(found), details={"causes": causes})
