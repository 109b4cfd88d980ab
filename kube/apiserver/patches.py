"""The body of a PATCH as a function that makes the wanted object of the present one.

(apiserver/pkg/endpoints/handlers/patch.go) Server-side apply is in apply.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from kube.api import errors, patch
from kube.api.meta import Object
from kube.apiserver import apply
from kube.apiserver.request import Request

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, apply.APPLY_PATCH)


def of(request: Request, model: type[Object]) -> Callable[[dict[str, Any]], Any]:
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
