"""The body of a PATCH as a function that makes the wanted object of the present one.

(apiserver/pkg/endpoints/handlers/patch.go) Server-side apply is in apply.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from kube.api import decode, errors, patch
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
        ended = error.pos >= len(request.body.strip())
        raise _undecodable(kind, "unexpected end of JSON input" if ended else str(error)) from None
    wanted, go_type = (list, "[]handlers.jsonPatchOp") if kind == JSON_PATCH else (dict, "map[string]interface {}")
    if not isinstance(content, wanted):
        why = f"json: cannot unmarshal {decode.json_type(content)} into Go value of type {go_type}"
        raise _undecodable(kind, why)
    if kind == JSON_PATCH:
        return lambda present: patch.json_patch(present, content)
    if kind == MERGE_PATCH:
        return lambda present: patch.merge_patch(present, content)
    return lambda present: patch.strategic_merge_patch(present, content, model)


def _undecodable(kind: str, why: str) -> errors.BadRequest:
    return errors.BadRequest(why if kind == STRATEGIC_MERGE_PATCH else f"error decoding patch: {why}")


def spoiled(request: Request, after: dict[str, Any], error: errors.BadRequest) -> errors.ApiError:
    """The refusal of a patch that leaves what is no object of the kind: 422, with upstream's empty kind and name.

    The value that is told is the whole object; of a strategic patch, the patch, as Go prints a map.
    """
    strategic = request.content_type == STRATEGIC_MERGE_PATCH
    value = _as_go(orjson.loads(request.body)) if strategic else orjson.dumps(after).decode()
    why = error.message.partition(" cannot be handled as a ")[2].partition(": ")[2] or error.message
    return errors.invalid_object("", "", [errors.invalid("patch", value, why)])


def _as_go(value: Any) -> str:
    """A JSON value as Go's `%+v` prints it: `map[a:1 b:[x y]]`."""
    match value:
        case dict():
            return f"map[{' '.join(f'{key}:{_as_go(value[key])}' for key in sorted(value))}]"
        case list():
            return f"[{' '.join(map(_as_go, value))}]"
        case bool():
            return str(value).lower()
        case None:
            return "<nil>"
        case _:
            return str(value)
