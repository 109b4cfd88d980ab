"""From a request to a verb and back: which verb a method means for a target, what its parameters are, and how the
result is shown (as the object, a list, a Table, a stream of events). Knows no sockets; see app.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import orjson

from kube.api import conversion, decode, errors, fields, labels, patch, resources
from kube.api.autoscaling import Scale
from kube.api.core import Binding
from kube.api.meta import DeleteOptions, Object
from kube.api.policy import Eviction
from kube.api.resources import Resource
from kube.apiserver import apply, body, reviews, streams, subresources, unacted, views
from kube.apiserver.cache import Cache
from kube.apiserver.components import DEPRECATED, Components
from kube.apiserver.eviction import evict
from kube.apiserver.nodes import NodeClient
from kube.apiserver.registry.pods import bind
from kube.apiserver.relay import relay
from kube.apiserver.request import JSON, Request, Response, Target
from kube.apiserver.verbs import ListOptions, Verbs
from kube.apiserver.watch import error_line, watch

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
Headers = list[tuple[bytes, bytes]]

DONE = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, apply.APPLY_PATCH)


class Handlers:
    """Answers requests for resources."""

    def __init__(self, verbs: Verbs, cache: Cache, nodes: NodeClient, components: Components | None = None) -> None:
        self.verbs = verbs
        self.components = components or Components(verbs.store)
        self.cache = cache
        self.nodes = nodes
        self.stopping = asyncio.Event()
        """Set at shutdown: ends the open watches."""

    async def handle(self, request: Request) -> Response:
        """The answer. Raises ApiError."""
        target = request.target
        resource = resources.by_plural(target.group, target.version, target.plural)
        if resource is None or (target.namespace and not resource.namespaced):
            raise errors.no_such_path()
        if resource in resources.ANSWERED:
            return await self._answered(request, resource)
        if target.subresource:
            return await self._subresource(request, resource)
        if request.method in ("GET", "HEAD"):
            watching = target.watch or request.query.flag("watch")
            if watching:
                return await self._watch(request, resource)
            return await (self._get(request, resource) if target.name else self._list(request, resource))
        _need_namespace(target, resource)
        if target.name:
            verb = {"PUT": self._update, "PATCH": self._patch, "DELETE": self._delete}.get(request.method)
        else:
            verb = {"POST": self._create, "DELETE": self._delete_collection}.get(request.method)
        if verb is None:
            raise errors.no_such_method()
        return await verb(request, resource)

    # Reads

    async def _get(self, request: Request, resource: Resource) -> Response:
        target = request.target
        _need_namespace(target, resource)
        version = request.query.text("resourceVersion")
        entry = await self.verbs.get(resource.stored, target.namespace, target.name, version)
        return _shown(resource, entry.value, request)

    async def _list(self, request: Request, resource: Resource) -> Response:
        options = _list_options(request, resource)
        listing = await self.verbs.list(resource.stored, request.target.namespace, options)
        meta: dict[str, Any] = {"resourceVersion": str(listing.revision)}
        if listing.continue_:
            meta["continue"] = listing.continue_
            if listing.remaining is not None:
                meta["remainingItemCount"] = listing.remaining
        view, media_type = _view(request)
        values = (conversion.shown(resource, entry.value) for entry in listing.entries)
        content = view.many(resource, meta, values)
        return Response(views.written(content, media_type, pretty=_pretty(request)), content_type=media_type)

    async def _watch(self, request: Request, resource: Resource) -> Response:
        query, target = request.query, request.target
        options = _list_options(request, resource)
        version = options.resource_version
        if version and not version.isdigit():
            raise errors.BadRequest(f"Invalid value: {errors.quote(version)}: strconv.ParseUint: invalid syntax")
        timeout = query.integer("timeoutSeconds")
        view, _ = _view(request)
        lines = await watch(
            self.cache,
            resource.stored,
            namespace=target.namespace,
            name=target.name,
            match=options.match(),
            resource_version=version,
            send_initial_events=query.flag("sendInitialEvents") if query.all("sendInitialEvents") else None,
            bookmarks=query.flag("allowWatchBookmarks"),
            timeout=None if timeout is None else float(timeout),
            render=None if view.plain and resource.shows is None else lambda value: _rendered(view, resource, value),
            shown_as=resource,
            stopping=self.stopping,
        )
        return Response(stream=_guarded(lines), headers=[(b"cache-control", b"no-cache, private")])

    # Writes

    async def _create(self, request: Request, resource: Resource) -> Response:
        target = request.target
        data, warnings = _read(request, resource.model)
        obj = decode.decode(resource.model, data)
        _check_namespace(obj, target)
        obj = conversion.to_stored(resource, obj)
        warnings += unacted.warnings(obj)
        value = await self.verbs.create(
            resource.stored, target.namespace, obj, dry_run=_dry_run(request), author=apply.author(request)
        )
        return _written(resource, value, request, warnings, status=201)

    async def _update(self, request: Request, resource: Resource) -> Response:
        return await self._put(request, resource, "")

    async def _put(self, request: Request, resource: Resource, subresource: str) -> Response:
        target = request.target
        data, warnings = _read(request, resource.model)
        obj = decode.decode(resource.model, data)
        _check_namespace(obj, target)
        if not obj.metadata.name:
            if not subresource:
                raise errors.BadRequest("the name of the object must be given in its metadata")
            obj.metadata.name = target.name
        if obj.metadata.name != target.name:
            raise errors.BadRequest(
                f"the name of the object ({obj.metadata.name}) does not match the name on the URL ({target.name})"
            )
        if not subresource:
            warnings += unacted.warnings(conversion.to_stored(resource, obj))
        value, created = await self.verbs.update(
            resource.stored, target.namespace, target.name, lambda _: conversion.to_stored(resource, obj.clone()),
            subresource=subresource, dry_run=_dry_run(request), author=apply.author(request),
        )  # fmt: skip
        return _written(resource, value, request, warnings, status=201 if created else 200)

    async def _patch(self, request: Request, resource: Resource, subresource: str = "") -> Response:
        if request.content_type == apply.APPLY_PATCH:
            return await self._apply(request, resource, subresource)
        target, model = request.target, resource.model
        author, patched = apply.author(request), _patch_of(request, model)
        warnings: list[str] = []

        def change(present: Object | None) -> Object:
            if present is None:
                raise errors.not_found(resource.plural, target.name, resource.group)
            # If the patch does not name a resourceVersion, it has the present one's, whichever that is by then.
            after = body.without_nulls(patched(conversion.from_stored(resource, present).to_dict()))
            if not isinstance(after, dict):
                raise errors.BadRequest("the patch leaves no object")
            _refuse_unknown(request, after, model, warnings)
            wanted = decode.decode(model, after)
            if wanted.metadata.name != present.metadata.name or wanted.metadata.namespace != present.metadata.namespace:
                found = [errors.invalid("metadata.name", wanted.metadata.name, "field is immutable")]
                raise errors.invalid_object(resource.kind, target.name, found, resource.group)
            stored = conversion.to_stored(resource, wanted)
            if not subresource:
                warnings.extend(unacted.warnings(stored))
            return stored

        value, _ = await self.verbs.update(
            resource.stored, target.namespace, target.name, change,
            subresource=subresource, dry_run=_dry_run(request), author=author,
        )  # fmt: skip
        return _written(resource, value, request, list(dict.fromkeys(warnings)))

    async def _apply(self, request: Request, resource: Resource, subresource: str) -> Response:
        target = request.target
        wanted = apply.read(request, resource)
        warnings: list[str] = []

        def change(present: Object | None) -> Object:
            before = None if present is None else conversion.from_stored(resource, present)
            after = conversion.to_stored(resource, wanted(before))
            if not subresource:
                warnings.extend(unacted.warnings(after))
            return after

        value, created = await self.verbs.update(
            resource.stored, target.namespace, target.name, change,
            subresource=subresource, dry_run=_dry_run(request), create=True,
        )  # fmt: skip
        return _written(resource, value, request, list(dict.fromkeys(warnings)), status=201 if created else 200)

    async def _delete(self, request: Request, resource: Resource) -> Response:
        target = request.target
        options = _delete_options(request)
        value, gone = await self.verbs.delete(resource.stored, target.namespace, target.name, options)
        if not gone or self.verbs.strategies[resource.stored].returns_deleted:
            return _shown(resource, value, request)
        uid = orjson.loads(value)["metadata"]["uid"]
        details = {"name": target.name, "group": resource.group, "kind": resource.plural, "uid": uid}
        status = {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": {key: value for key, value in details.items() if value},
        }  # fmt: skip
        return _json(status)

    async def _delete_collection(self, request: Request, resource: Resource) -> Response:
        selection = _list_options(request, resource)
        listing = await self.verbs.delete_collection(
            resource.stored, request.target.namespace, selection, _delete_options(request)
        )
        content = views.PLAIN.many(
            resource,
            {"resourceVersion": str(listing.revision)},
            (conversion.shown(resource, entry.value) for entry in listing.entries),
        )
        return Response(views.written(content, JSON, pretty=_pretty(request)))

    # Subresources

    async def _subresource(self, request: Request, resource: Resource) -> Response:
        target, name = request.target, request.target.subresource
        known = next((sub for sub in resource.subresources if sub.name == name), None)
        if known is None:
            raise errors.no_such_path()
        _need_namespace(target, resource)
        if name == "proxy":
            return await relay(request, resource, self.verbs, self.nodes.session)
        verb = {"GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "POST": "create"}.get(request.method)
        if verb not in known.verbs:
            raise errors.no_such_method()
        if name == "binding":
            return await self._bind(request)
        if name == "eviction":
            return await self._evict(request)
        if name in streams.SUBRESOURCES:
            return await streams.connect(request, self.verbs, self.nodes, self.stopping)
        if name == "log":
            return await subresources.log(request, self.verbs, self.nodes)
        if name == "scale":
            return await self._scale(request, resource)
        if name == "finalize":
            return await self._finalize(request, resource)
        if request.method in ("GET", "HEAD"):
            return await self._get(request, resource)
        if request.method == "PUT":
            return await self._put(request, resource, name)
        return await self._patch(request, resource, name)

    async def _bind(self, request: Request) -> Response:
        target = request.target
        data, _ = _read(request, Binding)
        binding = decode.decode(Binding, data)
        name = target.name or binding.metadata.name
        if not binding.target.name:
            raise errors.invalid_object("Binding", target.name, [errors.required("target.name")])
        if binding.target.kind not in ("", "Node", "Minion"):
            found = [errors.not_supported("target.kind", binding.target.kind, ["Node"])]
            raise errors.invalid_object("Binding", target.name, found)
        await self.verbs.update(
            resources.PODS, target.namespace, name, lambda pod: bind(pod, binding), subresource="binding"
        )
        return _json(DONE, 201)

    async def _evict(self, request: Request) -> Response:
        target = request.target
        data, _ = _read(request, Eviction)
        eviction = decode.decode(Eviction, data)
        _check_namespace(eviction, target)
        dry_run = _dry_run(request)
        await evict(self.verbs, target.namespace, target.name, eviction, dry_run=dry_run)
        return _json(DONE, 201)

    # What is not stored

    async def _answered(self, request: Request, resource: Resource) -> Response:
        """A request for a resource of which nothing is stored."""
        target = request.target
        reads = request.method in ("GET", "HEAD")
        verb = ("get" if target.name else "list") if reads else "create" if request.method == "POST" else ""
        if target.subresource or (target.name and not reads):
            raise errors.no_such_path()
        if verb not in resource.verbs or target.watch or request.query.flag("watch"):
            raise errors.no_such_method()
        _need_namespace(target, resource)
        if resource is resources.COMPONENT_STATUSES:
            return await self._component_statuses(request, resource)
        if resource is resources.BINDINGS:
            return await self._bind(request)
        data, warnings = _read(request, resource.model)
        answer = reviews.answer(decode.decode(resource.model, data))
        return _written(resource, answer.to_json(), request, warnings, status=201)

    async def _component_statuses(self, request: Request, resource: Resource) -> Response:
        headers = [(b"warning", f"299 - {errors.quote(DEPRECATED)}".encode())]
        if request.target.name:
            found = await self.components.get(request.target.name)
            return _shown(resource, found.to_json(), request, headers=headers)
        options = _list_options(request, resource)
        view, media_type = _view(request)
        listed = [
            component.to_json()
            for component in await self.components.list()
            if (options.labels is None or options.labels.matches(component.metadata.labels))
            and (options.fields is None or options.fields.matches(fields.of_object(component)))
        ]
        content = view.many(resource, {"resourceVersion": ""}, listed)
        return Response(views.written(content, media_type, pretty=_pretty(request)), 200, media_type, headers)

    async def _scale(self, request: Request, resource: Resource) -> Response:
        target = request.target
        if request.method in ("GET", "HEAD"):
            entry = await self.verbs.get(resource.stored, target.namespace, target.name)
            return _plain(subresources.scale_of(entry.decode()), request)
        if request.content_type == apply.APPLY_PATCH:
            # The change of a scale is one of the object: no other subresource's rules, and it must be there.
            value, _ = await self.verbs.update(
                resource.stored, target.namespace, target.name, apply.read_scale(request, resource, Scale),
                dry_run=_dry_run(request),
            )  # fmt: skip
            return _plain(subresources.scale_of(resource.model.parse(value)), request)
        wanted = _replacement(request) if request.method == "PUT" else _patch_of(request, Scale)

        def change(present: Object | None) -> Object:
            if present is None:
                raise errors.not_found(resource.plural, target.name, resource.group)
            return subresources.scaled(present, wanted)

        value, _ = await self.verbs.update(
            resource.stored,
            target.namespace,
            target.name,
            change,
            dry_run=_dry_run(request),
            author=apply.author(request),
        )
        return _plain(subresources.scale_of(resource.model.parse(value)), request)

    async def _finalize(self, request: Request, resource: Resource) -> Response:
        target = request.target
        data, warnings = _read(request, resource.model)
        wanted: Any = decode.decode(resource.model, data)

        def change(present: Any) -> Object:
            if present is None:
                raise errors.not_found(resource.plural, target.name, resource.group)
            present.spec.finalizers = wanted.spec.finalizers
            present.metadata.resourceVersion = wanted.metadata.resourceVersion
            return present  # type: ignore[no-any-return]  # what the store holds for this resource

        value, _ = await self.verbs.update(
            resource.stored, target.namespace, target.name, change,
            subresource="finalize", dry_run=_dry_run(request), author=apply.author(request),
        )  # fmt: skip
        return _written(resource, value, request, warnings)


async def _guarded(lines: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """An error after the first line is the stream's last line."""
    try:
        async for line in lines:
            yield line
    except errors.ApiError as error:
        yield error_line(error)


