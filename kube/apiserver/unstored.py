"""Resources of which nothing is stored: what is asked is answered from elsewhere, or is a deed (a Binding)."""

from __future__ import annotations

from kube.api import decode, errors, fields, resources
from kube.api.resources import Resource
from kube.apiserver import answers, body, parameters, views
from kube.apiserver.access import Access
from kube.apiserver.components import DEPRECATED, Components
from kube.apiserver.request import Request, Response
from kube.apiserver.reviews import Reviews
from kube.apiserver.subresources import bind_pod
from kube.apiserver.verbs import Verbs


class Unstored:
    """Answers requests for what is not stored."""

    def __init__(self, verbs: Verbs, components: Components, access: Access) -> None:
        self.verbs = verbs
        self.components = components
        self._reviews = Reviews(access)

    async def handle(self, request: Request, resource: Resource) -> Response:
        """The answer. Raises ApiError."""
        target = request.target
        reads = request.method in ("GET", "HEAD")
        verb = ("get" if target.name else "list") if reads else "create" if request.method == "POST" else ""
        if target.subresource or (target.name and not reads):
            raise errors.no_such_path()
        if verb not in resource.verbs or target.watch or request.query.flag("watch"):
            raise errors.no_such_method()
        parameters.need_namespace(target, resource)
        if resource is resources.COMPONENT_STATUSES:
            return await self._component_statuses(request, resource)
        if resource is resources.BINDINGS:
            return await bind_pod(request, self.verbs)
        data, warnings = body.read(request, resource.model)
        answer = await self._reviews.answer(decode.decode(resource.model, data), target.namespace)
        return answers.written(resource, answer.to_json(), request, warnings, status=201)

    async def _component_statuses(self, request: Request, resource: Resource) -> Response:
        headers = [(b"warning", f"299 - {errors.quote(DEPRECATED)}".encode())]
        if request.target.name:
            found = await self.components.get(request.target.name)
            return answers.shown(resource, found.to_json(), request, headers=headers)
        options = parameters.list_options(request, resource)
        view, media_type = answers.view_of(request)
        listed = [
            component.to_json()
            for component in await self.components.list()
            if (options.labels is None or options.labels.matches(component.metadata.labels))
            and (options.fields is None or options.fields.matches(fields.of_object(component)))
        ]
        content = view.many(resource, {"resourceVersion": ""}, listed)
        return Response(views.written(content, media_type, pretty=answers.pretty(request)), 200, media_type, headers)
