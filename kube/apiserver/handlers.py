"""From a request to a verb and back, for the objects that are stored: which verb a method means for a target, and how
its result is shown. Knows no sockets (app.py), and nothing of what is special to a subresource (subresources.py).
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any

import orjson

from kube.api import conversion, decode, errors, resources
from kube.api.meta import Object
from kube.api.resources import Resource
from kube.apiserver import answers, apply, body, parameters, patches, unacted, views
from kube.apiserver.access import Access
from kube.apiserver.cache import Cache
from kube.apiserver.components import Components
from kube.apiserver.listing import parse_version
from kube.apiserver.nodes import NodeClient
from kube.apiserver.request import CHUNK, JSON, Request, Response, Target
from kube.apiserver.subresources import Handler, Subresources
from kube.apiserver.unstored import Unstored
from kube.apiserver.verbs import Verbs
from kube.apiserver.watch import watch

METHODS = {"get": ("GET", "HEAD"), "update": ("PUT",), "patch": ("PATCH",), "delete": ("DELETE",)}
"""Of an object, by verb."""
METHODS_OF_COLLECTION = {"list": ("GET", "HEAD"), "create": ("POST",), "deletecollection": ("DELETE",)}


@lru_cache(maxsize=1000)
def _allowed_for(resource: Resource, *, named: bool, reads_only: bool) -> tuple[str, ...]:
    by_verb = METHODS if named else METHODS_OF_COLLECTION
    found = (method for verb in resource.verbs for method in by_verb.get(verb, ()))
    return tuple(sorted(method for method in found if not reads_only or method in ("GET", "HEAD")))


def _allowed(resource: Resource, target: Target) -> tuple[str, ...]:
    """The methods of an object or a collection; of all namespaces together, things can only be read."""
    return _allowed_for(resource, named=bool(target.name), reads_only=resource.namespaced and not target.namespace)


class Handlers:
    """Answers requests for resources."""

    def __init__(
        self,
        verbs: Verbs,
        cache: Cache,
        nodes: NodeClient,
        components: Components | None = None,
        access: Access | None = None,
    ) -> None:
        access = access or Access()
        self.verbs = verbs
        self.cache = cache
        self.stopping = asyncio.Event()
        """Set at shutdown: ends the open watches."""
        self._subresources = Subresources(verbs, nodes, self.stopping, access)
        self._unstored = Unstored(verbs, components or Components(verbs.store), access)
        self._of_collection: dict[str, Handler] = {"POST": self._create, "DELETE": self._delete_collection}
        self._of_object: dict[str, Handler] = {
            "GET": self._get, "HEAD": self._get, "PUT": self._put, "PATCH": self._patch, "DELETE": self._delete,
        }  # fmt: skip

    async def handle(self, request: Request) -> Response:
        """The answer. Raises ApiError."""
        target, method = request.target, request.method
        resource = resources.by_plural(target.group, target.version, target.plural)
        if resource is None or (target.namespace and not resource.namespaced):
            raise errors.no_such_path()
        if resource in resources.ANSWERED:
            return await self._unstored.handle(request, resource)
        if target.subresource:
            special = self._subresources.find(request, resource)
            if special is not None:
                return await special(request, resource)
        elif method in ("GET", "HEAD"):
            if target.watch or request.query.flag("watch"):
                return await self._watch(request, resource)
            if not target.name:
                return await self._list(request, resource)
        if target.name and resource.namespaced and not target.namespace:
            raise errors.no_such_path()  # an object is in its namespace
        allowed = _allowed(resource, target)
        if method not in allowed and not target.subresource:
            refused = errors.no_such_method()
            refused.allowed = allowed
            raise refused
        return await (self._of_object if target.name else self._of_collection)[method](request, resource)

    # Reads

    async def _get(self, request: Request, resource: Resource) -> Response:
        target = request.target
        version = request.query.text("resourceVersion")
        entry = await self.verbs.get(resource.stored, target.namespace, target.name, version)
        return answers.shown(resource, entry.value, request)

    async def _list(self, request: Request, resource: Resource) -> Response:
        options = parameters.list_options(request, resource)
        listing = await self.verbs.list(resource.stored, request.target.namespace, options)
        meta: dict[str, Any] = {"resourceVersion": str(listing.revision)}
        if listing.continue_:
            meta["continue"] = listing.continue_
            if listing.remaining is not None:
                meta["remainingItemCount"] = listing.remaining
        view, media_type = answers.view_of(request)
        pretty = answers.pretty(request)
        if view.plain and resource.shows is None and media_type == JSON and not pretty:
            large = views.large(resource, meta, [entry.value for entry in listing.entries])
            return Response(large=large) if large.size > CHUNK else Response(b"".join(large.chunks()))
        values = (conversion.shown(resource, entry.value) for entry in listing.entries)
        content = view.many(resource, meta, values)
        return Response(views.written(content, media_type, pretty=pretty), content_type=media_type)

    async def _watch(self, request: Request, resource: Resource) -> Response:
        query, target = request.query, request.target
        options = parameters.list_options(request, resource, watch=True)
        version = options.resource_version
        if version:
            parse_version(version)
        timeout = query.integer("timeoutSeconds")
        view, _ = answers.view_of(request)
        as_stored = view.plain and resource.shows is None
        render, render_bookmark = (None, None) if as_stored else answers.followed(view, resource)
        lines = await watch(
            self.cache,
            resource.stored,
            namespace=target.namespace,
            name=target.name,
            match=options.match(),
            resource_version=version,
            send_initial_events=query.flag("sendInitialEvents") if query.all("sendInitialEvents") else None,
            bookmarks=query.flag("allowWatchBookmarks"),
            timeout=float(timeout) if timeout else None,
            render=render,
            render_bookmark=render_bookmark,
            shown_as=resource,
            stopping=self.stopping,
        )
        return Response(stream=answers.guarded(lines), headers=[(b"cache-control", b"no-cache, private")])

    # Writes

    async def _create(self, request: Request, resource: Resource) -> Response:
        target = request.target
        data, warnings = body.read(request, resource.model)
        obj = decode.decode(resource.model, data)
        parameters.check_namespace(obj, target)
        obj = conversion.to_stored(resource, obj)
        warnings += unacted.warnings(obj)
        value = await self.verbs.create(
            resource.stored, target.namespace, obj, dry_run=parameters.dry_run(request), author=apply.author(request)
        )
        return answers.written(resource, value, request, warnings, status=201)

    async def _put(self, request: Request, resource: Resource) -> Response:
        target, subresource = request.target, request.target.subresource
        data, warnings = body.read(request, resource.model)
        obj = decode.decode(resource.model, data)
        parameters.check_namespace(obj, target)
        if not obj.metadata.name:
            if not subresource:
                raise errors.BadRequest("the name of the object must be given in its metadata")
            obj.metadata.name = target.name
        if obj.metadata.name != target.name:
            raise parameters.another_name(obj.metadata.name, target.name)
        if not subresource:
            warnings += unacted.warnings(conversion.to_stored(resource, obj))
        refused = not obj.metadata.resourceVersion and not self.verbs.strategies[resource.stored].unconditional_update

        def change(present: Object | None) -> Object:
            if refused and present is not None:
                # As upstream has it: the resource in the place of the kind, and the version as Go prints one.
                field, version = "metadata.resourceVersion", errors.Verbatim("0x0")
                found = [errors.invalid(field, version, "must be specified for an update")]
                raise errors.invalid_object(resource.plural, target.name, found, resource.group)
            return conversion.to_stored(resource, obj.clone())

        value, created = await self.verbs.update(
            resource.stored, target.namespace, target.name, change,
            subresource=subresource, dry_run=parameters.dry_run(request), author=apply.author(request), pure=True,
        )  # fmt: skip
        return answers.written(resource, value, request, warnings, status=201 if created else 200)

    async def _patch(self, request: Request, resource: Resource) -> Response:
        if request.content_type == apply.APPLY_PATCH:
            return await self._apply(request, resource)
        target, subresource, model = request.target, request.target.subresource, resource.model
        author, patched = apply.author(request), patches.of(request, model)
        warnings: list[str] = []

        def change(present: Object | None) -> Object:
            if present is None:
                raise errors.not_found(resource.plural, target.name, resource.group)
            # If the patch does not name a resourceVersion, it has the present one's, whichever that is by then.
            after = body.without_nulls(patched(conversion.from_stored(resource, present).to_dict()))
            if not isinstance(after, dict):
                raise errors.BadRequest("the patch leaves no object")
            try:
                body.check_fields(request, after, model, warnings)
                wanted = decode.decode(model, after)
            except errors.BadRequest as error:
                raise patches.spoiled(request, after, error) from None
            parameters.check_name(wanted, present)
            stored = conversion.to_stored(resource, wanted)
            if not subresource:
                warnings.extend(unacted.warnings(stored))
            return stored

        value, _ = await self.verbs.update(
            resource.stored, target.namespace, target.name, change,
            subresource=subresource, dry_run=parameters.dry_run(request), author=author, pure=True,
        )  # fmt: skip
        return answers.written(resource, value, request, list(dict.fromkeys(warnings)))

    async def _apply(self, request: Request, resource: Resource) -> Response:
        target, subresource = request.target, request.target.subresource
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
            subresource=subresource, dry_run=parameters.dry_run(request), create=True,
        )  # fmt: skip
        return answers.written(resource, value, request, list(dict.fromkeys(warnings)), status=201 if created else 200)

    async def _delete(self, request: Request, resource: Resource) -> Response:
        target = request.target
        options = parameters.delete_options(request)
        value, gone = await self.verbs.delete(resource.stored, target.namespace, target.name, options)
        if not gone or self.verbs.strategies[resource.stored].returns_deleted:
            return answers.shown(resource, value, request)
        uid = orjson.loads(value)["metadata"]["uid"]
        details = {"name": target.name, "group": resource.group, "kind": resource.plural, "uid": uid}
        status = {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
            "details": {key: value for key, value in details.items() if value},
        }  # fmt: skip
        return answers.json(status)

    async def _delete_collection(self, request: Request, resource: Resource) -> Response:
        selection = parameters.list_options(request, resource)
        listing = await self.verbs.delete_collection(
            resource.stored, request.target.namespace, selection, parameters.delete_options(request)
        )
        content = views.PLAIN.many(
            resource,
            {"resourceVersion": str(listing.revision)},
            (conversion.shown(resource, entry.value) for entry in listing.entries),
        )
        return Response(views.written(content, JSON, pretty=answers.pretty(request)))