def _json(data: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(data), status)


def _view(request: Request) -> tuple[views.View, str]:
    return views.negotiate(request.header(b"accept"), request.query.text("includeObject"))


def _pretty(request: Request) -> bool:
    """Indented where it is asked for, or where a person will most likely read it (upstream's isPrettyPrint)."""
    if request.query.all("pretty"):
        return request.query.flag("pretty")
    return request.header(b"user-agent").startswith(("curl", "Wget", "Mozilla/5.0"))


def _shown(
    resource: Resource, value: bytes, request: Request, status: int = 200, headers: Headers | None = None
) -> Response:
    """One object, in the client's view and form."""
    view, media_type = _view(request)
    content = views.written(_rendered(view, resource, value), media_type, pretty=_pretty(request))
    return Response(content, status, media_type, headers or [])


def _rendered(view: views.View, resource: Resource, value: bytes) -> bytes:
    return view.one(resource, conversion.shown(resource, value))


def _plain(obj: Object, request: Request) -> Response:
    """An object that is not stored, and has no other view."""
    _, media_type = _view(request)
    return Response(views.written(obj.to_json(), media_type, pretty=_pretty(request)), content_type=media_type)


def _need_namespace(target: Target, resource: Resource) -> None:
    if resource.namespaced and not target.namespace:
        raise errors.no_such_method()


