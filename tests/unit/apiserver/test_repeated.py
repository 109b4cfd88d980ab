"""Keys that stand twice in one object."""

from __future__ import annotations

import httpx
import pytest

PODS = "/api/v1/namespaces/default/pods"
JSON = (
    b'{"metadata":{"name":"a","name":"b"},"spec":{"restartPolicy":"Always","restartPolicy":"Never",'
    b'"containers":[{"name":"c","image":"i","image":"\\"j"}]}}'
)
YAML = b"""
metadata:
  name: a
  name: b
spec:
  containers:
  - name: c
    image: i
    image: j
  restartPolicy: Always
  restartPolicy: Never
"""
TOLD = {
    "application/json": [f'duplicate field "{path}"' for path in
                         ("metadata.name", "spec.restartPolicy", "spec.containers[0].image")],
    "application/yaml": [f'line {line}: key "{key}" already set in map' for line, key in
                         ((4, "name"), (9, "image"), (11, "restartPolicy"))],
}  # fmt: skip
BODIES = {"application/json": JSON, "application/yaml": YAML}


@pytest.mark.parametrize("media_type", BODIES)
async def test_they_are_told_and_the_last_one_counts(http: httpx.AsyncClient, media_type: str) -> None:
    answer = await http.post(PODS, content=BODIES[media_type], headers={"content-type": media_type})
    assert answer.status_code == 201, answer.text
    quoted = [warning.replace('"', '\\"') for warning in TOLD[media_type]]
    assert [f'299 - "{warning}"' for warning in quoted] == answer.headers.get_list("warning")
    assert (answer.json()["metadata"]["name"], answer.json()["spec"]["restartPolicy"]) == ("b", "Never")


@pytest.mark.parametrize("media_type", BODIES)
async def test_they_are_refused_where_that_is_asked_for(http: httpx.AsyncClient, media_type: str) -> None:
    headers = {"content-type": media_type}
    answer = await http.post(PODS, content=BODIES[media_type], headers=headers, params={"fieldValidation": "Strict"})
    assert answer.status_code == 400
    told = TOLD[media_type]
    listed = ", ".join(told) if media_type == "application/json" else "\n  ".join(["yaml: unmarshal errors:", *told])
    assert (
        answer.json()["message"] == f'Pod in version "v1" cannot be handled as a Pod: strict decoding error: {listed}'
    )


@pytest.mark.parametrize("media_type", BODIES)
async def test_nobody_speaks_of_them_where_that_is_asked_for(http: httpx.AsyncClient, media_type: str) -> None:
    headers = {"content-type": media_type}
    answer = await http.post(PODS, content=BODIES[media_type], headers=headers, params={"fieldValidation": "Ignore"})
    assert answer.status_code == 201
    assert "warning" not in answer.headers
