"""Static pods: manifests on the node, and the mirrors that the API shows of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from kube.api import errors
from kube.api.core import Node, Pod
from kube.kubelet.fake import Program
from kube.kubelet.mirrors import mirror_of
from kube.kubelet.static_pods import FileSource, Unreadable, UrlSource, is_mirror, parse
from tests.kubelet_node import NODE, FakeNode, container, is_ready

NAME = f"web-{NODE}"


def manifest(name: str = "web", **spec: Any) -> str:
    body = {"containers": [container()], **spec}
    return orjson.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": body}).decode()


def write(node: FakeNode, text: str, name: str = "web.yaml") -> Path:
    path = node.root / "manifests" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_a_pod_of_the_node_s_own() -> None:
    text = b"apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: a, image: b}]}\n"
    (pod,) = parse(text, "node-1", "file", "/etc/web.yaml")
    assert (pod.name, pod.namespace, pod.spec.nodeName) == ("web-node-1", "default", "node-1")
    assert pod.metadata.annotations["kubernetes.io/config.source"] == "file"
    assert pod.metadata.annotations["kubernetes.io/config.hash"] == pod.metadata.uid
    assert pod.metadata.annotations["kubernetes.io/config.seen"].endswith("Z")
    assert pod.spec.containers[0].imagePullPolicy == "Always"
    assert [(t.operator, t.effect) for t in pod.spec.tolerations] == [("Exists", "NoExecute")]


def test_a_manifest_that_was_once_read_from_an_api_has_a_mirror_that_can_be_created() -> None:
    text = manifest().replace('"metadata":{', '"metadata":{"resourceVersion":"7",')
    (pod,) = parse(text.encode(), NODE, "file", "/a")
    assert mirror_of(pod, None).metadata.resourceVersion == ""


def test_another_manifest_is_another_pod_and_the_same_one_the_same() -> None:
    (one,), (same,) = parse(manifest().encode(), NODE, "file", "/a"), parse(manifest().encode(), NODE, "file", "/a")
    (changed,) = parse(manifest(restartPolicy="Never").encode(), NODE, "file", "/a")
    (elsewhere,) = parse(manifest().encode(), NODE, "file", "/b")
    assert one.metadata.uid == same.metadata.uid
    assert len({pod.metadata.uid for pod in (one, changed, elsewhere)}) == 3


def test_lists_and_several_documents() -> None:
    listed = f'{{"kind": "PodList", "apiVersion": "v1", "items": [{manifest("a")}, {manifest("b")}]}}'
    assert [pod.name for pod in parse(listed.encode(), "n", "http", "u")] == ["a-n", "b-n"]
    assert [pod.name for pod in parse(f"{manifest('a')}\n---\n{manifest('b')}".encode(), "n", "http", "u")] == [
        "a-n",
        "b-n",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not YAML"),
        ("kind: Service", "no Pod"),
        ("kind: Pod\nspec: {containers: 3}", "cannot unmarshal"),
        ("kind: Pod\nmetadata: {name: web}\nspec: {containers: []}", "spec.containers: Required value"),
    ],
)
def test_what_is_no_pod_is_said(text: str, message: str) -> None:
    with pytest.raises(Unreadable, match=message):
        parse(text.encode(), NODE, "file", "/a")


async def test_one_bad_file_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.yaml").write_text(manifest("a"))
    (tmp_path / "b.yaml").write_text("kind: Service")
    (tmp_path / ".hidden").write_text(manifest("c"))
    assert [pod.name for pod in await FileSource(tmp_path, "n", 20).read()] == ["a-n"]
    assert "left out a manifest" in caplog.text


async def test_a_url_is_read_with_its_headers_and_what_is_no_answer_is_no_empty_list() -> None:
    answers = [web.Response(text=manifest()), web.Response(status=503), web.Response(text="")]
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.headers["X-Who"])
        return answers.pop(0)

    app = web.Application()
    app.router.add_get("/pods", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/pods"
        source = UrlSource(url, {"X-Who": "me"}, "n", 20)
        (pod,) = await source.read()
        assert (pod.name, pod.metadata.annotations["kubernetes.io/config.source"]) == ("web-n", "http")
        with pytest.raises(Unreadable, match="503"):
            await source.read()
        with pytest.raises(Unreadable, match="zero-length"):
            await source.read()
    finally:
        await runner.cleanup()
    with pytest.raises(Unreadable, match=r"127\.0\.0\.1"):
        await source.read()
    assert asked == ["me"] * 3


@pytest.mark.looptime
async def test_a_static_pod_runs_and_has_a_mirror_with_its_status(node: FakeNode) -> None:
    await node.api.create(Node.parse({"metadata": {"name": NODE}}))
    write(node, manifest())
    mirror = await node.until_there(is_ready, NAME)
    assert is_mirror(mirror)
    assert (
        mirror.metadata.annotations["kubernetes.io/config.mirror"]
        == (mirror.metadata.annotations["kubernetes.io/config.hash"])
    )
    assert [owner.kind for owner in mirror.metadata.ownerReferences] == ["Node"]
    (pod,) = node.kubelet.pods()
    assert mirror.metadata.uid != pod.metadata.uid
    assert mirror.status.podIP == pod.status.podIP


@pytest.mark.looptime
async def test_a_mirror_that_is_deleted_is_made_again_and_nothing_ends(node: FakeNode) -> None:
    write(node, manifest())
    first = await node.until_there(is_ready, NAME)
    await node.delete(NAME)
    again = await node.until_there(lambda p: is_ready(p) and p.metadata.uid != first.metadata.uid, NAME)
    assert again.status.containerStatuses == first.status.containerStatuses
    assert len(await node.runtime.list_containers()) == 1


@pytest.mark.looptime
async def test_a_manifest_that_is_removed_ends_the_pod_with_grace_and_its_mirror(node: FakeNode) -> None:
    node.runtime.images["stubborn:latest"] = Program(on_sigterm=None)
    path = write(node, manifest(containers=[container(image="stubborn")], terminationGracePeriodSeconds=7))
    await node.until_there(is_ready, NAME)
    path.unlink()
    await node.until_gone(NAME)
    begin = asyncio.get_running_loop().time()
    await node.until_runtime(lambda: not node.kubelet.workers)
    assert 5 < asyncio.get_running_loop().time() - begin < 9
    assert not await node.runtime.list_containers()


@pytest.mark.looptime
async def test_a_changed_manifest_replaces_the_pod_after_its_end(node: FakeNode) -> None:
    write(node, manifest())
    first = await node.until_there(is_ready, NAME)
    write(node, manifest(terminationGracePeriodSeconds=3))
    second = await node.until_there(lambda p: is_ready(p) and p.metadata.uid != first.metadata.uid, NAME)
    assert second.spec.terminationGracePeriodSeconds == 3
    await node.until_runtime(lambda: len(node.kubelet.workers) == 1)


@pytest.mark.looptime
async def test_it_runs_while_the_apiserver_is_away_and_is_adopted_by_the_next_kubelet(node: FakeNode) -> None:
    node.api.down = True
    write(node, manifest())
    await node.until_runtime(lambda: bool(node.recorder.messages("Started")))
    await asyncio.sleep(100)
    node.api.down = False
    await node.until_there(is_ready, NAME)
    await node.kill_kubelet()
    node.start_kubelet()
    await asyncio.sleep(100)
    assert is_ready(await node.pod(NAME))
    assert node.recorder.reasons().count("Started") == 1


@pytest.mark.looptime
async def test_a_mirror_without_a_static_pod_goes_away(node: FakeNode) -> None:
    path = write(node, manifest())
    await node.until_there(is_ready, NAME)
    await node.kill_kubelet()
    path.unlink()
    node.start_kubelet()
    await node.until_gone(NAME)
    await node.until_runtime(lambda: not node.kubelet.workers)
    assert not await node.runtime.list_containers()


@pytest.mark.looptime
async def test_a_pod_of_that_name_in_the_api_is_left_alone(node: FakeNode) -> None:
    theirs = await node.create(NAME)
    write(node, manifest())
    await node.until_runtime(lambda: len(node.kubelet.workers) == 2)
    await asyncio.sleep(60)
    found = await node.api.get(Pod, NAME, "default")
    assert found.metadata.uid == theirs.metadata.uid
    with pytest.raises(errors.NotFound):
        await node.pod("web")