def _check_namespace(obj: Object, target: Target) -> None:
    if obj.metadata.namespace and obj.metadata.namespace != target.namespace:
        raise errors.BadRequest("the namespace of the provided object does not match the namespace sent on the request")
    obj.metadata.namespace = target.namespace


def _dry_run(request: Request) -> bool:
    asked = request.query.all("dryRun")
    if any(value != "All" for value in asked):
        found = [errors.not_supported("dryRun", asked[0], ["All"])]
        raise errors.invalid_object("CreateOptions", "", found, "meta.k8s.io")
    return bool(asked)


def _read(request: Request, model: type[Object]) -> tuple[dict[str, Any], list[str]]:
    """The body as data of the right kind, and warnings about it."""
    data = body.parse(request.body, request.content_type, model)
    warnings: list[str] = []
    _refuse_unknown(request, data, model, warnings)
    return data, warnings


def _refuse_unknown(request: Request, data: dict[str, Any], model: type[Object], warnings: list[str]) -> None:
    """Unknown fields are an error (`fieldValidation=Strict`), a warning (the default), or nothing (`Ignore`)."""
    level = request.query.text("fieldValidation", "Warn") or "Warn"
    if level == "Ignore":
        return
    if level not in ("Strict", "Warn"):
        found = [errors.not_supported("fieldValidation", level, ["Ignore", "Strict", "Warn"])]
        raise errors.invalid_object("CreateOptions", "", found, "meta.k8s.io")
    if level == "Strict":
        decode.decode(model, data, strict=True)
    warnings += [f'unknown field "{path}"' for path in decode.unknown_fields(model, data)]


