"""What every object has: metadata, and the rules by which models become JSON and back.

A model's attributes carry the wire's own names (`restartPolicy`, `podIP`), so the path in a validation error, the
JSON and the code read the same. Two rules of Go's JSON encoding are kept, because clients can see them:

* `omitempty`: a field that equals its default is not written. Lists and maps default to empty, strings to "".
* fields without `omitempty` (a container's `restartCount`, a status' `replicas`) are always written: they are declared
  with `always()`.

Input is strict, as the API server's decoder is: a number where a string belongs is an error, an unknown field is
dropped.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import orjson
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PlainSerializer,
    ValidationError,
)
from pydantic_core import CoreSchema

from kube.api import descriptions

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue


def _without_nulls(content: Any, places: Sequence[tuple[tuple[int | str, ...], bool]]) -> Any:
    """The content without the nulls at these places, each of which wants text or (False) something else."""
    for place, text in places:
        parent = content
        for step in place[:-1]:
            parent = parent[step]
        last = place[-1]
        if isinstance(parent, list):
            parent[int(last)] = "" if text else {}
        elif text:
            parent[last] = ""
        else:
            del parent[last]
    return content


class Model(BaseModel):
    """The base of every API type."""

    # Most models are only parts of others, which hold all that is needed: what is used by itself is built at first use.
    model_config = ConfigDict(strict=True, extra="ignore", protected_namespaces=(), defer_build=True)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Have empty lists and maps made, not copied: `copy.deepcopy` of some forty defaults is a fifth of a pod's
        validation.
        """
        schema = handler(source)
        fields: Any = schema
        while isinstance(fields, dict) and fields["type"] != "model-fields":
            fields = fields.get("schema")
        for field in fields["fields"].values() if fields else ():
            default = field["schema"]
            if default["type"] == "default" and default.get("default") in ([], {}):
                default["default_factory"] = type(default.pop("default"))
                default.pop("copy_default", None)
        return schema

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The fields with what they mean."""
        found = handler(schema)
        properties = handler.resolve_ref_schema(found).get("properties", {})
        for name, text in descriptions.of(cls).items():
            field = cls.model_fields.get(name)
            if field is not None and (field.alias or name) in properties:
                properties[field.alias or name]["description"] = text
        return found

    @classmethod
    def parse(cls, data: bytes | str | Mapping[str, Any]) -> Self:
        """Validate JSON (or what JSON decodes to) into a model; null is as good as nothing.

        Raises pydantic.ValidationError.
        """
        if isinstance(data, Mapping):
            data = orjson.dumps(data)
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            # Go takes null for any field. It is rare, so only what failed is looked at again.
            found = error.errors(include_url=False)
            if not all(e["input"] is None and e["loc"] for e in found):
                raise
            nulls = [(e["loc"], e["type"] == "string_type") for e in found]
        return cls.model_validate_json(orjson.dumps(_without_nulls(orjson.loads(data), nulls)))

    def to_dict(self) -> dict[str, Any]:
        """The object as JSON-ready data, without empty fields."""
        result: dict[str, Any] = orjson.loads(self.to_json())
        return result

    def to_json(self) -> bytes:
        """The object as compact JSON, without empty fields."""
        return self.model_dump_json(exclude_defaults=True).encode()

    def clone(self) -> Self:
        """A deep copy that its owner may change (what an informer's cache holds is read-only)."""
        return self.__deepcopy__()

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """As pydantic's, at a sixth of the time: none of it is there twice, so nothing has to be kept in mind."""
        made = type(self).__new__(type(self))
        content = {name: value if type(value) in _ATOMS else copied(value) for name, value in self.__dict__.items()}
        object.__setattr__(made, "__dict__", content)
        object.__setattr__(made, "__pydantic_fields_set__", self.__pydantic_fields_set__.copy())
        extra, private = self.__pydantic_extra__, self.__pydantic_private__
        object.__setattr__(made, "__pydantic_extra__", None if extra is None else copied(extra))
        object.__setattr__(made, "__pydantic_private__", None if private is None else copied(private))
        return made


_ATOMS = frozenset((str, int, bool, float, bytes, datetime, type(None)))
"""What need not be copied, as it cannot be changed."""


def copied(value: Any) -> Any:
    """A deep copy of what JSON can hold, and of models in it: quicker than copy.deepcopy, which minds what is twice."""
    kind = type(value)
    if kind is list:
        return [item if type(item) in _ATOMS else copied(item) for item in value] if value else []
    if kind is dict:
        return {key: item if type(item) in _ATOMS else copied(item) for key, item in value.items()} if value else {}
    # A model most likely. (isinstance would ask pydantic, which takes its time.)
    deepcopy = getattr(kind, "__deepcopy__", None)
    return copy.deepcopy(value) if deepcopy is None else deepcopy(value, {})


def always() -> Any:
    """The default of a field that is written even when it is zero, like a Go field without `omitempty`.

    None is never equal to a validated value, so the field is never taken for a default. Use it with `Always*` types.
    """
    return Field(default=None, validate_default=True)


AlwaysBool = Annotated[bool, BeforeValidator(lambda v: False if v is None else v)]
AlwaysStr = Annotated[str, BeforeValidator(lambda v: "" if v is None else v)]


@lru_cache(maxsize=1024)
def _rfc3339(value: datetime) -> str:
    # A status has a dozen moments, and they are few. (isoformat, because strftime takes ten times as long.)
    return f"{value.astimezone(UTC).isoformat(timespec='seconds')[:-6]}Z"


def _rfc3339_micro(value: datetime) -> str:
    return f"{value.astimezone(UTC).isoformat(timespec='microseconds')[:-6]}Z"


def _parse_time(value: Any) -> Any:
    """Text as a moment. Strict validation takes a string for a moment only right at the top of a JSON document."""
    if not isinstance(value, str):
        return value
    refused = f'parsing time "{value}" as "2006-01-02T15:04:05Z07:00": cannot parse "{value}" as "2006"'
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(refused) from None
    if moment.tzinfo is None or "T" not in value:
        raise ValueError(refused)
    return moment


Time = Annotated[datetime, BeforeValidator(_parse_time), PlainSerializer(_rfc3339, return_type=str)]
"""A moment, to the second, as RFC 3339 in UTC."""

MicroTime = Annotated[datetime, BeforeValidator(_parse_time), PlainSerializer(_rfc3339_micro, return_type=str)]
"""A moment, to the microsecond, as RFC 3339 in UTC."""

IntOrString = int | str


def now() -> datetime:
    """The present moment, to the second: the resolution of `Time`, so that what is written equals what is read back."""
    return datetime.now(UTC).replace(microsecond=0)


class OwnerReference(Model):
    """The object that an object belongs to; the garbage collector deletes what no living owner claims."""

    apiVersion: AlwaysStr = always()
    """API version of the owner."""
    kind: AlwaysStr = always()
    """Kind of the owner."""
    name: AlwaysStr = always()
    """Name of the owner."""
    uid: AlwaysStr = always()
    """UID of the owner: a new object of the same name is another owner."""
    controller: bool | None = None
    """True if the owner is the one controller that manages this object."""
    blockOwnerDeletion: bool | None = None
    """True if foreground deletion of the owner waits for this object."""


class ManagedFieldsEntry(Model):
    """Which manager set which fields, for server-side apply."""

    manager: str = ""
    """Name of the workflow that manages the fields."""
    operation: str = ""
    """`Apply` or `Update`."""
    apiVersion: str = ""
    """Version of the resource that the fields are of."""
    time: Time | None = None
    """When the entry was last changed."""
    fieldsType: str = ""
    """Format of `fieldsV1`: always `FieldsV1`."""
    fieldsV1: dict[str, Any] | None = None
    """The set of fields, as a trie of `f:<name>`, `k:<keys>`, `v:<value>`."""
    subresource: str = ""
    """The subresource through which the fields were set."""


class ObjectMeta(Model):
    """Metadata that every stored object has."""

    name: str = ""
    """Name, unique in its namespace and kind. Cannot be changed."""
    generateName: str = ""
    """Prefix from which the server makes a unique name when `name` is empty."""
    namespace: str = ""
    """Namespace the object is in; empty for cluster-scoped kinds."""
    uid: str = ""
    """Unique in time and space; made by the server."""
    resourceVersion: str = ""
    """Opaque version of the object: the etcd revision of its last change. Never stored in the value."""
    generation: int = 0
    """Sequence number of the wanted state; raised on every change of the spec."""
    creationTimestamp: Time | None = None
    """When the object was created; set by the server."""
    deletionTimestamp: Time | None = None
    """When a graceful deletion will be over; set by the server when a deletion is asked for."""
    deletionGracePeriodSeconds: int | None = None
    """Seconds the object has to end by itself once deletion is asked for."""
    labels: dict[str, str] = {}
    """Keys and values that selectors match."""
    annotations: dict[str, str] = {}
    """Keys and values for tools; never selected by."""
    ownerReferences: list[OwnerReference] = []
    """Objects this one depends on."""
    finalizers: list[str] = []
    """Names that must all be removed before the object goes away."""
    selfLink: str = ""
    """Deprecated; empty since Kubernetes 1.20."""
    managedFields: list[ManagedFieldsEntry] = []
    """Who manages which field."""

    def controller(self) -> OwnerReference | None:
        """The owner that manages this object, if any."""
        return next((ref for ref in self.ownerReferences if ref.controller), None)

    def equals(self, other: ObjectMeta, *, but: Collection[str]) -> bool:
        """Whether the two are the same, but for these fields."""
        mine, others = self.__dict__, other.__dict__
        return self.__pydantic_extra__ == other.__pydantic_extra__ and all(
            value == others[name] for name, value in mine.items() if name not in but
        )


class Object(Model):
    """A stored object. `kind` and `apiVersion` belong to the class; they are written first."""

    kind: ClassVar[str]
    apiVersion: ClassVar[str] = "v1"

    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    """Standard object metadata."""

    def to_json(self) -> bytes:
        """The object as compact JSON that begins `{"kind":…,"apiVersion":…,"metadata":{`."""
        head = f'{{"kind":"{self.kind}","apiVersion":"{self.apiVersion}"'
        body = self.model_dump_json(exclude_defaults=True)
        return f"{head},{body[1:]}".encode() if body != "{}" else f"{head}}}".encode()

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.metadata.namespace

    @property
    def key(self) -> str:
        """`namespace/name`, or `name` for a cluster-scoped object: how caches and queues name it."""
        return key(self.metadata.namespace, self.metadata.name)


def key(namespace: str, name: str) -> str:
    """The cache key of an object."""
    return f"{namespace}/{name}" if namespace else name


def split_key(key: str) -> tuple[str, str]:
    """Namespace (possibly empty) and name of a cache key."""
    namespace, _, name = key.rpartition("/")
    return namespace, name


class LabelSelectorRequirement(Model):
    """One condition of a set-based selector."""

    key: AlwaysStr = always()
    """The label's key."""
    operator: AlwaysStr = always()
    """`In`, `NotIn`, `Exists` or `DoesNotExist`."""
    values: list[str] = []
    """The values that `In` and `NotIn` look at."""


class LabelSelector(Model):
    """A selector over labels; all conditions must hold, and an empty one matches everything."""

    matchLabels: dict[str, str] = {}
    """Labels that must have exactly these values."""
    matchExpressions: list[LabelSelectorRequirement] = []
    """Set-based conditions."""


class ListMeta(Model):
    """Metadata of a list."""

    resourceVersion: str = ""
    """Version of the collection: where a watch goes on."""
    continue_: str = Field(default="", alias="continue")
    """Token of the next page, if there is one."""
    remainingItemCount: int | None = None
    """How many items the following pages hold."""


class DeleteOptions(Model):
    """What a delete request may ask for."""

    gracePeriodSeconds: int | None = None
    """Seconds to end gracefully; 0 deletes at once."""
    preconditions: Preconditions | None = None
    """What must be true of the object for the deletion to happen."""
    propagationPolicy: str | None = None
    """`Orphan`, `Background` or `Foreground`."""
    orphanDependents: bool | None = None
    """Deprecated form of `propagationPolicy`."""
    dryRun: list[str] = []
    """`All`: check everything, store nothing."""


class Preconditions(Model):
    """Conditions on the object that a request names."""

    uid: str | None = None
    """The UID it must have."""
    resourceVersion: str | None = None
    """The resourceVersion it must have."""


DeleteOptions.model_rebuild()


class Condition(Model):
    """One aspect of an object's state, in the standard form."""

    type: AlwaysStr = always()
    """Name of the condition."""
    status: AlwaysStr = always()
    """`True`, `False` or `Unknown`."""
    observedGeneration: int = 0
    """Generation of the spec that the condition was computed from."""
    lastTransitionTime: Time | None = None
    """When `status` last changed."""
    reason: AlwaysStr = always()
    """Why, as one CamelCase word."""
    message: AlwaysStr = always()
    """Why, in words."""
