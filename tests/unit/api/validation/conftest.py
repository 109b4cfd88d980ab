"""How the tests of the rules look at an object: parsed and defaulted as the apiserver does, then every complaint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kube.api import defaults, validation
from kube.api.meta import Object

Complaints = Callable[..., list[str]]


def prepared(model: type[Object], data: dict[str, Any]) -> Any:
    obj = model.parse(data)
    defaults.apply(obj)
    return obj


@pytest.fixture
def complaints() -> Complaints:
    """What is wrong with a new object, line by line."""

    def look(model: type[Object], data: dict[str, Any]) -> list[str]:
        return [str(error) for error in validation.validate(prepared(model, data))]

    return look


@pytest.fixture
def update_complaints() -> Complaints:
    """What is wrong with a change of an object."""

    def look(model: type[Object], new: dict[str, Any], old: dict[str, Any]) -> list[str]:
        return [str(error) for error in validation.validate_update(prepared(model, new), prepared(model, old))]

    return look


@pytest.fixture
def status_complaints() -> Complaints:
    """What is wrong with a change of an object's status."""

    def look(model: type[Object], new: dict[str, Any], old: dict[str, Any]) -> list[str]:
        return [str(error) for error in validation.validate_status_update(prepared(model, new), prepared(model, old))]

    return look