def _written(resource: Resource, value: bytes, request: Request, warnings: list[str], status: int = 200) -> Response:
    headers = [(b"warning", f"299 - {errors.quote(text)}".encode()) for text in warnings]
    return _shown(resource, value, request, status, headers)


def _list_options(request: Request, resource: Resource) -> ListOptions:
    query = request.query
    by_labels, by_fields = query.text("labelSelector"), query.text("fieldSelector")
    version, matching = query.text("resourceVersion"), query.text("resourceVersionMatch")
    if matching and not version:
        why = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        found = [errors.field_forbidden("resourceVersionMatch", why)]
        raise errors.invalid_object("ListOptions", "", found, "meta.k8s.io")
    if matching and matching not in ("Exact", "NotOlderThan"):
        found = [errors.not_supported("resourceVersionMatch", matching, ["Exact", "NotOlderThan", ""])]
        raise errors.invalid_object("ListOptions", "", found, "meta.k8s.io")
    limit = query.integer("limit") or 0
    try:
        label_selector = labels.parse(by_labels) if by_labels else None
        field_selector = fields.parse(by_fields) if by_fields else None
    except (labels.SelectorError, fields.SelectorError) as error:
        raise errors.BadRequest(str(error)) from None
    if field_selector is not None:
        fields.check(field_selector, resource)
        field_selector = conversion.stored_selector(resource, field_selector)
    return ListOptions(
        labels=label_selector,
        fields=field_selector,
        limit=max(limit, 0),
        continue_=query.text("continue"),
        resource_version=version,
        resource_version_match=matching,
    )


