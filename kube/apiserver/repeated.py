"""Keys that stand twice in one object of a body. Every decoder takes the last one and says nothing; upstream tells.

(sigs.k8s.io/json, whose strict errors are `duplicate field "spec.x"`; sigs.k8s.io/yaml: `line 3: key "x" already set in
map`) To look for them costs more than to decode, so first it is made sure that something is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import orjson
import yaml


def in_json(body: bytes, content: object = None) -> list[str]:
    """Of a body that is valid JSON: `duplicate field "<path>"`, in the order of the document.

    `content`: what a decoder made of it, if somebody has that.
    """
    # Whatever was dropped had quotes about its name.
    if body.count(b'"') <= orjson.dumps(content or orjson.loads(body)).count(b'"'):
        return []
    try:
        return list(dict.fromkeys(_walk(json.loads(body, object_pairs_hook=_Pairs), "")))
    except RecursionError:
        return []


class _Pairs:
    """An object with all that stands in it."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs


def _walk(value: object, path: str) -> Iterator[str]:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, item in value.pairs:
            place = f"{path}.{key}" if path else key
            if key in seen:
                yield f'duplicate field "{place}"'
            seen.add(key)
            yield from _walk(item, place)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(item, f"{path}[{index}]")


def in_yaml(body: bytes) -> list[str]:
    """Of a body that is valid YAML: `line <n>: key "<key>" already set in map`."""
    found: list[str] = []
    waiting: list[Any] = [yaml.compose(body, yaml.CSafeLoader)]
    known: set[int] = set()
    while waiting:
        node = waiting.pop(0)
        if id(node) in known:
            continue  # an alias
        known.add(id(node))
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, item in node.value:
                if key.value in seen:
                    found.append(f'line {key.start_mark.line + 1}: key "{key.value}" already set in map')
                if isinstance(key.value, str):
                    seen.add(key.value)
                waiting.append(item)
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
    return sorted(found, key=lambda line: int(line[5 : line.index(":")]))
