"""Rules for pods, as tables: what is given, and every complaint in upstream's words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from kube.api import core

Complaints = Callable[..., list[str]]
METADATA = {"name": "a", "namespace": "default", "uid": "1"}


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": METADATA, "spec": {"containers": [{"name": "a", "image": "web:1"}], **spec}}


def container(**fields: Any) -> dict[str, Any]:
    return pod(containers=[{"name": "a", "image": "web:1", **fields}])


C = "spec.containers[0]"

SPECS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "all fine": (pod(), []),
    "no containers": (pod(containers=[]), ["spec.containers: Required value"]),
    "no image": (pod(containers=[{"name": "a"}]), [f"{C}.image: Required value"]),
    "an image with space around": (
        container(image=" web"),
        [f'{C}.image: Invalid value: " web": must not have leading or trailing whitespace'],
    ),
    "no name": (pod(containers=[{"image": "x"}]), [f"{C}.name: Required value"]),
    "one name twice": (
        pod(containers=[{"name": "a", "image": "x"}, {"name": "a", "image": "y"}]),
        ['spec.containers[1].name: Duplicate value: "a"'],
    ),
    "an init container's name twice": (
        pod(initContainers=[{"name": "a", "image": "x"}]),
        ['spec.initContainers[0].name: Duplicate value: "a"'],
    ),
    "a container's name with dots": (container(name="a.b"), [f'{C}.name: Invalid value: "a.b": must not contain dots']),
    "a restart policy": (
        pod(restartPolicy="Sometimes"),
        ['spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"'],
    ),
    "a DNS policy": (
        pod(dnsPolicy="X"),
        [
            'spec.dnsPolicy: Unsupported value: "X": supported values: "ClusterFirstWithHostNet", "ClusterFirst", '
            '"Default", "None"'
        ],
    ),
    "a pull policy": (
        container(imagePullPolicy="Often"),
        [f'{C}.imagePullPolicy: Unsupported value: "Often": supported values: "Always", "IfNotPresent", "Never"'],
    ),
    "a port of 0": (container(ports=[{}]), [f"{C}.ports[0].containerPort: Required value"]),
    "a port too high": (
        container(ports=[{"containerPort": 65536}]),
        [f"{C}.ports[0].containerPort: Invalid value: 65536: must be between 1 and 65535, inclusive"],
    ),
    "a port's name too long": (
        container(ports=[{"containerPort": 80, "name": "a-very-long-name"}]),
        [f'{C}.ports[0].name: Invalid value: "a-very-long-name": must be no more than 15 bytes'],
    ),
    "a port's name that is a number": (
        container(ports=[{"containerPort": 80, "name": "80"}]),
        [f'{C}.ports[0].name: Invalid value: "80": must contain at least one letter (a-z)'],
    ),
    "a port's name twice": (
        container(ports=[{"containerPort": 80, "name": "web"}, {"containerPort": 81, "name": "web"}]),
        [f'{C}.ports[1].name: Duplicate value: "web"'],
    ),
    "a port's protocol": (
        container(ports=[{"containerPort": 80, "protocol": "HTTP"}]),
        [f'{C}.ports[0].protocol: Unsupported value: "HTTP": supported values: "SCTP", "TCP", "UDP"'],
    ),
    "a host port twice": (
        pod(
            containers=[
                {"name": "a", "image": "x", "ports": [{"containerPort": 80, "hostPort": 8080}]},
                {"name": "b", "image": "x", "ports": [{"containerPort": 81, "hostPort": 8080}]},
            ]
        ),
        ['spec.containers[1].ports[0].hostPort: Duplicate value: "TCP//8080"'],
    ),
    "one host port for two protocols": (
        container(
            ports=[{"containerPort": 53, "hostPort": 53}, {"containerPort": 53, "hostPort": 53, "protocol": "UDP"}]
        ),
        [],
    ),
    "another host port on the node's network": (
        pod(
            hostNetwork=True,
            containers=[{"name": "a", "image": "x", "ports": [{"containerPort": 80, "hostPort": 81}]}],
        ),
        [f"{C}.ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true"],
    ),
    "an environment variable without name": (container(env=[{"value": "x"}]), [f"{C}.env[0].name: Required value"]),
    "an environment variable with an equals sign": (
        container(env=[{"name": "A=B"}]),
        [
            f'{C}.env[0].name: Invalid value: "A=B": a valid environment variable name must consist only of printable '
            "ASCII characters other than '='"
        ],
    ),
    "a value from nowhere": (
        container(env=[{"name": "A", "valueFrom": {}}]),
        [
            f'{C}.env[0].valueFrom: Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`, '
            "`configMapKeyRef` or `secretKeyRef`"
        ],
    ),
    "a value and a source": (
        container(env=[{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]),
        [f'{C}.env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty'],
    ),
    "a field that the environment cannot have": (
        container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}}]),
        [
            f'{C}.env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "status.phase": supported values: '
            '"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", '
            '"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"'
        ],
    ),
    "a field that nobody knows": (
        container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.color"}}}]),
        [
            f'{C}.env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.color": error converting fieldPath: field '
            "label not supported: spec.color"
        ],
    ),
    "a label by its key": (
        container(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}}]),
        [],
    ),
    "a mount of no volume": (
        container(volumeMounts=[{"name": "data", "mountPath": "/data"}]),
        [f'{C}.volumeMounts[0].name: Not found: "data"'],
    ),
    "two mounts at one path": (
        pod(
            volumes=[{"name": "v"}],
            containers=[{"name": "a", "image": "x", "volumeMounts": [{"name": "v", "mountPath": "/d"}] * 2}],
        ),
        [f'{C}.volumeMounts[1].mountPath: Invalid value: "/d": must be unique'],
    ),
    "a mount without path": (
        pod(volumes=[{"name": "v"}], containers=[{"name": "a", "image": "x", "volumeMounts": [{"name": "v"}]}]),
        [f"{C}.volumeMounts[0].mountPath: Required value"],
    ),
    "two kinds of volume in one": (
        pod(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]),
        ["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
    ),
    "one volume twice": (
        pod(volumes=[{"name": "v"}, {"name": "v"}]),
        ['spec.volumes[1].name: Duplicate value: "v"'],
    ),
    "a volume without name": (pod(volumes=[{}]), ["spec.volumes[0].name: Required value"]),
    "a path of the node that climbs": (
        pod(volumes=[{"name": "v", "hostPath": {"path": "/a/../b"}}]),
        ["spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"],
    ),
    "a secret without name": (
        pod(volumes=[{"name": "v", "secret": {}}]),
        ["spec.volumes[0].secret.secretName: Required value"],
    ),
    "a file's mode": (
        pod(volumes=[{"name": "v", "configMap": {"name": "c", "defaultMode": 1024}}]),
        [
            "spec.volumes[0].configMap.defaultMode: Invalid value: 1024: must be a number between 0 and 0777 (octal), "
            "both inclusive"
        ],
    ),
    "a probe that asks nothing": (
        container(readinessProbe={}),
        [f"{C}.readinessProbe: Required value: must specify a handler type"],
    ),
    "a probe that asks twice": (
        container(readinessProbe={"exec": {"command": ["x"]}, "tcpSocket": {"port": 80}}),
        [f"{C}.readinessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"],
    ),
    "a probe's negative delay": (
        container(readinessProbe={"tcpSocket": {"port": 80}, "initialDelaySeconds": -1}),
        [f"{C}.readinessProbe.initialDelaySeconds: Invalid value: -1: must be greater than or equal to 0"],
    ),
    "a liveness probe that wants two successes": (
        container(livenessProbe={"httpGet": {"port": "web"}, "successThreshold": 2}),
        [f"{C}.livenessProbe.successThreshold: Invalid value: 2: must be 1"],
    ),
    "a probe's port": (
        container(livenessProbe={"tcpSocket": {"port": 0}}),
        [f"{C}.livenessProbe.tcpSocket.port: Invalid value: 0: must be between 1 and 65535, inclusive"],
    ),
    "a hook that runs nothing": (
        container(lifecycle={"preStop": {"exec": {}}}),
        [f"{C}.lifecycle.preStop.exec.command: Required value"],
    ),
    "an init container with a probe": (
        pod(initContainers=[{"name": "i", "image": "x", "livenessProbe": {"tcpSocket": {"port": 1}}}]),
        [
            "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without "
            "restartPolicy=Always"
        ],
    ),
    "a container's own restart policy": (
        container(restartPolicy="Always"),
        [f"{C}.restartPolicy: Forbidden: may not be set for non-init containers"],
    ),
    "a request over the limit": (
        container(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
        [f'{C}.resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'],
    ),
    "a negative amount": (
        container(resources={"limits": {"memory": "-1"}, "requests": {"memory": "-2"}}),
        [
            f'{C}.resources.limits[memory]: Invalid value: "-1": must be greater than or equal to 0',
            f'{C}.resources.requests[memory]: Invalid value: "-2": must be greater than or equal to 0',
        ],
    ),
    "a resource that nobody knows": (
        container(resources={"requests": {"gold": "1"}}),
        [
            f'{C}.resources.requests[gold]: Invalid value: "gold": must be a standard resource type or fully qualified',
            f'{C}.resources.requests[gold]: Invalid value: "gold": must be a standard resource for containers',
        ],
    ),
    "half a device": (
        container(resources={"limits": {"example.com/gpu": "500m"}}),
        [
            f"{C}.resources.limits[example.com/gpu]: Invalid value: 500m: must be an integer",
            f"{C}.resources.requests[example.com/gpu]: Invalid value: 500m: must be an integer",
        ],
    ),
    "a device without limit": (
        container(resources={"requests": {"example.com/gpu": "1"}}),
        [f"{C}.resources.limits: Required value: Limit must be set for non overcommitable resources"],
    ),
    "a deadline of 0": (
        pod(activeDeadlineSeconds=0),
        ["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
    ),
    "a host name": (
        pod(hostname="a.b"),
        ['spec.hostname: Invalid value: "a.b": must not contain dots'],
    ),
    "a toleration of everything but not Exists": (
        pod(tolerations=[{"operator": "Equal"}]),
        [
            'spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which '
            'means "match all values and all keys"'
        ],
    ),
    "seconds of a toleration that is not for execution": (
        pod(tolerations=[{"key": "a", "effect": "NoSchedule", "tolerationSeconds": 1}]),
        [
            "spec.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when "
            "`tolerationSeconds` is set"
        ],
    ),
    "a spread that nothing satisfies": (
        pod(topologySpreadConstraints=[{"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]),
        ["spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"],
    ),
    "affinity to no term": (
        pod(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}),
        [
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: "
            "Required value: must have at least one node selector term"
        ],
    ),
    "anti-affinity without topology": (
        pod(affinity={"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}),
        [
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: "
            "Required value: can not be empty",
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: "
            'Invalid value: "": name part must be non-empty',
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: "
            "Invalid value: \"\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start "
            "and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "
            "validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        ],
    ),
    "no name server of one's own": (
        pod(dnsPolicy="None"),
        ["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
    ),
    "a name server that is no address": (
        pod(dnsConfig={"nameservers": ["dns"]}),
        [
            'spec.dnsConfig.nameservers[0]: Invalid value: "dns": must be a valid IP address, '
            "(e.g. 10.9.8.7 or 2001:db8::ffff)"
        ],
    ),
    "a user that is none": (
        pod(securityContext={"runAsUser": -1}),
        ["spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 4294967295, inclusive"],
    ),
    "privileged, but never more than its parent": (
        container(securityContext={"privileged": True, "allowPrivilegeEscalation": False}),
        [
            f'{C}.securityContext: Invalid value: {{"privileged":true,"allowPrivilegeEscalation":false}}: cannot set '
            "`allowPrivilegeEscalation` to false and `privileged` to true"
        ],
    ),
    "ephemeral containers from the start": (
        pod(ephemeralContainers=[{"name": "e", "image": "x"}]),
        ["spec.ephemeralContainers: Forbidden: cannot be set on create"],
    ),
}


@pytest.mark.parametrize(("data", "expected"), SPECS.values(), ids=SPECS)
def test_new_pods(complaints: Complaints, data: dict[str, Any], expected: list[str]) -> None:
    assert complaints(core.Pod, data) == expected


ZONE = {"key": "zone", "operator": "In", "values": ["a"]}
DISK = {"key": "disk", "operator": "Exists"}
TERMS = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"


def gated(*terms: list[dict[str, Any]], liked: int = 0) -> dict[str, Any]:
    """A pod that must not be scheduled yet, with these terms of its required node affinity."""
    affinity: dict[str, Any] = {}
    if terms:
        required = {"nodeSelectorTerms": [{"matchExpressions": term} for term in terms]}
        affinity["requiredDuringSchedulingIgnoredDuringExecution"] = required
    if liked:
        preferred = {"weight": liked, "preference": {"matchExpressions": [DISK]}}
        affinity["preferredDuringSchedulingIgnoredDuringExecution"] = [preferred]
    return pod(schedulingGates=[{"name": "x/a"}], **({"affinity": {"nodeAffinity": affinity}} if affinity else {}))


UPDATES: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "the image": (container(image="web:2"), container(), []),
    "a shorter deadline": (pod(activeDeadlineSeconds=5), pod(activeDeadlineSeconds=10), []),
    "a longer deadline": (
        pod(activeDeadlineSeconds=10),
        pod(activeDeadlineSeconds=5),
        ["spec.activeDeadlineSeconds: Invalid value: 10: must be less than or equal to previous value"],
    ),
    "one toleration more": (pod(tolerations=[{"key": "a"}, {"key": "b"}]), pod(tolerations=[{"key": "a"}]), []),
    "one toleration less": (
        pod(),
        pod(tolerations=[{"key": "a"}]),
        ["spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"],
    ),
    "one container more": (
        pod(containers=[{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]),
        pod(),
        ["spec.containers: Forbidden: pod updates may not add or remove containers"],
    ),
    "a gate removed": (pod(), pod(schedulingGates=[{"name": "x/a"}]), []),
    "a gate added": (
        pod(schedulingGates=[{"name": "x/a"}]),
        pod(),
        ["spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'x/a'"],
    ),
    "behind a gate, a node affinity": (gated([ZONE]), gated(), []),
    "behind a gate, one more condition": (gated([ZONE, DISK]), gated([ZONE]), []),
    "behind a gate, another liking": (gated([ZONE], liked=2), gated([ZONE], liked=1), []),
    "behind a gate, another condition": (
        gated([DISK]),
        gated([ZONE]),
        [f"{TERMS}[0]: Invalid value: {json.dumps({'matchExpressions': [DISK]}, separators=(',', ':'))}: "
         "only additions are allowed (no mutations or deletions)"],
    ),
    "behind a gate, one more term": (
        gated([ZONE], [DISK]),
        gated([ZONE]),
        [f"{TERMS}: Invalid value: "
         f"{json.dumps([{'matchExpressions': [ZONE]}, {'matchExpressions': [DISK]}], separators=(',', ':'))}: "
         "no additions/deletions to non-empty NodeSelectorTerms list are allowed"],
    ),
    "behind a gate, no affinity any more": (
        gated(),
        gated([ZONE]),
        [f"{TERMS}: Invalid value: null: no additions/deletions to non-empty NodeSelectorTerms list are allowed"],
    ),
    "behind a gate, a condition for the term that means no node": (
        gated([ZONE]),
        gated([]),
        [f"{TERMS}[0]: Invalid value: {json.dumps({'matchExpressions': [ZONE]}, separators=(',', ':'))}: "
         "only additions are allowed (no mutations or deletions)"],
    ),
    "behind a gate, a condition that makes no sense": (
        gated([{"key": "zone", "operator": "Exists", "values": ["a"]}]),
        gated(),
        [f"{TERMS}[0].matchExpressions[0].values: Forbidden: may not be specified when `operator` is 'Exists' or "
         "'DoesNotExist'"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("new", "old", "expected"), UPDATES.values(), ids=UPDATES)
def test_changed_pods(
    update_complaints: Complaints, new: dict[str, Any], old: dict[str, Any], expected: list[str]
) -> None:
    assert update_complaints(core.Pod, new, old) == expected


IMMUTABLE: dict[str, dict[str, Any]] = {
    "its command": container(args=["x"]),
    "its node": pod(nodeName="n2"),
    "its restart policy": pod(restartPolicy="Never"),
    "its volumes": pod(volumes=[{"name": "v"}]),
}


@pytest.mark.parametrize("new", IMMUTABLE.values(), ids=IMMUTABLE)
def test_the_rest_of_a_pod_stays(update_complaints: Complaints, new: dict[str, Any]) -> None:
    (line,) = update_complaints(core.Pod, new, pod(nodeName="n1") if "nodeName" in new["spec"] else pod())
    assert line.startswith(
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
        "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing "
        "tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"
    )
    assert "\n+" in line


def status(*statuses: dict[str, Any], policy: str = "Never", **fields: Any) -> dict[str, Any]:
    return {**pod(restartPolicy=policy), "status": {"containerStatuses": list(statuses), **fields}}


ENDED = {"name": "a", "state": {"terminated": {"exitCode": 1}}}
RUNNING: dict[str, Any] = {"name": "a", "state": {"running": {}}}
BACK = ["status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"]

STATUSES: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    "it runs": (status(RUNNING), status(), []),
    "what has ended runs again": (status(RUNNING), status(ENDED), BACK),
    "what has failed runs again": (status(RUNNING, policy="OnFailure"), status(ENDED, policy="OnFailure"), []),
    "a condition of one's own": (status(conditions=[{"type": "example.com/warm", "status": "True"}]), status(), []),
    "an address that is none": (
        status(podIP="x", podIPs=[{"ip": "x"}]),
        status(),
        [
            'status.podIPs[0]: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
        ],
    ),
    "another class of service": (
        status(qosClass="Burstable"),
        status(qosClass="BestEffort"),
        ['status.qosClass: Invalid value: "Burstable": field is immutable'],
    ),
}


@pytest.mark.parametrize(("new", "old", "expected"), STATUSES.values(), ids=STATUSES)
def test_changed_status(
    status_complaints: Complaints, new: dict[str, Any], old: dict[str, Any], expected: list[str]
) -> None:
    assert status_complaints(core.Pod, new, old) == expected


def test_a_binding_names_a_node(complaints: Complaints) -> None:
    assert complaints(core.Binding, {"target": {"name": "n1"}}) == []
    assert complaints(core.Binding, {"target": {"kind": "Pod"}}) == [
        'target.kind: Unsupported value: "Pod": supported values: "Node", "<empty>"',
        "target.name: Required value",
    ]
