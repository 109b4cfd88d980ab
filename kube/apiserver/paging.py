"""Lists in pages: the `continue` token, and what becomes of it. (apiserver/pkg/storage/continue.go)

A token names the revision that all pages are of, and the last key of the page before. When the store has compacted that
revision, the client is told so, and is given another token, of no revision: with that it may go on from the same key in
what there is now, if it can live with a list that never was.
"""

from __future__ import annotations

import base64
import binascii

import orjson

from kube.api import errors

VERSION = "meta.k8s.io/v1"
LATEST = -1
"""The revision of a token that goes on from what there is now."""

LIST_TOO_OLD = "The resourceVersion for the provided list is too old."
CONTINUE_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


def encode(revision: int, after: str, prefix: str) -> str:
    """The token for what follows a key."""
    token = orjson.dumps({"v": VERSION, "rv": revision, "start": after.removeprefix(prefix) + "\0"})
    return base64.urlsafe_b64encode(token).decode().rstrip("=")


def decode(token: str, prefix: str) -> tuple[int, str]:
    """The revision (or LATEST), and the key to go on behind. Raises BadRequest."""
    problem = "continue key is not valid"
    try:
        data = orjson.loads(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
        if data.get("v") != VERSION:
            raise ValueError(f"server does not recognize this encoded version {data.get('v') or ''}")
        revision, start = data.get("rv", 0), data.get("start", "")
        if not isinstance(revision, int) or not isinstance(start, str) or abs(revision) >= 2**63:
            raise ValueError("of another type")
        if revision == 0:
            raise ValueError(f"incorrect encoded start resourceVersion (version {VERSION})")
        if not start:
            raise ValueError(f"encoded start key empty (version {VERSION})")
        if any(part in ("", ".", "..") for part in start.removeprefix("/").split("/")):
            raise ValueError(start)  # a path that leads out of the collection
    except (ValueError, AttributeError, binascii.Error) as error:
        raise errors.BadRequest(f"invalid continue token: {problem}: {error}") from None
    return max(revision, LATEST), prefix + start.removeprefix("/").removesuffix("\0")


def expired(after: str, prefix: str) -> errors.Expired:
    """The revision is gone: of a page that was to follow a key, or ("") of a whole list."""
    if not after:
        return errors.Expired(LIST_TOO_OLD)
    error = errors.Expired(CONTINUE_TOO_OLD)
    error.metadata["continue"] = encode(LATEST, after, prefix)
    return error
