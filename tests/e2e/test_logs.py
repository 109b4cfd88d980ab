"""Logs: client → apiserver → the kubelet's own port → Docker."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from deploy.cluster import pki
from kube import certificates
from tests.e2e.api import Api, Refused, pod, shell
from tests.e2e.node import Node
from tests.e2e.waiting import eventually


def text(api: Api, name: str, **query: str) -> str:
    """A pod's log."""
    answer = api.http.get(api.path("pods", name, "log"), params=query)
    if answer.status_code >= 400:
        raise Refused(answer.status_code, answer.json())
    return answer.text


def test_the_log_is_what_the_container_wrote(api: Api) -> None:
    api.run(pod("chatty", shell("echo one; echo two >&2; sleep 0.2; echo three; sleep 1000")))
    eventually(lambda: sorted(text(api, "chatty").split()) == ["one", "three", "two"], "both streams are in the log")
    eventually(lambda: text(api, "chatty", tailLines="1") == "three\n", "tailLines cuts")


def test_the_log_of_a_container_that_ended_is_there(api: Api) -> None:
    api.create("pods", pod("job", shell("echo done"), restartPolicy="Never"))
    api.wait_phase("job", "Succeeded")
    assert text(api, "job") == "done\n"


def test_a_pod_of_two_wants_to_know_which_container(api: Api) -> None:
    api.run(pod("two", shell("echo a; sleep 1000", "a"), shell("echo b; sleep 1000", "b")))
    assert text(api, "two", container="b") == "b\n"
    with pytest.raises(Refused) as refused:
        text(api, "two")
    assert refused.value.code == 400
    assert "a container name must be specified for pod two, choose one of: [a b]" in refused.value.status["message"]
    with pytest.raises(Refused) as refused:
        text(api, "two", container="c")
    assert refused.value.code == 400
    assert "container c is not valid for pod two" in refused.value.status["message"]


def test_follow_streams_until_the_container_ends(api: Api) -> None:
    script = "n=0; while [ $n -lt 10 ]; do echo $n; n=$((n+1)); sleep 0.1; done"
    api.create("pods", pod("count", shell(script), restartPolicy="Never"))
    eventually(lambda: text(api, "count").startswith("0"), "it has begun")
    with api.http.stream("GET", api.path("pods", "count", "log"), params={"follow": "true"}, timeout=20) as answer:
        assert answer.status_code == 200
        assert list(_lines(answer)) == [str(number) for number in range(10)]


def _lines(answer: httpx.Response) -> Iterator[str]:
    yield from answer.iter_lines()


def test_the_log_of_no_pod_is_not_found(api: Api) -> None:
    with pytest.raises(Refused) as refused:
        text(api, "nobody")
    assert refused.value.code == 404
    assert refused.value.status["reason"] == "NotFound"


def test_the_kubelet_itself_answers_pods_and_logs(api: Api, node: Node) -> None:
    api.run(pod("chatty", shell("echo hello; sleep 1000")))
    settings = node.cluster.settings
    kubelet = f"https://127.0.0.1:{settings.kubelet_port}"
    admin = certificates.client_context(settings.pki / "ca.crt", pki.pair(settings, "admin"))
    with httpx.Client(verify=admin) as known:
        pods = known.get(f"{kubelet}/pods").json()
        names = {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in pods["items"]}
        assert (api.namespace, "chatty") in names
        assert known.get(f"{kubelet}/containerLogs/{api.namespace}/chatty/main").text == "hello\n"
    with httpx.Client(verify=certificates.client_context(settings.pki / "ca.crt")) as stranger:
        assert stranger.get(f"{kubelet}/pods").status_code == 401
    assert httpx.get(f"http://127.0.0.1:{settings.kubelet_healthz_port}/healthz").text == "ok"
