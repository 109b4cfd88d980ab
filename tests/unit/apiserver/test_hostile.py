"""Whatever a client sends, it is answered with what is wrong with it: never with a 500, and never not at all."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CORE = "/api/v1/namespaces/default"
EXAMPLES = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["metadata", "spec", "status", "data", "kind", "apiVersion", "name", "namespace", "labels", "annotations",
          "containers", "ports", "port", "selector", "template", "replicas", "type", "ownerReferences", "finalizers",
          "uid", "generateName", "resourceVersion", "creationTimestamp", "deletionTimestamp", "managedFields", "image",
          "resources", "limits", "env", "value", "clusterIP", "items", "target", "volumes", "subsets"]  # fmt: skip
objects = st.recursive(
    json_values,
    lambda inner: st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5) | st.lists(inner, max_size=2),
    max_leaves=20,
)
paths = st.lists(
    st.sampled_from(["api", "apis", "v1", "namespaces", "default", "pods", "services", "status", "watch", "proxy",
                     "log", "scale", "apps", "deployments", "nodes", "bindings", "finalize", "exec", "..", "", "%"])
    | st.text(max_size=5),
    max_size=9,
)  # fmt: skip
QUERY = ["watch", "limit", "continue", "resourceVersion", "resourceVersionMatch", "labelSelector", "fieldSelector",
         "timeoutSeconds", "dryRun", "fieldManager", "fieldValidation", "force", "pretty", "gracePeriodSeconds",
         "propagationPolicy", "container", "tailLines", "allowWatchBookmarks", "includeObject"]  # fmt: skip
queries = st.dictionaries(
    st.sampled_from(QUERY),
    st.sampled_from(["", "0", "1", "-1", "x", "true", "a=b", "a in (b", "!a", "metadata.name=x", "=", ",", "spec.x=1",
                     "99999999999999999999999", "All", "Strict", "Exact", "e30", "eyJ2IjoibWV0YS5rOHMuaW8vdjEifQ"])
    | st.text(max_size=6),
    max_size=4,
)  # fmt: skip
TYPES = ["application/json", "application/yaml", "application/json-patch+json", "application/merge-patch+json",
         "application/strategic-merge-patch+json", "application/apply-patch+yaml", "text/plain", "",
         "application/vnd.kubernetes.protobuf", "application/json; charset=utf-8", "application/x-www-form-urlencoded",
         ";", "a/b/c"]  # fmt: skip


async def ask(http: httpx.AsyncClient, method: str, path: str, **options: Any) -> httpx.Response:
    """An answer that is not our fault."""
    async with asyncio.timeout(20):
        answer = await http.request(method, path, **options)
    assert answer.status_code < 500 or (answer.status_code, answer.json()["reason"]) in (
        (503, "ServiceUnavailable"),  # a proxy to nowhere
        (504, "Timeout"),  # a resourceVersion that is yet to come
    ), f"{method} {answer.request.url} {options}: {answer.text}"
    return answer


async def test_any_path_with_any_method(http: httpx.AsyncClient) -> None:
    asked: list[tuple[str, str]] = []

    @given(st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "FROB"]), paths)
    @EXAMPLES
    def collect(method: str, parts: list[str]) -> None:
        asked.append((method, "/" + "/".join(quote(part, safe="%.") for part in parts)))

    collect()
    for method, path in asked:
        if not path.startswith("//") and "watch" not in path:
            await ask(http, method, path)


async def test_any_query(http: httpx.AsyncClient) -> None:
    await http.post(f"{CORE}/configmaps", json={"metadata": {"name": "a"}})
    asked: list[tuple[str, str, dict[str, str]]] = []

    @given(
        st.sampled_from(["GET", "DELETE", "POST", "PATCH"]), st.sampled_from(["configmaps", "configmaps/a"]), queries
    )
    @EXAMPLES
    def collect(method: str, what: str, query: dict[str, str]) -> None:
        asked.append((method, f"{CORE}/{what}", query))

    collect()
    for method, path, query in asked:
        version = query.get("resourceVersion", "")
        if "watch" in query or (version.isdigit() and int(version) > 1):
            continue  # the one does not end by itself, the other waits for what will not come
        await ask(http, method, path, params=query)


@pytest.mark.parametrize("plural", ["pods", "services", "replicationcontrollers", "configmaps", "endpoints", "events"])
async def test_any_object(http: httpx.AsyncClient, plural: str) -> None:
    bodies: list[bytes] = []

    @given(objects)
    @EXAMPLES
    def collect(body: object) -> None:
        bodies.append(_json(body))

    collect()
    for body in bodies:
        headers = {"content-type": "application/json"}
        await ask(http, "POST", f"{CORE}/{plural}", content=body, headers=headers)
        await ask(http, "PUT", f"{CORE}/{plural}/x", content=body, headers=headers)


CONTAINER = {
    "name": "c", "image": "i", "env": [{"name": "A", "value": "b"}, {"name": "C", "valueFrom": {
        "resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}}],
    "ports": [{"containerPort": 80, "name": "http", "hostPort": 81}],
    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1"}},
    "livenessProbe": {"httpGet": {"path": "/", "port": "http"}}, "volumeMounts": [{"name": "v", "mountPath": "/m"}],
}  # fmt: skip
SOUND: dict[str, dict[str, Any]] = {
    "pods": {"spec": {"containers": [CONTAINER], "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}],
                      "tolerations": [{"key": "a", "operator": "Exists", "tolerationSeconds": 3}]}},
    "services": {"spec": {"type": "NodePort", "selector": {"a": "b"}, "ports": [{"port": 80, "nodePort": 30001}]}},
    "limitranges": {"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}, "default": {"cpu": "1"}}]}},
    "resourcequotas": {"spec": {"hard": {"pods": "3"}, "scopes": ["BestEffort"]}},
    "endpoints": {"subsets": [{"addresses": [{"ip": "1.2.3.4"}], "ports": [{"port": 80, "protocol": "TCP"}]}]},
    "events": {"involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}, "count": 1,
               "lastTimestamp": "2020-01-01T00:00:00Z", "series": {"count": 1}},
}  # fmt: skip
ODD: list[object] = [
    None, True, 0, -1, 2**31, 2**63, 2**64, 1.5, 1e300, "", "x", "80%", "1e309", "1Ki", "9" * 400, "a" * 300, "a/b/c",
    "0000-01-01T00:00:00Z", "::1", [], [None], ["x"], [[]], {}, {"a": None}, {"x": {}}, [{}],
]  # fmt: skip


def places(value: Any, here: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The paths of everything in a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(place for key, item in inner for place in places(item, (*here, key)))]


def replaced(value: Any, place: tuple[str | int, ...], by: Any) -> Any:
    """The value with something else at a place."""
    if not place:
        return by
    copy = value.copy()
    copy[place[0]] = replaced(value[place[0]], place[1:], by)
    return copy


@pytest.mark.parametrize("plural", SOUND)
async def test_any_one_field_of_a_sound_object(http: httpx.AsyncClient, plural: str) -> None:
    sound = {"metadata": {"name": "x", "labels": {"a": "b"}, "finalizers": ["a.b/c"]}, **SOUND[plural]}
    bodies: list[Any] = []

    @given(st.sampled_from(places(sound)), st.sampled_from(ODD))
    @EXAMPLES
    def collect(place: tuple[str | int, ...], by: object) -> None:
        bodies.append(replaced(sound, place, by))

    collect()
    for body in bodies:
        content = _json(body)
        await ask(http, "POST", f"{CORE}/{plural}", content=content, headers={"content-type": TYPES[0]})
        for media_type in TYPES[3:6]:
            headers = {"content-type": media_type}
            manager = {"fieldManager": "m"} if "apply" in media_type else {}
            await ask(http, "PATCH", f"{CORE}/{plural}/x", content=content, headers=headers, params=manager)
        await ask(http, "GET", f"{CORE}/{plural}", headers={"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"})


@pytest.mark.parametrize("media_type", TYPES)
async def test_any_body_of_any_type(http: httpx.AsyncClient, media_type: str) -> None:
    made = {"metadata": {"name": "rc"}, "spec": {"selector": {"a": "b"}, "template": {
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}  # fmt: skip
    assert (await http.post(f"{CORE}/replicationcontrollers", json=made)).status_code == 201
    bodies: list[bytes] = []

    @given(st.binary(max_size=30) | objects.map(_json) | patches.map(_json))
    @EXAMPLES
    def collect(body: bytes) -> None:
        bodies.append(body)

    collect()
    headers = {"content-type": media_type}
    for body in bodies:
        path = f"{CORE}/replicationcontrollers/rc"
        await ask(http, "PATCH", path, content=body, headers=headers, params={"fieldManager": "m"})
        await ask(http, "PATCH", f"{path}/scale", content=body, headers=headers, params={"fieldManager": "m"})
        await ask(http, "PUT", f"{path}/status", content=body, headers=headers)
        await ask(http, "POST", f"{CORE}/bindings", content=body, headers=headers)
        await ask(http, "DELETE", f"{CORE}/pods/none", content=body, headers=headers)


patches = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x"]),
            "path": st.sampled_from(["", "/", "/spec", "/spec/template/spec/containers/0", "/metadata/labels/a", "x",
                                     "/spec/template/spec/containers/-", "/~2", "/spec/replicas/x"]),
            "from": st.sampled_from(["/spec", "/metadata", "", "/none"]),
            "value": json_values,
        },
    ),
    max_size=3,
)  # fmt: skip


def _json(value: object) -> bytes:
    """As JSON; what orjson does not write (a lone surrogate, a long number) is left to json."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value).encode()
