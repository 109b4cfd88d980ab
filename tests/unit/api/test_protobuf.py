"""Protobuf bodies, made by hand or captured from kubectl 1.33, and what no client should send."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kube.api import core, decode, meta, protobuf, resources
from kube.api.authorization import SelfSubjectAccessReview
from kube.api.errors import BadRequest, UnsupportedMediaType
from kube.api.events import Event as NewEvent
from kube.api.meta import DeleteOptions, Model
from kube.api.policy import Eviction
from kube.api.unstructured import Unstructured

DEPLOYMENT: Any = resources.by_plural("apps", "v1", "deployments").model  # type: ignore[union-attr]  # it is there
POD_DISRUPTION_BUDGET: Any = resources.POD_DISRUPTION_BUDGETS.model
TIME = 1_700_000_000  # 2023-11-14T22:13:20Z


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def i(number: int, value: int) -> bytes:
    """An integer field."""
    return varint(number << 3) + varint(value)


def b(number: int, *parts: bytes | str) -> bytes:
    """A field of bytes, text or a message."""
    content = b"".join(part.encode() if isinstance(part, str) else part for part in parts)
    return varint(number << 3 | 2) + varint(len(content)) + content


def body(raw: bytes, version: str = "", kind: str = "") -> bytes:
    type_meta = (b(1, version) if version else b"") + (b(2, kind) if kind else b"")
    return protobuf.MAGIC + b(1, type_meta) + b(2, raw) + b(3, "") + b(4, "")


# What `kubectl create deployment web --image=nginx --replicas=2 --port=80` sends.
CAPTURED_DEPLOYMENT = base64.b64decode(
    "azhzAAoVCgdhcHBzL3YxEgpEZXBsb3ltZW50ErgBCh8KA3dlYhIAGgAiACoAMgA4AEIAWgoKA2FwcBIDd2ViEoYBCAISDAoKCgNhcHASA3dlYhps"
    "ChwKABIAGgAiACoAMgA4AEIAWgoKA2FwcBIDd2ViEkwSLgoFbmdpbngSBW5naW54KgAyCgoAEAAYUCIAKgBCAGoAcgCAAQCIAQCQAQCiAQAaADIA"
    "QgBKAFIAWABgAGgAggEAigEAmgEAwgEAIgIKACgAOAAaDAgAEAAYACAAKAA4ABoAIgA="
)
# What `kubectl auth can-i get pods` sends.
CAPTURED_REVIEW = base64.b64decode(
    "azhzAAoyChdhdXRob3JpemF0aW9uLms4cy5pby92MRIXU2VsZlN1YmplY3RBY2Nlc3NSZXZpZXcSPAoQCgASABoAIgAqADIAOABCABIeChwKB2RlZmF1bHQSA2dldBoAIgAqBHBvZHMyADoAGggIABIAGgAgABoAIgA="
)


def test_what_kubectl_creates_a_deployment_with() -> None:
    labels = {"app": "web"}
    container = {"name": "nginx", "image": "nginx", "ports": [{"containerPort": 80}], "resources": {}}
    assert protobuf.decode(CAPTURED_DEPLOYMENT, DEPLOYMENT) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": labels},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            "strategy": {},
        },
        "status": {},
    }


def test_what_kubectl_asks_for_access_with() -> None:
    assert protobuf.decode(CAPTURED_REVIEW, SelfSubjectAccessReview) == {
        "kind": "SelfSubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "metadata": {},
        "spec": {"resourceAttributes": {"namespace": "default", "verb": "get", "resource": "pods"}},
        "status": {"allowed": False},
    }


@pytest.mark.parametrize(
    ("model", "raw", "expected"),
    [
        pytest.param(core.ConfigMap, b(2, b(1, "a"), b(2, "1")) + b(2, b(1, "b")) + b(3, b(1, "c"), b(2, b"\xff")),
                     {"data": {"a": "1", "b": ""}, "binaryData": {"c": "/w=="}}, id="maps of text and bytes"),
        pytest.param(core.Secret, b(2, b(2, "x"), b(1, "k")) + b(3, "") + i(5, 0),
                     {"data": {"k": "eA=="}, "immutable": False}, id="a pointer to false is kept, an empty text not"),
        pytest.param(core.Pod, b(2, b(18, b(9, b(1, i(1, 3) * 2)))) + b(2, b(1, b(1, "v"), b(2, b(2, b(1, ""))))),
                     {"spec": {"affinity": {}, "volumes": [{"name": "v", "emptyDir": {}}]}},
                     id="inline messages, unknown fields, and a message in two parts"),
        pytest.param(core.Pod, b(2, b(14, i(3, 7), b(4, varint(1), varint(-1)), i(4, 5))),
                     {"spec": {"securityContext": {"runAsNonRoot": True, "supplementalGroups": [1, -1, 5]}}},
                     id="numbers packed and one by one"),
        pytest.param(core.Pod, b(2, i(5, -1), i(25, 0xFFFFFFFF)),
                     {"spec": {"activeDeadlineSeconds": -1, "priority": -1}}, id="negative numbers"),
        pytest.param(core.Pod, b(1, i(7, 5) + i(7, 0) + b(1, "a") + b(1, "b")), {"metadata": {"name": "b"}},
                     id="the last one counts, and a zero leaves nothing"),
        pytest.param(core.Pod, b(1, b(8, i(1, TIME) + i(2, 999)), b(9, i(1, 0))),
                     {"metadata": {"creationTimestamp": "2023-11-14T22:13:20Z",
                                   "deletionTimestamp": "1970-01-01T00:00:00Z"}}, id="times"),
        pytest.param(core.Pod, b(1, b(8, i(1, -62135596800)), b(9)), {"metadata": {}}, id="no time"),
        pytest.param(NewEvent, b(2, i(1, TIME), i(2, 1_500)), {"eventTime": "2023-11-14T22:13:20.000001Z"},
                     id="microseconds"),
        pytest.param(core.Pod, b(1, b(17, b(1, "m"), b(7, b(1, '{"f:spec":{}}')))),
                     {"metadata": {"managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {}}}]}}, id="field sets"),
        pytest.param(core.Service, b(2, b(1, i(3, 80), b(4, i(1, 1), i(2, 0), b(3, "http"))) +
                                     b(1, i(3, 81), b(4, i(1, 0), i(2, 8080), b(3, "")))),
                     {"spec": {"ports": [{"port": 80, "targetPort": "http"}, {"port": 81, "targetPort": 8080}]}},
                     id="a number or text"),
        pytest.param(core.ResourceQuota, b(2, b(1, b(1, "cpu"), b(2, b(1, "500m"))) + b(1, b(1, "pods"))),
                     {"spec": {"hard": {"cpu": "500m", "pods": "0"}}}, id="quantities"),
        pytest.param(SelfSubjectAccessReview, b(2, b(2, b(1, "/x"), b(2, "get"))) + b(3, i(1, 1)),
                     {"spec": {"nonResourceAttributes": {"path": "/x", "verb": "get"}}, "status": {"allowed": True}},
                     id="a review"),
        pytest.param(Eviction, b(1, b(1, "p")) + b(2, i(1, 0), b(2, b(1, "u")), b(5, "All")),
                     {"metadata": {"name": "p"}, "deleteOptions": {"gracePeriodSeconds": 0, "dryRun": ["All"],
                                                                   "preconditions": {"uid": "u"}}}, id="an eviction"),
        pytest.param(DeleteOptions, i(1, 0) + i(3, 0) + b(4, "Foreground"),
                     {"gracePeriodSeconds": 0, "orphanDependents": False, "propagationPolicy": "Foreground"},
                     id="delete options"),
        pytest.param(POD_DISRUPTION_BUDGET, b(2, b(1, i(1, 1), i(2, 0), b(3, "50%"))) + b(3, i(3, 0), i(4, 0)),
                     {"spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 0, "currentHealthy": 0}},
                     id="zeros that Go always writes"),
        pytest.param(core.Pod, b(99, "x") + varint(99 << 3 | 1) + bytes(8) + varint(99 << 3 | 5) + bytes(4) +
                     varint(99 << 3 | 3) + i(1, 1) + varint(98 << 3 | 3) + varint(98 << 3 | 4) + varint(99 << 3 | 4) +
                     b(1, b(1, "p")), {"metadata": {"name": "p"}}, id="unknown fields of every wire type"),
    ],
)  # fmt: skip
def test_a_message_is_what_its_json_is(model: type[Model], raw: bytes, expected: dict[str, Any]) -> None:
    assert protobuf.decode(body(raw), model) == expected


def test_the_kind_is_what_the_envelope_says() -> None:
    """Whether it fits the path is for whoever decodes the data, as with JSON."""
    raw = b(1, b(1, "x"))
    found = protobuf.decode(body(raw, "v1", "Secret"), core.Pod)
    assert found == {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}
    options = protobuf.decode(body(i(1, 3), "apps/v1", "DeleteOptions"), DeleteOptions)
    assert options["gracePeriodSeconds"] == 3
    token = protobuf.decode(body(b(2, b(1, "aud"), i(4, 600)), "authentication.k8s.io/v1", "TokenRequest"), core.Pod)
    assert token["spec"] == {"audiences": ["aud"], "expirationSeconds": 600}


@pytest.mark.parametrize(
    ("version", "kind"), [("example.com/v1", "Foo"), ("v1", "Foo"), ("v2", "Pod"), ("apps/v1beta1", "Deployment")]
)
def test_a_kind_that_is_not_in_the_table_is_refused(version: str, kind: str) -> None:
    with pytest.raises(UnsupportedMediaType, match=f'"{kind}" of version "{version}".*application/json'):
        protobuf.decode(body(b"", version, kind), core.Pod)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"k8s", id="half of the magic"),
        pytest.param(b'{"kind":"Pod"}', id="JSON"),
        pytest.param(b"k8s\0\xff", id="half a number"),
        pytest.param(b"k8s\0" + b"\xff" * 11, id="a number of too many bits"),
        pytest.param(b"k8s\0" + b(2, b"x" * 9)[:-1], id="fewer bytes than announced"),
        pytest.param(b"k8s\0" + varint(2 << 3 | 2) + varint(1 << 62), id="an absurd length"),
        pytest.param(body(b"\x00\x01"), id="field number 0"),
        pytest.param(body(i(1, 1)), id="a number where a message belongs"),
        pytest.param(body(b(2, b(5, "x"))), id="text where a number belongs"),
        pytest.param(body(varint(99 << 3 | 6)), id="no such wire type"),
        pytest.param(body(varint(99 << 3 | 3)), id="a group without an end"),
        pytest.param(body(varint(99 << 3 | 4)), id="an end without a group"),
        pytest.param(body(varint(99 << 3 | 1) + bytes(7)), id="half of a fixed number"),
        pytest.param(body(b(1, b(1, b"\xff"))), id="a name that is not UTF-8"),
        pytest.param(body(b(1, b(8, i(1, 1 << 62)))), id="a time beyond the calendar"),
        pytest.param(body(b(1, b(17, b(7, b(1, "{"))))), id="broken JSON in it"),
        pytest.param(body(b(1, b(17, b(7, b(1, "[" * 100_000))))), id="deep JSON in it"),
        pytest.param(body(varint(99 << 3 | 3) * 100_000), id="deep groups"),
    ],
)
def test_what_is_no_message_is_refused(content: bytes) -> None:
    with pytest.raises(BadRequest, match="is not valid Kubernetes protobuf"):
        protobuf.decode(content, core.Pod)


def survives(content: bytes, model: type[Model] = core.Pod) -> None:
    try:
        data = protobuf.decode(content, model)
        decode.decode(model, data)
    except (BadRequest, UnsupportedMediaType):
        pass


@given(st.binary(max_size=200))
@example(b"")
def test_random_bytes_are_read_or_refused(raw: bytes) -> None:
    survives(raw)
    survives(protobuf.MAGIC + raw)
    survives(body(raw))
    survives(body(b(2, raw)))


@given(st.data())
def test_a_damaged_message_is_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(CAPTURED_DEPLOYMENT[: data.draw(st.integers(0, len(CAPTURED_DEPLOYMENT)))])
    if content:
        for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
            content[at] = data.draw(st.integers(0, 255))
    survives(bytes(content), DEPLOYMENT)


# The table


def below(message: str, path: tuple[str, ...] = ()) -> Iterator[str]:
    """The messages that a message is made of; fails if it is part of itself."""
    assert message not in path, f"a cycle: {path}"
    yield message
    for field in protobuf.fields(message).values():
        if "." in field.type:
            yield from below(field.type, (*path, message))


def test_the_table_is_whole_and_has_no_cycle() -> None:
    served = {*(resource.model for resource in resources.SERVED), *resources.UNSTORED}
    roots = {f"{protobuf.table().versions[model.apiVersion]}.{model.kind}" for model in served}
    reached = {message for root in roots for message in below(root)}
    reached |= {*below("runtime.Unknown"), *below("meta.DeleteOptions"), *below("authentication.TokenRequest")}
    assert reached == set(protobuf.table().messages)


def _flat(message: str) -> dict[str, protobuf.Field]:
    found: dict[str, protobuf.Field] = {}
    for field in protobuf.fields(message).values():
        found.update(_flat(field.type) if field.name == protobuf.INLINE else {field.name: field})
    return found


def _compare(model: type[Model], message: str, seen: set[type[Model]]) -> None:
    if model in seen:
        return
    seen.add(model)
    known, annotations = _flat(message), decode.fields(model)
    # Whoever deletes what cannot be read says so with a field of its own, which nothing here has.
    assert set(known) - {"ignoreStoreReadErrorWithClusterBreakingPotential"} == set(annotations), message
    for name, annotation in annotations.items():
        inner = decode.plain(annotation)
        shape = {list: "list", dict: "map"}.get(get_origin(inner), "one")
        if known[name].type in protobuf.CONVERTED:
            continue
        assert known[name].shape == shape, f"{message}.{name}"
        if shape != "one":
            inner = decode.plain(get_args(inner)[-1])
        if isinstance(inner, type) and issubclass(inner, Model):
            _compare(inner, known[name].type, seen)


def test_the_table_and_the_models_have_the_same_fields() -> None:
    seen: set[type[Model]] = set()
    for model in (*(resource.model for resource in resources.SERVED), *resources.UNSTORED):
        if not issubclass(model, Unstructured):
            _compare(model, f"{protobuf.table().versions[model.apiVersion]}.{model.kind}", seen)
    _compare(meta.DeleteOptions, "meta.DeleteOptions", seen)
    assert len(seen) > 200