def _delete_options(request: Request) -> DeleteOptions:
    options = DeleteOptions()
    if request.body.strip():
        data = body.parse(request.body, request.content_type, DeleteOptions)
        options = decode.decode(DeleteOptions, data)
    query = request.query
    grace = query.integer("gracePeriodSeconds")
    if grace is not None:
        options.gracePeriodSeconds = grace
    if query.text("propagationPolicy"):
        options.propagationPolicy = query.text("propagationPolicy")
    if _dry_run(request):
        options.dryRun = ["All"]
    if options.propagationPolicy not in (None, "Orphan", "Background", "Foreground"):
        found = [errors.not_supported("propagationPolicy", options.propagationPolicy,
                                      ["Foreground", "Background", "Orphan", "nil"])]  # fmt: skip
        raise errors.invalid_object("DeleteOptions", "", found, "meta.k8s.io")
    return options


def _replacement(request: Request) -> Callable[[dict[str, Any]], Any]:
    """The body of a PUT, in the form of a patch that leaves nothing of the present object."""
    data = body.parse(request.body, request.content_type, Scale)
    return lambda present: data


def _patch_of(request: Request, model: type[Object]) -> Callable[[dict[str, Any]], Any]:
    """The body of a PATCH as a function on an object's data. Raises UnsupportedMediaType, BadRequest."""
    kind = request.content_type
    if kind not in PATCH_TYPES:
        raise errors.UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: " + ", ".join(PATCH_TYPES)
        )
    try:
        content = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise errors.BadRequest(f"the patch is not valid JSON: {error}") from None
    if kind == JSON_PATCH:
        if not isinstance(content, list):
            raise errors.BadRequest("a JSON patch is a list of operations")
        return lambda present: patch.json_patch(present, content)
    if not isinstance(content, dict):
        raise errors.BadRequest("a merge patch is an object")
    if kind == MERGE_PATCH:
        return lambda present: patch.merge_patch(present, content)
    return lambda present: patch.strategic_merge_patch(present, content, model)
