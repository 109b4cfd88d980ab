"""Kinds that are stored as they come: metadata is understood, everything else is kept as it is.

Such a kind can be created, watched, patched and garbage-collected by whoever knows what it means: Kubernetes' own
scheduler and controller manager, an operator, a test. Nothing here acts on it.
"""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict

from kube.api.meta import Object


class Unstructured(Object):
    """An object of which only the metadata has a model."""

    model_config = ConfigDict(extra="allow")

    def model_post_init(self, context: Any) -> None:
        """The kind is the class's; what the JSON said of it was compared before (decode.py)."""
        assert self.model_extra is not None
        self.model_extra.pop("kind", None)
        self.model_extra.pop("apiVersion", None)

    def part(self, name: str) -> Any:
        """`spec`, `status`, `data`, …, as plain data; None if there is none."""
        return (self.model_extra or {}).get(name)

    def put(self, name: str, value: Any) -> None:
        """Set a part, or remove it (None)."""
        assert self.model_extra is not None
        if value is None:
            self.model_extra.pop(name, None)
        else:
            self.model_extra[name] = value


def kind(api_version: str, name: str) -> type[Unstructured]:
    """A class of its own for a kind."""
    doc = f"{api_version} {name}, stored as it comes."
    return type(
        name, (Unstructured,), {"__module__": __name__, "__doc__": doc, "kind": name, "apiVersion": api_version}
    )
