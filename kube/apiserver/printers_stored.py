"""The columns of the kinds that are only stored (pkg/printers/internalversion), read off their plain data.

Nobody has checked that data, so nothing is taken for granted: what is missing, or of another type, is shown as nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from pydantic import ValidationError

from kube.api import labels, quantity
from kube.api.meta import LabelSelector
from kube.api.unstructured import Unstructured
from kube.apiserver.columns import NONE, UNKNOWN, UNSET, Printer, Row, age, columns, duration

T = TypeVar("T")
_WORKLOAD = "Containers|Images|Selector"


class Data:
    """Plain data, looked at by paths such as `spec.template.spec`."""

    def __init__(self, obj: Unstructured, moment: datetime) -> None:
        self.meta = obj.metadata
        self.name = obj.metadata.name
        self.age = age(obj.metadata.creationTimestamp, moment)
        self.moment = moment
        self._content = obj.model_extra or {}

    def any(self, path: str) -> Any:
        """What is there; None if nothing is."""
        value: Any = self._content
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    def _of(self, path: str, kind: type[T], default: T) -> T:
        value = self.any(path)
        return value if isinstance(value, kind) else default

    def number(self, path: str, default: int = 0) -> int:
        return self._of(path, int, default)

    def text(self, path: str, default: str = "") -> str:
        return self._of(path, str, "") or default

    def flag(self, path: str, default: bool = False) -> bool:
        return self._of(path, bool, default)

    def items(self, path: str) -> Sequence[Any]:
        value: list[Any] = self._of(path, list, [])
        return value

    def maps(self, path: str) -> Sequence[Mapping[str, Any]]:
        """Those items of a list that are objects."""
        return [item for item in self.items(path) if isinstance(item, Mapping)]

    def map(self, path: str) -> Mapping[str, Any]:
        value: dict[str, Any] = self._of(path, dict, {})
        return value

    def time(self, path: str) -> datetime | None:
        try:
            moment = datetime.fromisoformat(self.text(path))
        except ValueError:
            return None
        return moment if moment.tzinfo is not None else None

    def since(self, path: str, default: str = NONE) -> str:
        """How long ago a time was."""
        moment = self.time(path)
        return default if moment is None else age(moment, self.moment)

    def selector(self, path: str) -> str:
        """A label selector as text."""
        if not isinstance(self.any(path), dict):
            return NONE
        try:
            return str(labels.from_label_selector(LabelSelector.parse(self.map(path)))) or NONE
        except (ValidationError, labels.SelectorError):
            return "<error>"

    def containers(self, path: str) -> tuple[str, str]:
        """Names and images of the containers of a template."""
        found = self.maps(f"{path}.spec.containers")
        return ",".join(str(c.get("name", "")) for c in found), ",".join(str(c.get("image", "")) for c in found)

    def condition(self, type_: str) -> Mapping[str, Any] | None:
        """The condition of a type, if it is true."""
        found = (c for c in self.maps("status.conditions") if c.get("type") == type_ and c.get("status") == "True")
        return next(found, None)


def _map_text(values: Mapping[str, Any]) -> str:
    return ",".join(f"{name}={values[name]}" for name in sorted(values)) or NONE


def _some(items: Sequence[str]) -> str:
    return ",".join(items[:3]) + (f" + {len(items) - 3} more..." if len(items) > 3 else "")


def _deployment(d: Data) -> Row:
    ready = f"{d.number('status.readyReplicas')}/{d.number('spec.replicas', 1)}"
    return (
        d.name, ready, d.number("status.updatedReplicas"), d.number("status.availableReplicas"), d.age,
        *d.containers("spec.template"), d.selector("spec.selector"),
    )  # fmt: skip


def _replica_set(d: Data) -> Row:
    return (
        d.name, d.number("spec.replicas", 1), d.number("status.replicas"), d.number("status.readyReplicas"), d.age,
        *d.containers("spec.template"), d.selector("spec.selector"),
    )  # fmt: skip


def _stateful_set(d: Data) -> Row:
    ready = f"{d.number('status.readyReplicas')}/{d.number('spec.replicas', 1)}"
    return d.name, ready, d.age, *d.containers("spec.template")


def _daemon_set(d: Data) -> Row:
    counts = ("desiredNumberScheduled", "currentNumberScheduled", "numberReady", "updatedNumberScheduled",
              "numberAvailable")  # fmt: skip
    return (
        d.name, *(d.number(f"status.{count}") for count in counts),
        _map_text(d.map("spec.template.spec.nodeSelector")), d.age,
        *d.containers("spec.template"), d.selector("spec.selector"),
    )  # fmt: skip


def _job(d: Data) -> Row:
    done, wanted = d.number("status.succeeded"), d.number("spec.completions", -1)
    parallel = d.number("spec.parallelism")
    of = str(wanted) if wanted >= 0 else f"1 of {parallel}" if parallel > 1 else "1"
    started, ended = d.time("status.startTime"), d.time("status.completionTime")
    took = "" if started is None else duration(((ended or d.moment) - started).total_seconds())
    words = ("Complete", "Failed", "Suspended", "FailureTarget", "SuccessCriteriaMet")
    otherwise = "Running" if d.meta.deletionTimestamp is None else "Terminating"
    status = next((word for word in words if d.condition(word)), otherwise)
    return d.name, status, f"{done}/{of}", took, d.age, *d.containers("spec.template"), d.selector("spec.selector")


def _cron_job(d: Data) -> Row:
    template = "spec.jobTemplate.spec"
    return (
        d.name, d.text("spec.schedule"), d.text("spec.timeZone", NONE), "True" if d.flag("spec.suspend") else "False",
        len(d.items("status.active")), d.since("status.lastScheduleTime"), d.age,
        *d.containers(f"{template}.template"), d.selector(f"{template}.selector"),
    )  # fmt: skip


_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _modes(modes: Sequence[Any]) -> str:
    return ",".join(short for mode, short in _MODES.items() if mode in modes)


def _persistent_volume(d: Data) -> Row:
    claim = d.map("spec.claimRef")
    phase = "Terminating" if d.meta.deletionTimestamp is not None else d.text("status.phase")
    return (
        d.name, d.text("spec.capacity.storage"), _modes(d.items("spec.accessModes")),
        d.text("spec.persistentVolumeReclaimPolicy"), phase,
        f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else "", d.text("spec.storageClassName"),
        d.text("spec.volumeAttributesClassName", UNSET), d.text("status.reason"), d.age,
        d.text("spec.volumeMode", UNSET),
    )  # fmt: skip


def _persistent_volume_claim(d: Data) -> Row:
    phase = "Terminating" if d.meta.deletionTimestamp is not None else d.text("status.phase")
    volume = d.text("spec.volumeName")
    capacity, modes = (d.text("status.capacity.storage"), _modes(d.items("status.accessModes"))) if volume else ("", "")
    return (
        d.name, phase, volume, capacity, modes, d.text("spec.storageClassName"),
        d.text("spec.volumeAttributesClassName", UNSET), d.age, d.text("spec.volumeMode", UNSET),
    )  # fmt: skip


def _storage_class(d: Data) -> Row:
    default = d.meta.annotations.get("storageclass.kubernetes.io/is-default-class") == "true"
    return (
        f"{d.name} (default)" if default else d.name, d.text("provisioner"), d.text("reclaimPolicy", "Delete"),
        d.text("volumeBindingMode", "Immediate"), "true" if d.flag("allowVolumeExpansion") else "false", d.age,
    )  # fmt: skip


def _ingress(d: Data) -> Row:
    hosts = [str(rule["host"]) for rule in d.maps("spec.rules") if rule.get("host")]
    points = {str(point.get("ip") or point.get("hostname") or "") for point in d.maps("status.loadBalancer.ingress")}
    ports = "80, 443" if d.items("spec.tls") else "80"
    return (
        d.name, d.text("spec.ingressClassName", NONE), _some(hosts) or "*", ",".join(sorted(points - {""})), ports,
        d.age,
    )  # fmt: skip


def _ingress_class(d: Data) -> Row:
    about = d.map("spec.parameters")
    group = f".{about['apiGroup']}" if about.get("apiGroup") else ""
    parameters = f"{about.get('kind', '')}{group}/{about.get('name', '')}" if about else NONE
    return d.name, d.text("spec.controller"), parameters, d.age


def _autoscaler(d: Data) -> Row:
    target = f"{d.text('spec.scaleTargetRef.kind')}/{d.text('spec.scaleTargetRef.name')}"
    return (
        d.name, target, _targets(d), str(d.number("spec.minReplicas")) if d.any("spec.minReplicas") else UNSET,
        d.number("spec.maxReplicas"), d.number("status.currentReplicas"), d.age,
    )  # fmt: skip


def _targets(d: Data) -> str:
    """What an autoscaler looks at: `cpu: 40%/80%`; metrics of other types are shown as unknown."""
    current = d.maps("status.currentMetrics")
    shown = []
    for index, metric in enumerate(d.maps("spec.metrics")):
        about = metric.get("resource")
        if not isinstance(about, Mapping) or not isinstance(about.get("target"), Mapping):
            shown.append(f"{UNKNOWN}/<auto>")
            continue
        now = current[index].get("resource") if index < len(current) else None
        value = now.get("current") if isinstance(now, Mapping) else None
        is_share = about["target"].get("averageUtilization") is not None
        field, unit = ("averageUtilization", "%") if is_share else ("averageValue", "")
        present = value.get(field) if isinstance(value, Mapping) else None
        left = UNKNOWN if present is None else f"{present}{unit}"
        shown.append(f"{about.get('name', '')}: {left}/{about['target'].get(field)}{unit}")
    return ", ".join(shown[:2]) + (f" + {len(shown) - 2} more..." if len(shown) > 2 else "") or NONE


def _disruption_budget(d: Data) -> Row:
    bounds = ("N/A" if d.any(f"spec.{name}") is None else str(d.any(f"spec.{name}"))
              for name in ("minAvailable", "maxUnavailable"))  # fmt: skip
    return d.name, *bounds, d.number("status.disruptionsAllowed"), d.age


def _role_binding(d: Data) -> Row:
    def subjects(kind: str) -> str:
        found = [s for s in d.maps("subjects") if s.get("kind") == kind]
        return ",".join(
            f"{s['namespace']}/{s.get('name', '')}" if kind == "ServiceAccount" and s.get("namespace")
            else str(s.get("name", "")) for s in found
        )  # fmt: skip

    role = f"{d.text('roleRef.kind')}/{d.text('roleRef.name')}"
    return d.name, role, d.age, subjects("User"), subjects("Group"), subjects("ServiceAccount")


def _role(d: Data) -> Row:
    created = d.meta.creationTimestamp
    return d.name, UNKNOWN if created is None else created.strftime("%Y-%m-%dT%H:%M:%SZ")


def _controller_revision(d: Data) -> Row:
    owner = d.meta.controller()
    controller = NONE
    if owner is not None:
        group = owner.apiVersion.rpartition("/")[0]
        controller = f"{owner.kind.lower()}{f'.{group}' if group else ''}/{owner.name}"
    return d.name, controller, d.number("revision"), d.age


def _signing_request(d: Data) -> Row:
    seconds = d.number("spec.expirationSeconds")
    types = [str(c.get("type")) for c in d.maps("status.conditions")]
    words: list[str] = [word for word in ("Approved", "Denied", "Failed") if word in types] or ["Pending"]
    if d.text("status.certificate"):
        words.append("Issued")
    return (
        d.name, d.age, d.text("spec.signerName", NONE), d.text("spec.username"),
        duration(seconds) if seconds else NONE, ",".join(words),
    )  # fmt: skip


def _csi_driver(d: Data) -> Row:
    tokens = ",".join(str(token.get("audience", "")) for token in d.maps("spec.tokenRequests"))
    modes = ",".join(str(mode) for mode in d.items("spec.volumeLifecycleModes"))
    flags = (d.any(f"spec.{name}") for name in ("attachRequired", "podInfoOnMount", "storageCapacity"))
    return (
        d.name, *(value is True for value in flags), tokens or UNSET, d.flag("spec.requiresRepublish"), modes or NONE,
        d.age,
    )  # fmt: skip


def _volume_attachment(d: Data) -> Row:
    volume = d.text("spec.source.persistentVolumeName", NONE)
    attached = "true" if d.flag("status.attached") else "false"
    return d.name, d.text("spec.attacher"), volume, d.text("spec.nodeName"), attached, d.age


def _storage_capacity(d: Data) -> Row:
    try:
        size = quantity.canonical(d.text("capacity"))
    except quantity.QuantityError:
        size = UNSET
    return d.name, d.text("storageClassName"), size


def _claim(d: Data) -> Row:
    states = []
    if d.meta.deletionTimestamp is not None:
        states.append("deleted")
    if d.map("status.allocation"):
        states.append("allocated")
    if d.items("status.reservedFor"):
        states.append("reserved")
    return d.name, ",".join(states) or "pending", d.age


def _ip_address(d: Data) -> Row:
    parent = [d.text(f"spec.parentRef.{name}") for name in ("group", "resource", "namespace", "name")]
    return d.name, "/".join([f"{parent[1]}.{parent[0]}" if parent[0] else parent[1], *filter(None, parent[2:])]), d.age


def _param_kind(d: Data) -> str:
    kind = d.map("spec.paramKind")
    return f"{kind.get('apiVersion', '')}/{kind.get('kind', '')}" if kind else UNSET


def _param_ref(d: Data) -> str:
    reference = d.map("spec.paramRef")
    if not reference:
        return UNSET
    return "/".join(str(reference[name]) for name in ("namespace", "name") if reference.get(name)) or "*"


def _of(cells: Callable[[Data], Row]) -> Callable[[Any, datetime], Row]:
    return lambda obj, moment: cells(Data(obj, moment))


def _printer(names: str, cells: Callable[[Data], Row], wide: str = "", numbers: Sequence[str] = ()) -> Printer:
    return columns(names, wide, numbers), _of(cells)


_COUNTS = ("Desired", "Current", "Ready", "Up-to-date", "Available")

PRINTERS: dict[str, Printer] = {
    "ClusterRole": _printer("Name|Created At", _role),
    "ClusterRoleBinding": _printer("Name|Role|Age", _role_binding, "Users|Groups|ServiceAccounts"),
    "ControllerRevision": _printer("Name|Controller|Revision|Age", _controller_revision, "", ("Revision",)),
    "CronJob": _printer(
        "Name|Schedule|Timezone|Suspend|Active|Last Schedule|Age", _cron_job, _WORKLOAD, ("Active",)
    ),
    "CSIDriver": _printer(
        "Name|AttachRequired|PodInfoOnMount|StorageCapacity|TokenRequests|RequiresRepublish|Modes|Age", _csi_driver
    ),
    "CSINode": _printer("Name|Drivers|Age", lambda d: (d.name, len(d.items("spec.drivers")), d.age), "", ("Drivers",)),
    "CSIStorageCapacity": _printer("Name|StorageClassName|Capacity", _storage_capacity),
    "CertificateSigningRequest": _printer(
        "Name|Age|SignerName|Requestor|RequestedDuration|Condition", _signing_request
    ),
    "DaemonSet": _printer(
        "Name|Desired|Current|Ready|Up-to-date|Available|Node Selector|Age", _daemon_set, _WORKLOAD, _COUNTS
    ),
    "Deployment": _printer(
        "Name|Ready|Up-to-date|Available|Age", _deployment, _WORKLOAD, ("Up-to-date", "Available")
    ),
    "HorizontalPodAutoscaler": _printer(
        "Name|Reference|Targets|MinPods|MaxPods|Replicas|Age", _autoscaler, "", ("MaxPods", "Replicas")
    ),
    "Ingress": _printer("Name|Class|Hosts|Address|Ports|Age", _ingress),
    "IngressClass": _printer("Name|Controller|Parameters|Age", _ingress_class),
    "IPAddress": _printer("Name|ParentRef|Age", _ip_address),
    "Job": _printer("Name|Status|Completions|Duration|Age", _job, _WORKLOAD),
    "MutatingWebhookConfiguration": _printer(
        "Name|Webhooks|Age", lambda d: (d.name, len(d.items("webhooks")), d.age), "", ("Webhooks",)
    ),
    "NetworkPolicy": _printer("Name|Pod-Selector|Age", lambda d: (d.name, d.selector("spec.podSelector"), d.age)),
    "PersistentVolume": _printer(
        "Name|Capacity|Access Modes|Reclaim Policy|Status|Claim|StorageClass|VolumeAttributesClass|Reason|Age",
        _persistent_volume, "VolumeMode",
    ),
    "PersistentVolumeClaim": _printer(
        "Name|Status|Volume|Capacity|Access Modes|StorageClass|VolumeAttributesClass|Age", _persistent_volume_claim,
        "VolumeMode",
    ),
    "PodDisruptionBudget": _printer(
        "Name|Min Available|Max Unavailable|Allowed Disruptions|Age", _disruption_budget, "", ("Allowed Disruptions",)
    ),
    "PriorityClass": _printer(
        "Name|Value|Global-Default|Age|PreemptionPolicy",
        lambda d: (d.name, d.number("value"), d.flag("globalDefault"), d.age, d.text("preemptionPolicy", UNSET)),
        "", ("Value",),
    ),
    "ReplicaSet": _printer("Name|Desired|Current|Ready|Age", _replica_set, _WORKLOAD, _COUNTS),
    "ResourceClaim": _printer("Name|State|Age", _claim),
    "ResourceSlice": _printer(
        "Name|Node|Driver|Pool|Age",
        lambda d: (d.name, d.text("spec.nodeName", UNSET), d.text("spec.driver"), d.text("spec.pool.name"), d.age),
    ),
    "Role": _printer("Name|Created At", _role),
    "RoleBinding": _printer("Name|Role|Age", _role_binding, "Users|Groups|ServiceAccounts"),
    "RuntimeClass": _printer("Name|Handler|Age", lambda d: (d.name, d.text("handler"), d.age)),
    "ServiceCIDR": _printer(
        "Name|CIDRs|Age", lambda d: (d.name, ",".join(str(cidr) for cidr in d.items("spec.cidrs")), d.age)
    ),
    "StatefulSet": _printer("Name|Ready|Age", _stateful_set, "Containers|Images"),
    "StorageClass": _printer(
        "Name|Provisioner|ReclaimPolicy|VolumeBindingMode|AllowVolumeExpansion|Age", _storage_class
    ),
    "ValidatingAdmissionPolicy": _printer(
        "Name|Validations|ParamKind|Age", lambda d: (d.name, len(d.items("spec.validations")), _param_kind(d), d.age),
        "", ("Validations",),
    ),
    "ValidatingAdmissionPolicyBinding": _printer(
        "Name|PolicyName|ParamRef|Age", lambda d: (d.name, d.text("spec.policyName"), _param_ref(d), d.age)
    ),
    "ValidatingWebhookConfiguration": _printer(
        "Name|Webhooks|Age", lambda d: (d.name, len(d.items("webhooks")), d.age), "", ("Webhooks",)
    ),
    "VolumeAttachment": _printer("Name|Attacher|PV|Node|Attached|Age", _volume_attachment),
}  # fmt: skip
