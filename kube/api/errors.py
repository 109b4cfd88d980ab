"""The API's errors. An error *is* a `Status` object: the apiserver raises it and answers with it, the client reads the
answer and raises the same class. Reasons, codes and messages are Kubernetes'
(apimachinery/pkg/api/errors, pkg/util/validation/field).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


class ApiError(Exception):
    """A request failed, and this is the `Status` that says why."""

    code: ClassVar[int] = 500
    reason: ClassVar[str] = "InternalError"

    def __init__(self, message: str, *, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details or {}
        self._shows_details = details is not None
        self.metadata: dict[str, Any] = {}
        """Of the Status, which is a list's in form: `continue`."""

    def to_dict(self) -> dict[str, Any]:
        """The `Status` object, as JSON-ready data."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        }
        if not self.reason:
            del status["reason"]
        if self.details or self._shows_details:
            status["details"] = self.details
        status["code"] = self.code
        return status

    @property
    def retry_after(self) -> int | None:
        """Seconds after which the client may try again, if the server said so."""
        seconds = self.details.get("retryAfterSeconds")
        return int(seconds) if seconds else None


class BadRequest(ApiError):
    """The request cannot be understood."""

    code, reason = 400, "BadRequest"


class Unauthorized(ApiError):
    """Nobody knows who is asking."""

    code, reason = 401, "Unauthorized"


class Forbidden(ApiError):
    """The request is understood, and refused."""

    code, reason = 403, "Forbidden"


class NotFound(ApiError):
    """There is no such object, or no such resource."""

    code, reason = 404, "NotFound"


class MethodNotAllowed(ApiError):
    """The resource does not support the verb."""

    code, reason = 405, "MethodNotAllowed"
    allowed: tuple[str, ...] = ()
    """The HTTP methods that it does support, if that is known."""


class NotAcceptable(ApiError):
    """No representation that the client accepts can be made."""

    code, reason = 406, "NotAcceptable"


class AlreadyExists(ApiError):
    """There is an object of that name already."""

    code, reason = 409, "AlreadyExists"


class Conflict(ApiError):
    """The object is no longer what the writer believed."""

    code, reason = 409, "Conflict"


class Gone(ApiError):
    """What was asked for is no longer kept."""

    code, reason = 410, "Gone"


class Expired(Gone):
    """The resourceVersion is older than what is kept: list again."""

    reason = "Expired"


class RequestEntityTooLarge(ApiError):
    """The body is larger than the server takes."""

    code, reason = 413, "RequestEntityTooLarge"


class UnsupportedMediaType(ApiError):
    """The body is in a form that the server does not read."""

    code, reason = 415, "UnsupportedMediaType"


class Invalid(ApiError):
    """The object breaks a rule; `details.causes` says which field and why."""

    code, reason = 422, "Invalid"


class TooManyRequests(ApiError):
    """The server, or a disruption budget, asks to wait."""

    code, reason = 429, "TooManyRequests"


class InternalError(ApiError):
    """The server failed."""

    code, reason = 500, "InternalError"


class ServiceUnavailable(ApiError):
    """The server cannot answer now; try again."""

    code, reason = 503, "ServiceUnavailable"


class Timeout(ApiError):
    """The server did not finish in time; the outcome is unknown."""

    code, reason = 504, "Timeout"


class Unclassified(ApiError):
    """An answer of a code or reason that no class above stands for."""

    def __init__(self, message: str, *, code: int, reason: str = "", details: dict[str, Any] | None = None) -> None:
        super().__init__(message, details=details)
        self.code = code  # type: ignore[misc]  # this class alone has them by instance
        self.reason = reason  # type: ignore[misc]


_CLASSES: tuple[type[ApiError], ...] = (
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    AlreadyExists,
    Conflict,
    Gone,
    Expired,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    Invalid,
    TooManyRequests,
    InternalError,
    ServiceUnavailable,
    Timeout,
)
_BY_REASON = {cls.reason: cls for cls in _CLASSES}
_BY_CODE = {cls.code: cls for cls in reversed(_CLASSES)}


def from_status(status: dict[str, Any], code: int) -> ApiError:
    """The error that an answer's body (a `Status`, or any JSON) and HTTP code stand for."""
    message = str(status.get("message") or f"the server answered {code}")
    details = status.get("details")
    details = details if isinstance(details, dict) else None
    cls = _BY_REASON.get(str(status.get("reason") or "")) or _BY_CODE.get(code)
    if cls is None:
        return Unclassified(message, code=code, reason=str(status.get("reason") or ""), details=details)
    return cls(message, details=details)


def _details(name: str, kind: str, group: str = "", uid: str = "") -> dict[str, Any]:
    details = {"name": name, "group": group, "kind": kind, "uid": uid}
    return {key: value for key, value in details.items() if value}


def _qualified(plural: str, group: str) -> str:
    return f"{plural}.{group}" if group else plural


def not_found(plural: str, name: str, group: str = "") -> NotFound:
    """`pods "x" not found`"""
    return NotFound(f'{_qualified(plural, group)} "{name}" not found', details=_details(name, plural, group))


