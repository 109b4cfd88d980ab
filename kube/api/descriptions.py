"""What the fields of the models mean: the docstrings below them, for OpenAPI and `kubectl explain`.

They are read from the source when somebody asks. pydantic can do so when it makes a class (use_attribute_docstrings),
but then every daemon pays for it at its start: it was a third of the time that importing the models takes.
"""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache


@cache
def of(model: type) -> dict[str, str]:
    """The descriptions of a model's fields, by the fields' names."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if cls.__module__.startswith("kube."):
            found |= _of_module(cls.__module__).get(cls.__qualname__, {})
    return found


@cache
def _of_module(name: str) -> dict[str, dict[str, str]]:
    """The same of all classes of a module, by the classes' names."""
    tree = ast.parse(inspect.getsource(sys.modules[name]))
    return {node.name: dict(_fields(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _fields(node: ast.ClassDef) -> list[tuple[str, str]]:
    found = []
    for field, below in zip(node.body, node.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            found.append((field.target.id, inspect.cleandoc(below.value.value)))
    return found
