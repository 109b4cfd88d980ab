"""exec, attach and portforward: what the kubelet is asked, and what is wrong before it is."""

from __future__ import annotations

import pytest

from kube.api import errors
from kube.api.core import Pod
from kube.apiserver.nodes import BEARER, _without_token
from kube.apiserver.request import Query, Request, parse_path
from kube.apiserver.streams import foreign_origin, kubelet_path


def pod(*names: str) -> Pod:
    return Pod.parse({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"containers": [{"name": name, "image": "i"} for name in names]},
    })  # fmt: skip


def ask(subresource: str, query: str) -> Request:
    path = f"/api/v1/namespaces/default/pods/web/{subresource}"
    target = parse_path(path)
    assert target is not None
    return Request("GET", path, target, Query(query.encode()), {})


@pytest.mark.parametrize(
    ("subresource", "query", "path"),
    [
        pytest.param("exec", "command=ls&command=a%20b%26&stdout=true&stderr=1&stdin=false",
                     "/exec/default/web/a?output=1&error=1&command=ls&command=a+b%26", id="exec"),
        pytest.param("attach", "stdin=true&tty=true&stdout=true", "/attach/default/web/a?input=1&output=1&tty=1",
                     id="attach"),
        pytest.param("portforward", "", "/portForward/default/web", id="port-forward, ports in its streams"),
        pytest.param("portforward", "ports=80&ports=81,82", "/portForward/default/web?port=80&port=81%2C82",
                     id="port-forward, ports in the query"),
    ],
)  # fmt: skip
def test_the_kubelet_is_asked_by_its_own_names(subresource: str, query: str, path: str) -> None:
    assert kubelet_path(ask(subresource, query), pod("a")) == path


@pytest.mark.parametrize(
    ("query", "containers", "words"),
    [
        pytest.param("command=ls&stdout=1", ["a", "b"],
                     "a container name must be specified for pod web, choose one of: [a b]", id="which container"),
        pytest.param("command=ls&stdout=1&container=c", ["a", "b"], "container c is not valid for pod web",
                     id="no such container"),
        pytest.param("command=ls&tty=1", ["a"], "you must specify at least 1 of stdin, stdout, stderr",
                     id="no streams"),
        pytest.param("stdout=1", ["a"], "you must specify at least one command for the container", id="no command"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(query: str, containers: list[str], words: str) -> None:
    with pytest.raises(errors.BadRequest) as refused:
        kubelet_path(ask("exec", query), pod(*containers))
    assert refused.value.message == words


def test_a_page_from_elsewhere_is_foreign() -> None:
    assert foreign_origin("http://evil.example", "127.0.0.1:8080")
    assert not foreign_origin("http://127.0.0.1:8080", "127.0.0.1:8080")
    assert not foreign_origin("", "127.0.0.1:8080")


def test_a_browsers_token_is_not_passed_on() -> None:
    assert _without_token(b"Sec-WebSocket-Protocol", BEARER + b"c2VjcmV0, v4.channel.k8s.io") == b"v4.channel.k8s.io"
    assert _without_token(b"accept", b"a,  b") == b"a,  b"
