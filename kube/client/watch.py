"""What a watch says: events, and how they are read off the wire.

On the wire a watch is JSON objects, one a line: `{"type":"ADDED","object":{…}}`. An `ERROR` event carries a `Status`
and is raised; a `BOOKMARK` carries nothing but a resourceVersion, so its object is never parsed as the model (a
kube-apiserver sends half-empty ones).
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import orjson
from pydantic import ValidationError

from kube.api import errors
from kube.api.meta import Object

log = logging.getLogger(__name__)

T = TypeVar("T", bound=Object)
EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]


@dataclass(frozen=True, slots=True)
class WatchEvent(Generic[T]):
    """One change of one object."""

    type: EventType
    object: T | None
    """As it is now; if DELETED, as it was last, or no more of it than its name. None only in a BOOKMARK."""
    revision: int
    """Everything up to here has been seen: where a watch goes on."""


_LINE = re.compile(rb'\s*\{"type":"(ADDED|MODIFIED|DELETED)","object":(.*)\}\s*', re.DOTALL)


def parse_line(model: type[T], line: bytes) -> WatchEvent[T] | None:
    """The event of one line; None (and an ERROR in the log) if its object is not one of the model.

    Raises what an ERROR event says, Expired above all.
    """
    # Both apiservers write a line in this very order; then the object's bytes go to the parser as they are.
    match = _LINE.fullmatch(line)
    if match:
        kind, body = match[1].decode(), match[2]
    else:
        try:
            event = orjson.loads(line)
            kind, body = str(event["type"]), orjson.dumps(event["object"])
        except (ValueError, KeyError, TypeError) as error:
            raise errors.ServiceUnavailable(f"a watch sent what is not an event: {line[:200]!r}: {error}") from None
    if kind == "ERROR":
        status: dict[str, Any] = orjson.loads(body)
        raise errors.from_status(status, int(status.get("code") or 500))
    if kind == "BOOKMARK":
        return WatchEvent("BOOKMARK", None, revision_of(orjson.loads(body)["metadata"]["resourceVersion"]))
    try:
        parsed = model.parse(body)
    except ValidationError as error:
        log.error("skipped an object that cannot be read", extra={"kind": model.kind, "error": problem(error)})
        return None
    return WatchEvent(kind, parsed, revision_of(parsed.metadata.resourceVersion))  # type: ignore[arg-type]  # matched


def revision_of(resource_version: str) -> int:
    """A resourceVersion as the etcd revision that it is, here and in every Kubernetes."""
    return int(resource_version) if resource_version.isdigit() else 0


def problem(error: ValidationError) -> str:
    """What is wrong with an object, in one line: the first field that is."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
