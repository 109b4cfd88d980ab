"""What `kubectl get` shows of the kinds that are only stored."""

from __future__ import annotations

from typing import Any

import pytest

from kube.api import resources
from kube.apiserver.printers import table

TEMPLATE = {"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]}}
SELECTOR = {"matchLabels": {"app": "web"}}


def row(kind: str, **content: Any) -> dict[str, Any]:
    resource = next(resource for resource in resources.STORED_ONLY if resource.kind == kind)
    meta = {"name": "a", **content.pop("metadata", {})}
    made = table(resource, [resource.model.parse({"metadata": meta, **content})], "1", "None")
    cells = made["rows"][0]["cells"]
    assert len(cells) == len(made["columnDefinitions"])
    return {column["name"]: cell for column, cell in zip(made["columnDefinitions"], cells, strict=True)}


SHOWN: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "a deployment": (
        "Deployment",
        {"spec": {"replicas": 3, "selector": SELECTOR, "template": TEMPLATE},
         "status": {"readyReplicas": 2, "updatedReplicas": 1, "availableReplicas": 2}},
        {"Ready": "2/3", "Up-to-date": 1, "Available": 2, "Containers": "a,b", "Images": "x,y", "Selector": "app=web"},
    ),
    "a deployment of which nothing is known": ("Deployment", {}, {"Ready": "0/1", "Selector": "<none>"}),
    "a daemon set": (
        "DaemonSet",
        {"spec": {"template": {"spec": {"nodeSelector": {"os": "linux"}}}}, "status": {"desiredNumberScheduled": 4}},
        {"Desired": 4, "Ready": 0, "Node Selector": "os=linux"},
    ),
    "a stateful set": ("StatefulSet", {"spec": {"replicas": 2}, "status": {"readyReplicas": 1}}, {"Ready": "1/2"}),
    "a job that is done": (
        "Job",
        {"spec": {"completions": 2}, "status": {
            "succeeded": 2, "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:50Z",
            "conditions": [{"type": "Complete", "status": "True"}]}},
        {"Status": "Complete", "Completions": "2/2", "Duration": "50s"},
    ),
    "a job that works": ("Job", {"spec": {"parallelism": 3}}, {"Status": "Running", "Completions": "0/1 of 3"}),
    "a cron job": (
        "CronJob",
        {"spec": {"schedule": "* * * * *", "suspend": False}, "status": {"active": [{}]}},
        {"Schedule": "* * * * *", "Suspend": "False", "Active": 1, "Last Schedule": "<none>", "Timezone": "<none>"},
    ),
    "a volume": (
        "PersistentVolume",
        {"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
                  "claimRef": {"namespace": "n", "name": "c"}}, "status": {"phase": "Bound"}},
        {"Capacity": "1Gi", "Access Modes": "RWO,RWX", "Claim": "n/c", "Status": "Bound", "VolumeMode": "<unset>"},
    ),
    "a claim": (
        "PersistentVolumeClaim",
        {"spec": {"volumeName": "v"}, "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}},
        {"Status": "Bound", "Volume": "v", "Capacity": "1Gi"},
    ),
    "the default storage class": (
        "StorageClass",
        {"metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "p"},
        {"Name": "a (default)", "Provisioner": "p", "ReclaimPolicy": "Delete", "AllowVolumeExpansion": "false"},
    ),
    "an ingress": (
        "Ingress",
        {"spec": {"rules": [{"host": "a.b"}, {}], "tls": [{}]},
         "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}},
        {"Class": "<none>", "Hosts": "a.b", "Address": "10.0.0.1", "Ports": "80, 443"},
    ),
    "an autoscaler": (
        "HorizontalPodAutoscaler",
        {"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 5, "metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}}]}},
        {"Reference": "Deployment/d", "Targets": "cpu: <unknown>/80%", "MinPods": "<unset>", "MaxPods": 5},
    ),
    "a budget": (
        "PodDisruptionBudget",
        {"spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 1}},
        {"Min Available": "50%", "Max Unavailable": "N/A", "Allowed Disruptions": 1},
    ),
    "a binding of roles": (
        "RoleBinding",
        {"roleRef": {"kind": "Role", "name": "r"}, "subjects": [
            {"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "namespace": "n", "name": "s"}]},
        {"Role": "Role/r", "Users": "u", "Groups": "", "ServiceAccounts": "n/s"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "content", "expected"), SHOWN.values(), ids=SHOWN)
def test_columns(kind: str, content: dict[str, Any], expected: dict[str, Any]) -> None:
    shown = row(kind, **content)
    assert {name: shown[name] for name in expected} == expected


NONSENSE: list[dict[str, Any]] = [
    {},
    {"spec": None, "status": []},
    {"spec": "text", "status": 7, "webhooks": {}, "subjects": "x", "roleRef": []},
    {"spec": {"template": [], "selector": {"matchLabels": 3}, "metrics": [1], "rules": [None], "parentRef": 1},
     "status": {"conditions": [None, {}], "startTime": "2026-01-01", "loadBalancer": {"ingress": [[]]}}},
]  # fmt: skip


@pytest.mark.parametrize("resource", resources.STORED_ONLY, ids=lambda resource: resource.kind)
def test_nonsense_is_shown_too(resource: resources.Resource) -> None:
    for content in NONSENSE:
        row(resource.kind, **content)
