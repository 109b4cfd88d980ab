"""Rules for the kinds beside pods: replication controllers, services, endpoints, nodes, namespaces, events, leases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kube.api import autoscaling, coordination, core, errors, validation
from kube.api.meta import Object, ObjectMeta

Complaints = Callable[..., list[str]]
METADATA = {"name": "a", "namespace": "default"}


def rc(**spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "x"}]}}
    return {"metadata": METADATA, "spec": {"template": template, **spec}}


def template(labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"labels": labels or {"app": "web"}},
        "spec": {"containers": [{"name": "a", "image": "x"}], **spec},
    }


def service(**spec: Any) -> dict[str, Any]:
    return {"metadata": METADATA, "spec": {"ports": [{"port": 80}], **spec}}


def endpoints(*subsets: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": METADATA, "subsets": list(subsets)}


IP = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"

NEW: dict[str, tuple[type[Object], dict[str, Any], list[str]]] = {
    "a replication controller": (core.ReplicationController, rc(replicas=0), []),
    "a controller without template": (
        core.ReplicationController,
        rc(template=None, selector={"a": "b"}),
        ["spec.template: Required value"],
    ),
    "a controller without selector": (
        core.ReplicationController,
        {"metadata": METADATA, "spec": {"template": {"spec": {"containers": [{"name": "a", "image": "x"}]}}}},
        ["spec.selector: Required value"],
    ),
    "a controller that would not see its own pods": (
        core.ReplicationController,
        rc(selector={"app": "api"}),
        [
            'spec.template.metadata.labels: Invalid value: map[string]string{"app":"web"}: `selector` does not match '
            "template `labels`"
        ],
    ),
    "a controller of pods that are to end": (
        core.ReplicationController,
        rc(template=template(restartPolicy="OnFailure")),
        ['spec.template.spec.restartPolicy: Unsupported value: "OnFailure": supported values: "Always"'],
    ),
    "fewer than no replicas": (
        core.ReplicationController,
        rc(replicas=-1),
        ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
    ),
    "a template's container without image": (
        core.ReplicationController,
        rc(template={"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a"}]}}),
        ["spec.template.spec.containers[0].image: Required value"],
    ),
    "a service": (core.Service, service(), []),
    "a service without ports": (core.Service, service(ports=[]), ["spec.ports: Required value"]),
    "a headless service without ports": (core.Service, service(ports=[], clusterIP="None"), []),
    "two ports need names": (
        core.Service,
        service(ports=[{"port": 80, "name": "a"}, {"port": 81}]),
        ["spec.ports[1].name: Required value"],
    ),
    "two ports of one name": (
        core.Service,
        service(ports=[{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]),
        ['spec.ports[1].name: Duplicate value: "a"'],
    ),
    "one port twice": (
        core.Service,
        service(ports=[{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]),
        [
            'spec.ports[1]: Duplicate value: core.ServicePort{Name:"", Protocol:"TCP", AppProtocol:(*string)(nil), '
            'Port:80, TargetPort:intstr.IntOrString{Type:0, IntVal:0, StrVal:""}, NodePort:0}'
        ],
    ),
    "one port for two protocols": (
        core.Service,
        service(ports=[{"port": 53, "name": "a"}, {"port": 53, "name": "b", "protocol": "UDP"}]),
        [],
    ),
    "a port of 0": (
        core.Service,
        service(ports=[{}]),
        [
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
        ],
    ),
    "a node port of a service that has none": (
        core.Service,
        service(ports=[{"port": 80, "nodePort": 30080}]),
        ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
    ),
    "the kubelet's port, for the world": (
        core.Service,
        service(ports=[{"port": 10250}], type="LoadBalancer"),
        ["spec.ports[0]: Invalid value: 10250: may not expose port 10250 externally since it is used by kubelet"],
    ),
    "the kubelet's port, inside": (core.Service, service(ports=[{"port": 10250}], type="NodePort"), []),
    "a type of service": (
        core.Service,
        service(type="Magic"),
        [
            'spec.type: Unsupported value: "Magic": supported values: "ClusterIP", "ExternalName", "LoadBalancer", '
            '"NodePort"'
        ],
    ),
    "an address that is none": (
        core.Service,
        service(clusterIP="10.96.0.300"),
        [f'spec.clusterIPs[0]: Invalid value: "10.96.0.300": {IP}'],
    ),
    "an address of the other family": (
        core.Service,
        service(clusterIP="fd00::1", ipFamilies=["IPv4"]),
        ['spec.clusterIPs[0]: Invalid value: "fd00::1": expected an IPv4 value as indicated by `ipFamilies[0]`'],
    ),
    "two addresses that disagree": (
        core.Service,
        service(clusterIP="10.96.0.1", clusterIPs=["10.96.0.2"]),
        ['spec.clusterIPs: Invalid value: []string{"10.96.0.2"}: first value must match `clusterIP`'],
    ),
    "headless with node ports": (
        core.Service,
        service(type="NodePort", clusterIP="None"),
        ["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
    ),
    "an affinity": (
        core.Service,
        service(sessionAffinity="Cookie"),
        ['spec.sessionAffinity: Unsupported value: "Cookie": supported values: "ClientIP", "None"'],
    ),
    "an affinity for too long": (
        core.Service,
        service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 86401}}),
        [
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less "
            "than 86400"
        ],
    ),
    "a name outside": (
        core.Service,
        {"metadata": METADATA, "spec": {"type": "ExternalName", "externalName": "example.com."}},
        [],
    ),
    "no name outside": (
        core.Service,
        {"metadata": METADATA, "spec": {"type": "ExternalName"}},
        ["spec.externalName: Required value"],
    ),
    "an external address that is this host": (
        core.Service,
        service(externalIPs=["127.0.0.1"]),
        [
            'spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)',
        ],
    ),
    "a policy for traffic from outside that cannot come": (
        core.Service,
        service(externalTrafficPolicy="Local"),
        [
            'spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services',
        ],
    ),
    "source ranges without load balancer": (
        core.Service,
        service(loadBalancerSourceRanges=["10.0.0.0/33"]),
        [
            "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
            'spec.LoadBalancerSourceRanges[0]: Invalid value: "10.0.0.0/33": must be a valid CIDR value, '
            "(e.g. 10.9.8.0/24 or 2001:db8::/64)",
        ],
    ),
    "endpoints": (
        core.Endpoints,
        endpoints({"addresses": [{"ip": "10.244.0.2", "nodeName": "n1"}], "ports": [{"port": 80}]}),
        [],
    ),
    "endpoints nowhere": (
        core.Endpoints,
        endpoints({"ports": [{"port": 80}]}),
        ["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"],
    ),
    "endpoints that cannot be reached": (
        core.Endpoints,
        endpoints({"addresses": [{"ip": ip} for ip in ("0.0.0.0", "169.254.1.1", "224.0.0.1", "web")]}),  # as data
        [
            'subsets[0].addresses[0].ip: Invalid value: "0.0.0.0": may not be unspecified (0.0.0.0)',
            'subsets[0].addresses[1].ip: Invalid value: "169.254.1.1": may not be in the link-local range '
            "(169.254.0.0/16, fe80::/10)",
            'subsets[0].addresses[2].ip: Invalid value: "224.0.0.1": may not be in the link-local multicast range '
            "(224.0.0.0/24, ff02::/10)",
            f'subsets[0].addresses[3].ip: Invalid value: "web": {IP}',
        ],
    ),
    "a node": (
        core.Node,
        {"metadata": {"name": "n1"}, "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]}},
        [],
    ),
    "a node's taints": (
        core.Node,
        {"metadata": {"name": "n1"}, "spec": {"taints": [{"key": "a"}, {"key": "b", "effect": "Never"}]}},
        [
            "metadata.taints[0].effect: Required value",
            'metadata.taints[1].effect: Unsupported value: "Never": supported values: "NoSchedule", '
            '"PreferNoSchedule", "NoExecute"',
        ],
    ),
    "one taint twice": (
        core.Node,
        {"metadata": {"name": "n1"}, "spec": {"taints": [{"key": "a", "effect": "NoExecute"}] * 2}},
        [
            'metadata.taints[1]: Duplicate value: {"key":"a","effect":"NoExecute"}: taints must be unique by key and '
            "effect pair"
        ],
    ),
    "less than nothing": (
        core.Node,
        {"metadata": {"name": "n1"}, "status": {"capacity": {"cpu": "-1"}}},
        [
            'status.capacity.cpu: Invalid value: "-1": must be greater than or equal to 0',
            'status.allocatable.cpu: Invalid value: "-1": must be greater than or equal to 0',
        ],
    ),
    "a node in a namespace": (
        core.Node,
        {"metadata": METADATA},
        ["metadata.namespace: Forbidden: not allowed on this type"],
    ),
    "a namespace": (core.Namespace, {"metadata": {"name": "team-1"}}, []),
    "a namespace's finalizer": (
        core.Namespace,
        {"metadata": {"name": "a"}, "spec": {"finalizers": ["mine"]}},
        ['spec.finalizers: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified'],
    ),
    "an event": (core.Event, {"metadata": METADATA, "involvedObject": {"namespace": "default"}}, []),
    "an event about a node": (core.Event, {"metadata": METADATA, "involvedObject": {"kind": "Node"}}, []),
    "an event elsewhere": (
        core.Event,
        {"metadata": METADATA, "involvedObject": {"namespace": "other"}},
        ['involvedObject.namespace: Invalid value: "other": does not match event.namespace'],
    ),
    "an event of the newer form": (
        core.Event,
        {
            "metadata": METADATA,
            "involvedObject": {"namespace": "default"},
            "eventTime": "2024-01-01T00:00:00.000000Z",
            "reportingComponent": "scheduler",
            "reportingInstance": "s-1",
            "reason": "Scheduled",
        },
        ["action: Required value"],
    ),
    "a lease": (coordination.Lease, {"metadata": METADATA, "spec": {"leaseDurationSeconds": 15}}, []),
    "a lease for no time": (
        coordination.Lease,
        {"metadata": METADATA, "spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}},
        [
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
            "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
        ],
    ),
    "a scale below zero": (
        autoscaling.Scale,
        {"metadata": METADATA, "spec": {"replicas": -3}},
        ["spec.replicas: Invalid value: -3: must be greater than or equal to 0"],
    ),
}


@pytest.mark.parametrize(("model", "data", "expected"), NEW.values(), ids=NEW)
def test_new_objects(complaints: Complaints, model: type[Object], data: dict[str, Any], expected: list[str]) -> None:
    assert complaints(model, data) == expected


CHANGED: dict[str, tuple[type[Object], dict[str, Any], dict[str, Any], list[str]]] = {
    "a controller's replicas and template": (
        core.ReplicationController,
        rc(replicas=9, template=template(terminationGracePeriodSeconds=1)),
        rc(replicas=1),
        [],
    ),
    "a service's ports": (core.Service, service(ports=[{"port": 81}]), service(), []),
    "a service's address": (
        core.Service,
        service(clusterIP="10.96.0.2"),
        service(clusterIP="10.96.0.1"),
        ['spec.clusterIPs[0]: Invalid value: []string{"10.96.0.2"}: may not change once set'],
    ),
    "a service's address taken away": (
        core.Service,
        service(),
        service(clusterIP="10.96.0.1"),
        ["spec.clusterIPs[0]: Invalid value: []string(nil): primary clusterIP can not be unset"],
    ),
    "a service's address given": (core.Service, service(clusterIP="10.96.0.1"), service(), []),
    "a service that becomes a name": (
        core.Service,
        {"metadata": METADATA, "spec": {"type": "ExternalName", "externalName": "example.com"}},
        service(clusterIP="10.96.0.1"),
        [],
    ),
    "a node's labels": (core.Node, {"metadata": {"name": "n", "labels": {"a": "b"}}}, {"metadata": {"name": "n"}}, []),
    "a node gets its network": (
        core.Node,
        {"metadata": {"name": "n"}, "spec": {"podCIDRs": ["10.244.1.0/24"]}},
        {"metadata": {"name": "n"}},
        [],
    ),
    "a node's network": (
        core.Node,
        {"metadata": {"name": "n"}, "spec": {"podCIDRs": ["10.244.2.0/24"]}},
        {"metadata": {"name": "n"}, "spec": {"podCIDRs": ["10.244.1.0/24"]}},
        ['spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid'],
    ),
    "a node's machine": (
        core.Node,
        {"metadata": {"name": "n"}, "spec": {"providerID": "b"}},
        {"metadata": {"name": "n"}, "spec": {"providerID": "a"}},
        ['spec.providerID: Forbidden: node updates may not change providerID except from "" to valid'],
    ),
    "an address of a node twice": (
        core.Node,
        {"metadata": {"name": "n"}, "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}] * 2}},
        {"metadata": {"name": "n"}},
        ['status.addresses[1]: Duplicate value: {"type":"InternalIP","address":"10.0.0.1"}'],
    ),
}


@pytest.mark.parametrize(("model", "new", "old", "expected"), CHANGED.values(), ids=CHANGED)
def test_changed_objects(
    update_complaints: Complaints,
    model: type[Object],
    new: dict[str, Any],
    old: dict[str, Any],
    expected: list[str],
) -> None:
    assert update_complaints(model, new, old) == expected


def counted(**status: int) -> dict[str, Any]:
    return {**rc(), "status": status}


STATUS: dict[str, tuple[type[Object], dict[str, Any], dict[str, Any], list[str]]] = {
    "a controller's counts": (
        core.ReplicationController,
        counted(replicas=3, readyReplicas=2, availableReplicas=1),
        rc(),
        [],
    ),
    "more ready than there are": (
        core.ReplicationController,
        counted(replicas=1, readyReplicas=2),
        rc(),
        ["status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"],
    ),
    "a load balancer's address": (
        core.Service,
        {**service(type="LoadBalancer"), "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}},
        service(type="LoadBalancer"),
        [],
    ),
    "a load balancer's address that is none": (
        core.Service,
        {**service(type="LoadBalancer"), "status": {"loadBalancer": {"ingress": [{"ip": "x"}]}}},
        service(type="LoadBalancer"),
        [f'status.loadBalancer.ingress[0].ip: Invalid value: "x": {IP}'],
    ),
    "an address of what is no load balancer": (
        core.Service,
        {**service(), "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}},
        service(),
        ["status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"],
    ),
    "a namespace that is not being deleted": (
        core.Namespace,
        {"metadata": {"name": "a"}, "status": {"phase": "Terminating"}},
        {"metadata": {"name": "a"}},
        ["status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"],
    ),
}


@pytest.mark.parametrize(("model", "new", "old", "expected"), STATUS.values(), ids=STATUS)
def test_changed_status(
    status_complaints: Complaints,
    model: type[Object],
    new: dict[str, Any],
    old: dict[str, Any],
    expected: list[str],
) -> None:
    assert status_complaints(model, new, old) == expected


def test_a_namespaces_finalizers_change_by_a_subresource() -> None:
    old = core.Namespace(metadata=ObjectMeta(name="a"), spec=core.NamespaceSpec(finalizers=["kubernetes"]))
    new = old.clone()
    new.spec.finalizers = []
    assert validation.validate_finalize(new, old) == []
    new.spec.finalizers = ["mine"]
    assert [error.field for error in validation.validate_finalize(new, old)] == ["spec.finalizers[0]"]


def test_all_that_is_wrong_is_told_at_once() -> None:
    pod = core.Pod.parse({"metadata": {"name": "a", "namespace": "d"}, "spec": {"containers": [{"name": "a"}]}})
    found = errors.invalid_object("Pod", "a", validation.validate(pod))
    assert found.message.startswith('Pod "a" is invalid: [spec.terminationGracePeriodSeconds: Required value, ')
    causes = {cause["field"]: cause["reason"] for cause in found.details["causes"]}
    assert causes["spec.containers[0].image"] == "FieldValueRequired"
