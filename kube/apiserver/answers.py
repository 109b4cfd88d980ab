"""How a result is shown: an object, a list or a Table, as JSON or YAML, in the form that the client asked for.

(apiserver/pkg/endpoints/handlers/{negotiation,responsewriters})
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import orjson

from kube.api import conversion, errors
from kube.api.meta import Object
from kube.api.resources import Resource
from kube.apiserver import views
from kube.apiserver.request import Request, Response
from kube.apiserver.watch import Render, error_line

Headers = list[tuple[bytes, bytes]]


def shown(
    resource: Resource, value: bytes, request: Request, status: int = 200, headers: Headers | None = None
) -> Response:
    """One object, in the client's view and form."""
    view, media_type = view_of(request)
    content = views.written(rendered(view, resource, value), media_type, pretty=pretty(request))
    return Response(content, status, media_type, headers or [])


def written(resource: Resource, value: bytes, request: Request, warnings: list[str], status: int = 200) -> Response:
    """An object that was written, with what there is to say against how it was written."""
    return shown(resource, value, request, status, warning_headers(warnings))


def warning_headers(warnings: list[str]) -> Headers:
    """What there is to say to who asked."""
    return [(b"warning", f"299 - {errors.quote(text)}".encode()) for text in warnings]


def plain(obj: Object, request: Request) -> Response:
    """An object that is not stored, and has no other view."""
    _, media_type = view_of(request)
    return Response(views.written(obj.to_json(), media_type, pretty=pretty(request)), content_type=media_type)


def json(data: dict[str, Any], status: int = 200) -> Response:
    """Data as it is, whatever the client would like best."""
    return Response(orjson.dumps(data), status)


def rendered(view: views.View, resource: Resource, value: bytes) -> bytes:
    """A stored value as the resource's version has it, in a view."""
    return view.one(resource, conversion.shown(resource, value))


def followed(view: views.View, resource: Resource) -> tuple[Render, Render]:
    """How a watch shows stored values in a view, and how its bookmarks, which are of the resource's own version."""
    show = view.follow(resource)
    return (lambda value: show(conversion.shown(resource, value))), show


def view_of(request: Request) -> tuple[views.View, str]:
    """What the client accepts: the view of objects, and the media type. Raises NotAcceptable."""
    return views.negotiate(request.header(b"accept"), request.query.text("includeObject"))


def pretty(request: Request) -> bool:
    """Indented where it is asked for, or where a person will most likely read it (upstream's isPrettyPrint)."""
    if request.query.all("pretty"):
        return request.query.flag("pretty")
    return request.header(b"user-agent").startswith(("curl", "Wget", "Mozilla/5.0"))


async def guarded(lines: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """An error after the first line is the stream's last line."""
    try:
        async for line in lines:
            yield line
    except errors.ApiError as error:
        yield error_line(error)
