"""An object's bytes: what is stored is what is served, but for the resourceVersion."""

from __future__ import annotations

import orjson
import pytest
from pydantic import ValidationError

from kube.api.core import Container, Pod, PodSpec
from kube.api.meta import ObjectMeta, now
from kube.api.resources import RESOURCES, Resource
from kube.store.codec import decode, encode, splice_revision
from kube.store.store import KeyValue

POD = Pod(
    metadata=ObjectMeta(name="web", namespace="default"), spec=PodSpec(containers=[Container(name="c", image="i")])
)


@pytest.mark.parametrize(
    ("stored", "served"),
    [
        pytest.param(
            b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"},"spec":{}}',
            b'{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"42","name":"a"},"spec":{}}',
            id="as we write it",
        ),
        pytest.param(
            b'{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","metadata":{"name":"a"}}\n',
            b'{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","metadata":{"resourceVersion":"42","name":"a"}}',
            id="as kube-apiserver writes it, with a newline",
        ),
        pytest.param(
            b'{"kind":"Pod","apiVersion":"v1","metadata":{}}',
            b'{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"42"}}',
            id="empty metadata",
        ),
        pytest.param(
            b'{"metadata":{"name":"a"},"apiVersion":"v1","spec":{},"kind":"Pod"}',
            b'{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"42","name":"a"},"spec":{}}',
            id="keys in another order",
        ),
        pytest.param(
            b'{"apiVersion":"v1","kind":"RC","spec":{"template":{"metadata":{"name":"t"}}},"metadata":{"name":"a"}}',
            b'{"kind":"RC","apiVersion":"v1","metadata":{"resourceVersion":"42","name":"a"},'
            b'"spec":{"template":{"metadata":{"name":"t"}}}}',
            id="another metadata before its own",
        ),
        pytest.param(
            b'{ "kind": "Pod", "apiVersion": "v1", "metadata": { "name": "a", "resourceVersion": "7" } }',
            b'{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"42","name":"a"}}',
            id="written by hand, with spaces and an old resourceVersion",
        ),
        pytest.param(
            '{"kind":"Pod","apiVersion":"v1","metadata":{"annotations":{"é":"\\"metadata\\":{"}}}'.encode(),
            '{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"42","annotations":{"é":"\\"metadata\\":{"}}}'.encode(),
            id="text that looks like metadata",
        ),
    ],
)
def test_a_stored_value_is_served_with_its_resource_version(stored: bytes, served: bytes) -> None:
    assert splice_revision(stored, 42) == served


@pytest.mark.parametrize("value", [b"", b"\n", b"k8s\0\n\x0c", b"[]", b'"x"', b"{}", b'{"metadata":[]}'])
def test_what_is_no_object_is_refused(value: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # whichever: orjson's own, or ours
        splice_revision(value, 42)


def test_the_resource_version_is_not_stored() -> None:
    pod = POD.clone()
    pod.metadata.resourceVersion = "7"
    assert encode(pod) == encode(POD)
    assert b"resourceVersion" not in encode(pod)
    assert pod.metadata.resourceVersion == "7", "the object itself is left as it was"


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.plural)
def test_every_kind_is_stored_so_that_it_can_be_spliced(resource: Resource) -> None:
    model = resource.model
    obj = model(metadata=ObjectMeta(name="a", creationTimestamp=now()))
    value = encode(obj)
    served = splice_revision(value, 42)
    head = f'{{"kind":"{model.kind}","apiVersion":"{model.apiVersion}","metadata":{{'.encode()
    assert value.startswith(head)
    assert served.startswith(head + b'"resourceVersion":"42",')
    assert model.parse(served) == decode(model, KeyValue("/registry/x", value, 42))
    assert encode(model.parse(served)) == value


def test_an_object_is_read_back_at_its_keys_revision() -> None:
    pod = decode(Pod, KeyValue("/registry/pods/default/web", encode(POD), 42))
    assert pod.metadata.resourceVersion == "42"
    pod.metadata.resourceVersion = ""
    assert pod == POD
    assert orjson.loads(splice_revision(encode(POD), 42))["metadata"]["resourceVersion"] == "42"


def test_a_value_that_is_no_pod_does_not_become_one() -> None:
    with pytest.raises(ValidationError):
        decode(Pod, KeyValue("/registry/pods/default/web", b'{"spec":{"containers":3}}', 42))
