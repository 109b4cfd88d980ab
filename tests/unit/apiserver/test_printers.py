"""What `kubectl get` shows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from kube.api import resources
from kube.api.core import Endpoints, Node, Pod, ReplicationController, Service
from kube.api.meta import Object
from kube.apiserver.columns import duration
from kube.apiserver.printers import pod_reason, table

MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (45, "45s"), (119, "119s"), (120, "2m"), (185, "3m5s"), (10 * MINUTE, "10m"), (179 * MINUTE, "179m"),
        (3 * HOUR, "3h"), (5 * HOUR + 20 * MINUTE, "5h20m"), (8 * HOUR + 59 * MINUTE, "8h"), (47 * HOUR, "47h"),
        (2 * DAY, "2d"), (3 * DAY + 4 * HOUR, "3d4h"), (8 * DAY, "8d"), (729 * DAY, "729d"), (730 * DAY, "2y"),
        (760 * DAY, "2y30d"), (3000 * DAY, "8y"), (-5, "<invalid>"),
    ],
)  # fmt: skip
def test_an_age_as_upstream_words_it(seconds: int, text: str) -> None:
    assert duration(seconds) == text


def pod(status: dict[str, Any], **meta: Any) -> Pod:
    spec = {"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]}
    return Pod.parse({"metadata": {"name": "p", **meta}, "spec": spec, "status": status})


def container(name: str, state: dict[str, Any], *, ready: bool = False, restarts: int = 0) -> dict[str, Any]:
    return {"name": name, "state": state, "ready": ready, "restartCount": restarts}


RUNNING: dict[str, Any] = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
DONE = {"terminated": {"exitCode": 0, "reason": "Completed"}}
STATES = {
    "nothing known yet": (pod({"phase": "Pending"}), ("Pending", 0, 0)),
    "all running": (
        pod({"phase": "Running", "containerStatuses": [
            container("a", RUNNING, ready=True), container("b", RUNNING, ready=True, restarts=2)]}),
        ("Running", 2, 2),
    ),
    "one crashes": (
        pod({"phase": "Running", "containerStatuses": [
            container("a", RUNNING, ready=True),
            container("b", {"waiting": {"reason": "CrashLoopBackOff"}}, restarts=5)]}),
        ("CrashLoopBackOff", 1, 5),
    ),
    "killed by a signal": (
        pod({"phase": "Failed", "containerStatuses": [container("a", {"terminated": {"exitCode": 137, "signal": 9}})]}),
        ("Signal:9", 0, 0),
    ),
    "ended without a reason": (
        pod({"phase": "Failed", "containerStatuses": [container("a", {"terminated": {"exitCode": 3}})]}),
        ("ExitCode:3", 0, 0),
    ),
    "one done, one still running": (
        pod({"phase": "Running", "containerStatuses": [container("a", DONE), container("b", RUNNING, ready=True)],
             "conditions": [{"type": "Ready", "status": "False"}]}),
        ("NotReady", 1, 0),
    ),
    "all done": (
        pod({"phase": "Succeeded", "containerStatuses": [container("a", DONE), container("b", DONE)]}),
        ("Completed", 0, 0),
    ),
    "going away": (
        pod({"phase": "Running"}, deletionTimestamp="2026-01-01T00:00:00Z"),
        ("Terminating", 0, 0),
    ),
    "refused by the node": (pod({"phase": "Failed", "reason": "Evicted"}), ("Evicted", 0, 0)),
}  # fmt: skip


@pytest.mark.parametrize(("pod", "expected"), STATES.values(), ids=STATES.keys())
def test_a_pods_status_in_one_word(pod: Pod, expected: tuple[str, int, int]) -> None:
    reason, ready, total, restarts, _ = pod_reason(pod)
    assert (reason, ready, restarts) == expected
    assert total == 2


def shown(obj: Object) -> dict[str, Any]:
    made = table(resources.of(type(obj)), [obj], "1", "Metadata")
    assert made["kind"] == "Table"
    columns = made["columnDefinitions"]
    cells = made["rows"][0]["cells"]
    assert len(columns) == len(cells)
    assert made["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    return {column["name"]: cell for column, cell in zip(columns, cells, strict=True)}


CREATED = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_services_show_their_addresses_and_ports() -> None:
    service = Service.parse({
        "metadata": {"name": "s", "creationTimestamp": CREATED},
        "spec": {"type": "NodePort", "clusterIP": "10.96.0.9", "selector": {"a": "b", "c": "d"},
                 "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]},
    })  # fmt: skip
    cells = shown(service)
    assert cells["Port(s)"] == "80:30080/TCP,53/UDP"
    assert cells["External-IP"] == "<none>"
    assert cells["Selector"] == "a=b,c=d"


def test_controllers_show_their_counts_as_numbers() -> None:
    rc = ReplicationController.parse({
        "metadata": {"name": "r"},
        "spec": {"replicas": 3, "selector": {"a": "b"},
                 "template": {"spec": {"containers": [{"name": "x", "image": "i"}, {"name": "y", "image": "j"}]}}},
        "status": {"replicas": 2, "readyReplicas": 1},
    })  # fmt: skip
    cells = shown(rc)
    assert (cells["Desired"], cells["Current"], cells["Ready"]) == (3, 2, 1)
    assert (cells["Containers"], cells["Images"]) == ("x,y", "i,j")
    assert cells["Age"] == "<unknown>"


def test_endpoints_show_the_first_three() -> None:
    addresses = [{"ip": f"10.0.0.{n}"} for n in range(1, 6)]
    endpoints = Endpoints.parse(
        {"metadata": {"name": "e"}, "subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]}
    )
    assert shown(endpoints)["Endpoints"] == "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more..."
    assert shown(Endpoints.parse({"metadata": {"name": "e"}}))["Endpoints"] == "<none>"


def test_nodes_show_whether_they_take_pods() -> None:
    node = Node.parse({
        "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/minion": ""}},
        "spec": {"unschedulable": True},
        "status": {"conditions": [{"type": "Ready", "status": "True"}],
                   "addresses": [{"type": "InternalIP", "address": "192.168.1.2"}]},
    })  # fmt: skip
    cells = shown(node)
    assert cells["Status"] == "Ready,SchedulingDisabled"
    assert cells["Roles"] == "minion"
    assert cells["Internal-IP"] == "192.168.1.2"
