"""The subresources that are more than a part of the stored object: each has rules of its own, or is no object at all.

`status`, and whatever else only confines which part of the object a write may touch, is handlers.py's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from kube.api import decode, errors, resources
from kube.api.core import Binding
from kube.api.meta import Object
from kube.api.policy import Eviction
from kube.api.resources import Resource
from kube.apiserver import answers, apply, body, parameters, podlog, streams
from kube.apiserver.access import Access
from kube.apiserver.eviction import evict
from kube.apiserver.nodes import NodeClient
from kube.apiserver.registry.pods import bind
from kube.apiserver.relay import relay
from kube.apiserver.request import Request, Response
from kube.apiserver.scale import scale
from kube.apiserver.verbs import Verbs

DONE = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}

VERBS = {"GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "POST": "create"}

Handler = Callable[[Request, Resource], Awaitable[Response]]


class Subresources:
    """Answers requests for subresources with rules of their own."""

    def __init__(self, verbs: Verbs, nodes: NodeClient, stopping: asyncio.Event, access: Access) -> None:
        self.verbs = verbs
        self.nodes = nodes
        self.stopping = stopping
        self._handlers: dict[str, Handler] = {
            "binding": lambda request, _: bind_pod(request, verbs),
            "eviction": self._evict,
            "finalize": self._finalize,
            "log": lambda request, _: podlog.log(request, verbs, nodes),
            "proxy": lambda request, resource: relay(request, resource, verbs, nodes, stopping),
            "scale": lambda request, resource: scale(request, resource, verbs),
            "token": access.request_token,
            **dict.fromkeys(streams.SUBRESOURCES, self._connect),
        }

    def find(self, request: Request, resource: Resource) -> Handler | None:
        """Who answers; None if it is only a part of the object. Raises NotFound, MethodNotAllowed."""
        target, name = request.target, request.target.subresource
        known = next((sub for sub in resource.subresources if sub.name == name), None)
        if known is None:
            raise errors.no_such_path()
        parameters.need_namespace(target, resource)
        if name != "proxy" and VERBS.get(request.method) not in known.verbs:
            raise errors.no_such_method()
        return self._handlers.get(name)

    async def _connect(self, request: Request, resource: Resource) -> Response:
        return await streams.connect(request, self.verbs, self.nodes, self.stopping)

    async def _evict(self, request: Request, resource: Resource) -> Response:
        target = request.target
        data, _ = body.read(request, Eviction)
        if data.get("apiVersion") == "policy/v1beta1":
            data["apiVersion"] = Eviction.apiVersion  # as kubectl sends it, until 1.21
        eviction = decode.decode(Eviction, data)
        parameters.check_namespace(eviction, target)
        dry_run = parameters.dry_run(request)
        await evict(self.verbs, target.namespace, target.name, eviction, dry_run=dry_run)
        return answers.json(DONE, 201)

    async def _finalize(self, request: Request, resource: Resource) -> Response:
        target = request.target
        data, warnings = body.read(request, resource.model)
        wanted: Any = decode.decode(resource.model, data)

        def change(present: Any) -> Object:
            if present is None:
                raise errors.not_found(resource.plural, target.name, resource.group)
            present.spec.finalizers = wanted.spec.finalizers
            present.metadata.resourceVersion = wanted.metadata.resourceVersion
            return present  # type: ignore[no-any-return]  # what the store holds for this resource

        value, _ = await self.verbs.update(
            resource.stored, target.namespace, target.name, change,
            subresource="finalize", dry_run=parameters.dry_run(request), author=apply.author(request),
        )  # fmt: skip
        return answers.written(resource, value, request, warnings)


async def bind_pod(request: Request, verbs: Verbs) -> Response:
    """A Binding, sent to a pod or to the collection of bindings. Raises ApiError."""
    target = request.target
    data, _ = body.read(request, Binding)
    binding = decode.decode(Binding, data)
    name = target.name or binding.metadata.name
    if binding.metadata.name not in ("", name):
        raise errors.BadRequest("name in URL does not match name in Binding object")
    parameters.check_namespace(binding, target)
    if not binding.target.name:
        raise errors.invalid_object("Binding", target.name, [errors.required("target.name")])
    if binding.target.kind not in ("", "Node", "Minion"):
        found = [errors.not_supported("target.kind", binding.target.kind, ["Node"])]
        raise errors.invalid_object("Binding", target.name, found)
    dry_run = parameters.dry_run(request)
    await verbs.update(
        resources.PODS, target.namespace, name, lambda pod: bind(pod, binding), subresource="binding", dry_run=dry_run
    )
    return answers.json(DONE, 201)