def no_such_path() -> NotFound:
    """The path names nothing that is served. The empty details are upstream's, and clients look into them."""
    return NotFound("the server could not find the requested resource", details={})


def no_such_method() -> MethodNotAllowed:
    """What the path names cannot be used so."""
    return MethodNotAllowed("the server does not allow this method on the requested resource", details={})


def already_exists(plural: str, name: str, group: str = "") -> AlreadyExists:
    """`pods "x" already exists`"""
    return AlreadyExists(f'{_qualified(plural, group)} "{name}" already exists', details=_details(name, plural, group))


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def conflict(plural: str, name: str, why: str = MODIFIED, group: str = "") -> Conflict:
    """`Operation cannot be fulfilled on pods "x": <why>`"""
    message = f'Operation cannot be fulfilled on {_qualified(plural, group)} "{name}": {why}'
    return Conflict(message, details=_details(name, plural, group))


def forbidden(plural: str, name: str, why: str, group: str = "") -> Forbidden:
    """`pods "x" is forbidden: <why>`"""
    message = f'{_qualified(plural, group)} "{name}" is forbidden: {why}'
    return Forbidden(message, details=_details(name, plural, group))


def namespace_is_ending(error: ApiError) -> bool:
    """Whether a create was refused because its namespace is being deleted: it need not be tried again.

    Any other refusal, as a quota's, is to be: the quota may be raised.
    """
    causes = error.details.get("causes") or []
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)


def expired(requested: int, oldest: int) -> Expired:
    """`too old resource version: 5 (100)`"""
    return Expired(f"too old resource version: {requested} ({oldest})")


@dataclass(frozen=True, slots=True)
class FieldError:
    """One rule that one field breaks. `str()` is the line that a person reads."""

    reason: str
    """The cause's reason: `FieldValueRequired`, `FieldValueInvalid`, …"""
    field: str
    """Path of the field, as `spec.containers[0].image`."""
    body: str
    """What comes behind the path: `Invalid value: "x": must be …`."""

    def __str__(self) -> str:
        return f"{self.field}: {self.body}"


class Verbatim(str):
    """A value that is printed as it stands."""


def quote(value: object) -> str:
    """A value as upstream prints it inside a message: text quoted, maps and lists of text as Go writes them."""
    if isinstance(value, Verbatim):
        return str(value)
    if isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
        items = ", ".join(f"{quote(name)}:{quote(value[name])}" for name in sorted(value))
        return f"map[string]string{{{items}}}" if value else "map[string]string(nil)"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return f"[]string{{{', '.join(map(quote, value))}}}" if value else "[]string(nil)"
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)


def required(field: str, detail: str = "") -> FieldError:
    """The field must be set."""
    return FieldError("FieldValueRequired", field, "Required value" + (f": {detail}" if detail else ""))


def invalid(field: str, value: object, detail: str) -> FieldError:
    """The value breaks a rule."""
    return FieldError("FieldValueInvalid", field, f"Invalid value: {quote(value)}: {detail}")


def not_supported(field: str, value: object, supported: Sequence[str]) -> FieldError:
    """The value is none of the few that are allowed, which are named in this order."""
    allowed = ", ".join(quote(v) for v in supported)
    return FieldError(
        "FieldValueNotSupported", field, f"Unsupported value: {quote(value)}: supported values: {allowed}"
    )


def duplicate(field: str, value: object) -> FieldError:
    """The value stands there twice."""
    return FieldError("FieldValueDuplicate", field, f"Duplicate value: {quote(value)}")


def field_forbidden(field: str, detail: str) -> FieldError:
    """The field must not be set, or not be changed."""
    return FieldError("FieldValueForbidden", field, f"Forbidden: {detail}")


def field_not_found(field: str, value: object) -> FieldError:
    """The value names something that is not there."""
    return FieldError("FieldValueNotFound", field, f"Not found: {quote(value)}")


def too_long(field: str, value: object, maximum: int) -> FieldError:
    """The value has too many bytes."""
    return FieldError("FieldValueTooLong", field, f"Too long: may not be more than {maximum} bytes")


def too_many(field: str, count: int, maximum: int) -> FieldError:
    """The list has too many items."""
    return FieldError("FieldValueTooMany", field, f"Too many: {count}: must have at most {maximum} items")


def type_invalid(field: str, value: object, detail: str) -> FieldError:
    """The value is of the wrong JSON type."""
    return FieldError("FieldValueTypeInvalid", field, f"Invalid value: {quote(value)}: {detail}")


def invalid_object(kind: str, name: str, errors: Iterable[FieldError], group: str = "") -> Invalid:
    """`Pod "x" is invalid: spec.containers: Required value`, with one cause for each field error.

    More than one error is printed as a list in brackets, as upstream's aggregate does.
    """
    errors = list(errors)
    unique = list(dict.fromkeys(str(e) for e in errors))
    lines = unique[0] if len(unique) == 1 else "[" + ", ".join(unique) + "]"
    qualified = f"{kind}.{group}" if group else kind
    causes = [{"reason": e.reason, "message": e.body, "field": e.field} for e in errors]
    details = {**_details(name, kind, group), "causes": causes}
    return Invalid(f'{qualified} "{name}" is invalid: {lines}', details=details)
