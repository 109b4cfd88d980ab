"""The small types that fields of the wire are made of.

Go's integers have sizes, and the API server refuses what does not fit: `Int32` and `Int64` keep that. `Present[...]`
and `NullableTime` are for fields that Go writes although they are empty, because a struct is never empty to
`omitempty`: a sub-object without fields is `{}`, a time that is not set is `null`. Both take a default from here or
from meta, which is never equal to a value and therefore never left out: `Present[X] = always()`,
`NullableTime = null_time()`.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from kube.api import quantity
from kube.api.meta import IntOrString, Time

T = TypeVar("T")

Int32 = Annotated[int, Field(ge=-(2**31), le=2**31 - 1, json_schema_extra={"format": "int32"})]
"""A whole number of 32 bits."""

Int64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1, json_schema_extra={"format": "int64"})]
"""A whole number of 64 bits."""

AlwaysInt32 = Annotated[Int32, BeforeValidator(lambda v: 0 if v is None else v)]
"""Written even when it is zero; use it with meta.always()."""

AlwaysInt64 = Annotated[Int64, BeforeValidator(lambda v: 0 if v is None else v)]
"""Written even when it is zero; use it with meta.always()."""

AlwaysPort = Annotated[IntOrString, BeforeValidator(lambda v: 0 if v is None else v)]
"""The number or name of a port, written even when it is zero; use it with meta.always()."""

Quantity = Annotated[str, BeforeValidator(quantity.from_json), Field(json_schema_extra={"format": "quantity"})]
"""An amount such as `500m` or `128Mi`, held in canonical form; numbers are taken too."""

ResourceList = dict[str, Quantity]
"""Amounts by the name of the resource: `cpu`, `memory`, `pods`, …"""


class _Filled:
    """Makes a missing (or null) sub-object or list an empty one."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(lambda v: source() if v is None else v, handler(source))


Present = Annotated[T, _Filled()]
"""A sub-object or list that is written even when it is empty; use it with meta.always()."""

NullableTime = Annotated[Time | None, BeforeValidator(lambda v: None if v == "" else v)]
"""A moment that is written as `null` when it is not set; use it with null_time()."""


def null_time() -> Any:
    """The default of a `NullableTime`."""
    return Field(default="", validate_default=True)
