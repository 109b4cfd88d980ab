"""What happened, from the records: each write by its writer, each line by its meaning, in an order that can be true."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from deploy.compose import diagram, hops
from deploy.compose.hops import Change, Hop, of_changes, of_container, of_log, settled

NS = "demo"
POD_KEY = f"/registry/pods/{NS}/web"


def pod(node: str = "", phase: str = "", ready: bool = False, **metadata: Any) -> dict[str, Any]:
    status: dict[str, Any] = {"phase": phase} if phase else {}
    if ready:
        status["conditions"] = [{"type": "Ready", "status": "True"}]
    return {
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": NS} | metadata,
        "spec": {"nodeName": node} if node else {},
        "status": status,
    }


def writes(*objects: dict[str, Any] | None, key: str = POD_KEY) -> list[tuple[str, str]]:
    changes = [Change(float(n), n, key, each) for n, each in enumerate(objects, 1)]
    return [(hop.source, hop.what) for hop in of_changes(changes, NS)]


def test_a_pods_life_is_told_by_who_wrote_each_part_of_it() -> None:
    bound = pod("n1", "Pending")
    assert writes(
        pod(),
        pod("n1"),
        bound,
        pod("n1", "Running", ready=True),
        pod("n1", "Running", ready=True, deletionTimestamp="now"),
        None,
    ) == [
        ("client", "Pod web created"),
        ("scheduler", "Pod web bound to n1"),
        ("kubelet", "Pod web: Pending"),
        ("kubelet", "Pod web: Running, Ready"),
        ("client", "Pod web is to be deleted"),
        ("kubelet", "Pod web gone"),
    ]


def test_a_pod_that_has_an_owner_was_made_by_a_controller() -> None:
    assert writes(pod(ownerReferences=[{"name": "rc"}])) == [("controller-manager", "Pod web created")]


def test_a_pod_that_no_node_takes_is_marked_by_the_scheduler() -> None:
    assert writes(pod(), pod(phase="Pending"))[1] == ("scheduler", "Pod web: Pending")


def test_endpoints_are_the_controllers_and_counted() -> None:
    endpoints = {"kind": "Endpoints", "metadata": {"name": "web"}, "subsets": [{"addresses": [{}, {}]}]}
    assert writes({**endpoints, "subsets": []}, endpoints, key=f"/registry/services/endpoints/{NS}/web") == [
        ("controller-manager", "Endpoints web created"),
        ("controller-manager", "Endpoints web: 2 ready, 0 not"),
    ]


@pytest.mark.parametrize(
    ("component", "lane"), [("kubelet", "kubelet"), ("default-scheduler", "scheduler"), ("kube-proxy", "proxy")]
)
def test_an_event_is_by_the_component_that_it_names(component: str, lane: str) -> None:
    event = {"kind": "Event", "source": {"component": component}, "reason": "R", "involvedObject": {"name": "web"}}
    assert writes(event, key=f"/registry/events/{NS}/web.1") == [(lane, "event R about web")]


def test_other_namespaces_and_the_second_copy_of_a_bound_pod_are_left_out() -> None:
    assert writes(pod(), key="/registry/pods/other/web") == []
    assert writes(pod("n1"), key=f"/registry/nodes/n1/boundpods/{NS}/web") == []


def test_lines_of_a_log_become_hops_with_their_milliseconds() -> None:
    lines = [
        "2026-11-23T21:25:15.528Z INFO scheduler.scheduler: bound pod=demo/web node=minion-1",
        "2026-11-23T21:25:15.600Z INFO scheduler.scheduler: bound pod=other/web node=minion-1",
        "2026-11-23T21:25:16.000Z INFO proxy.kernel: rules written: 1 service ports",
        "Traceback (most recent call last):",
    ]
    first, second = of_log(lines, "here", NS)
    assert (first.source, first.target, first.what) == ("scheduler", "apiserver", "bound pod=web node=minion-1 (here)")
    assert first.proves == "Pod web bound to minion-1"
    assert second.source == "proxy"
    assert second.time - first.time == pytest.approx(0.472)


@pytest.mark.parametrize(("logger", "words"), [meaning[:2] for meaning in hops._MEANING])
def test_the_daemons_have_the_lines_that_are_looked_for(logger: str, words: str) -> None:
    module = importlib.util.find_spec(f"kube.{logger}")
    assert module is not None
    assert module.origin is not None
    assert f'"{words.strip()}' in Path(module.origin).read_text()


def test_who_makes_pods_for_a_controller_has_seen_that_it_was_created() -> None:
    line = "2026-11-23T21:25:16.000Z INFO controller_manager.replication: too few pods, creating rc=demo/web count=2"
    late = Hop(2e9, "client", "etcd", "ReplicationController web created", 1)
    hops = settled([late, *of_log([line], "here", NS)], 0)
    assert [hop.what for hop in hops] == [
        "ReplicationController web created",
        "too few pods, creating rc=web count=2 (here)",
    ]
    assert hops[0].time == hops[1].time


def test_a_containers_start_is_dockers_to_the_nanosecond() -> None:
    labels = {"io.kubernetes.container.name": "web", "io.kubernetes.pod.name": "hello"}
    hop = of_container({"Config": {"Labels": labels}, "State": {"StartedAt": "1970-01-01T00:00:01.123456789Z"}}, "n1")
    assert hop.what == "web of hello runs (n1)"
    assert hop.time == pytest.approx(1.123456789)


def test_a_change_is_dated_back_to_what_proves_it_and_so_are_those_before_it() -> None:
    late = [
        Hop(5.0, "client", "etcd", "Pod web created", 1),
        Hop(6.0, "scheduler", "etcd", "Pod web bound to n1", 2),
        Hop(7.0, "kubelet", "etcd", "Pod web: Pending", 3),
        Hop(2.0, "scheduler", "apiserver", "bound pod=web node=n1", proves="Pod web bound to n1"),
    ]
    assert [(hop.time, hop.what) for hop in settled(late, 0)] == [
        (2.0, "Pod web created"),
        (2.0, "Pod web bound to n1"),
        (2.0, "bound pod=web node=n1"),
        (7.0, "Pod web: Pending"),
    ]


def test_a_change_is_dated_back_to_the_first_who_knew_of_it() -> None:
    seen = [
        Hop(0.0, "client", "apiserver", "POST ReplicationController shop"),
        Hop(1.0, "controller-manager", "apiserver", "too few pods", proves="ReplicationController shop created"),
        Hop(2.0, "client", "etcd", "ReplicationController shop created", 7),
        Hop(3.0, "apiserver", "client", "201 Created", proves="ReplicationController shop created"),
    ]
    assert [(hop.time, hop.what) for hop in settled(seen, 0)] == [
        (0.0, "POST ReplicationController shop"),
        (1.0, "ReplicationController shop created"),
        (1.0, "too few pods"),
        (3.0, "201 Created"),
    ]


def test_who_makes_a_sandbox_has_seen_that_the_pod_was_bound_to_its_node() -> None:
    line = (
        "2026-11-23T21:25:16.000Z INFO kubelet.pod_actions: made a sandbox pod=demo/web uid=1 ip=10.244.2.2 attempt=0"
    )
    late = Hop(2e9, "scheduler", "etcd", "Pod web bound to minion-1", 1)
    hops = settled([late, *of_log([line], "minion-1", NS)], 0)
    assert hops[0].what == "Pod web bound to minion-1"
    assert hops[1].what.startswith("made a sandbox")


def test_what_was_before_and_what_is_said_twice_is_left_out() -> None:
    once = Hop(2.0, "kubelet", "docker", "new")
    old = Hop(1.0, "kubelet", "docker", "old")
    assert settled([old, once, Hop(3.0, "kubelet", "docker", "new")], 1.5) == [once]


def test_rules_are_written_as_often_as_a_proxy_says_so() -> None:
    written = [Hop(time, "proxy", "proxy", "rules written: 1 service ports (n1)") for time in (2.0, 3.0)]
    assert settled(written, 1.5) == written


def test_both_pictures_show_every_hop_with_the_milliseconds_since_the_first() -> None:
    hops = [Hop(1.0, "client", "apiserver", "POST <Pod>"), Hop(1.25, "docker", "docker", "runs", 0)]
    assert "    250     250  docker" in diagram.table(hops)
    drawn = diagram.svg("t", hops)
    assert "250 ms" in drawn
    assert "POST &lt;Pod&gt;" in drawn
    assert ">scheduler<" not in drawn, "who took no part has no lane"


def test_the_picture_is_as_wide_as_its_longest_label_and_every_arrow_has_a_head() -> None:
    drawn = ElementTree.fromstring(
        diagram.svg("t", [Hop(1.0, "kubelet", "docker", "x" * 300), Hop(2.0, "docker", "etcd", "y")])
    )
    label = next(each for each in drawn.iter() if each.text == "x" * 300)
    assert int(drawn.attrib["width"]) >= int(label.attrib["x"]) + 300 * diagram.LETTER
    heads = {each.attrib["marker-end"] for each in drawn.iter() if "marker-end" in each.attrib}
    assert heads == {f"url(#{each.attrib['id']})" for each in drawn.iter() if each.tag.endswith("marker")} - {
        "url(#etcd)"
    }
