"""Rules for pods, for the templates they are made from, and for binding them to nodes."""

from __future__ import annotations

import difflib
import json

from kube.api import core, names
from kube.api.errors import (
    duplicate,
    field_forbidden,
    invalid,
    not_supported,
    required,
)
from kube.api.meta import ObjectMeta
from kube.api.validation import amounts, containers, placement, security, volumes
from kube.api.validation.meta import (
    Errors,
    annotation_map,
    each,
    label_name,
    labels,
    object_meta,
    object_meta_update,
    one_of,
    unchanged,
)

MIRROR = "kubernetes.io/config.mirror"
_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_INT32_MAX = 2**31 - 1

UPDATABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def validate(pod: core.Pod) -> Errors:
    """A new pod."""
    yield from _always(pod)
    if pod.spec.ephemeralContainers:
        yield field_forbidden("spec.ephemeralContainers", "cannot be set on create")
    if pod.spec.nodeName and pod.spec.schedulingGates:
        yield field_forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared")


def _always(pod: core.Pod) -> Errors:
    yield from object_meta(pod.metadata, names.dns_subdomain)
    yield from _annotations("metadata.annotations", pod.metadata, pod.spec)
    yield from spec("spec", pod.spec, pod_name=pod.metadata.name, is_pod=True)
    if not pod.spec.serviceAccountName:
        for i, volume in enumerate(pod.spec.volumes):
            for j, part in enumerate(volume.projected.sources if volume.projected is not None else ()):
                if part.serviceAccountToken is not None:
                    field = f"spec.volumes[{i}].projected.sources[{j}].serviceAccountToken"
                    yield field_forbidden(field, "must not be specified when serviceAccountName is not set")
    for i, container in enumerate(pod.spec.containers):
        yield from containers.padded_image(f"spec.containers[{i}]", container)
    for i, container in enumerate(pod.spec.initContainers):
        yield from containers.padded_image(f"spec.initContainers[{i}]", container)


def template(path: str, wanted: core.PodTemplateSpec) -> Errors:
    """What pods are made from."""
    yield from labels(f"{path}.labels", wanted.metadata.labels)
    yield from annotation_map(f"{path}.annotations", wanted.metadata.annotations)
    yield from _annotations(f"{path}.annotations", wanted.metadata, wanted.spec)
    yield from spec(f"{path}.spec", wanted.spec)
    if wanted.spec.ephemeralContainers:
        yield field_forbidden(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template")


def _annotations(path: str, meta: ObjectMeta, wanted: core.PodSpec) -> Errors:
    if MIRROR in meta.annotations and not wanted.nodeName:
        detail = "must set spec.nodeName if mirror pod annotation is set"
        yield invalid(f"{path}[{MIRROR}]", meta.annotations[MIRROR], detail)
    cost = meta.annotations.get(_DELETION_COST)
    if cost is not None and not _is_int32(cost):
        yield invalid(f"{path}[{_DELETION_COST}]", cost, "must be a 32bit integer")


def _is_int32(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and -(2**31) <= int(text) <= _INT32_MAX


def spec(path: str, wanted: core.PodSpec, *, pod_name: str = "", is_pod: bool = False) -> Errors:
    """What a pod is to be, in a pod or in a template."""
    if wanted.terminationGracePeriodSeconds is None:
        yield required(f"{path}.terminationGracePeriodSeconds")
    yield from volumes.volumes(f"{path}.volumes", wanted.volumes, pod_name, is_pod=is_pod)
    yield from _resource_claims(f"{path}.resourceClaims", wanted.resourceClaims)
    around = containers.Surroundings(
        volumes={volume.name: volume for volume in wanted.volumes},
        claims=[claim.name for claim in wanted.resourceClaims if claim.name],
        grace=wanted.terminationGracePeriodSeconds,
        restart_policy=wanted.restartPolicy,
        host_users=wanted.hostUsers is not False,
    )
    yield from containers.containers(f"{path}.containers", wanted.containers, around)
    yield from containers.init_containers(f"{path}.initContainers", wanted.initContainers, wanted.containers, around)
    others = [container.name for container in (*wanted.containers, *wanted.initContainers)]
    ephemeral = f"{path}.ephemeralContainers"
    yield from containers.ephemeral_containers(ephemeral, wanted.ephemeralContainers, others, around)
    if wanted.resources is not None:
        yield from amounts.requirements(f"{path}.resources", wanted.resources)
    yield from _host_network(path, wanted, is_pod=is_pod)
    yield from one_of(f"{path}.restartPolicy", wanted.restartPolicy, ("Always", "OnFailure", "Never"))
    dns_policies = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
    yield from one_of(f"{path}.dnsPolicy", wanted.dnsPolicy, dns_policies)
    yield from labels(f"{path}.nodeSelector", wanted.nodeSelector)
    yield from security.pod(path, wanted)
    yield from placement.affinity(f"{path}.affinity", wanted.affinity)
    yield from _dns_config(f"{path}.dnsConfig", wanted.dnsConfig, wanted.dnsPolicy)
    for i, readiness in enumerate(wanted.readinessGates):
        yield from label_name(f"{path}.readinessGates[{i}].conditionType", readiness.conditionType)
    yield from _scheduling_gates(f"{path}.schedulingGates", wanted.schedulingGates)
    yield from placement.topology_spread(f"{path}.topologySpreadConstraints", wanted.topologySpreadConstraints)
    yield from security.host_namespaces(path, wanted)
    yield from _names(path, wanted)
    yield from placement.tolerations(f"{path}.tolerations", wanted.tolerations)
    yield from _host_aliases(f"{path}.hostAliases", wanted.hostAliases)
    if wanted.preemptionPolicy is not None:
        yield from one_of(f"{path}.preemptionPolicy", wanted.preemptionPolicy, ("PreemptLowerPriority", "Never"))
    if wanted.overhead:
        overhead = core.ResourceRequirements(limits=wanted.overhead)
        yield from amounts.requirements(f"{path}.overhead", overhead)
    yield from security.operating_system(path, wanted)


def _names(path: str, wanted: core.PodSpec) -> Errors:
    for name in ("serviceAccountName", "nodeName", "priorityClassName", "runtimeClassName"):
        value: str | None = getattr(wanted, name)
        if value:
            yield from each(f"{path}.{name}", value, names.dns_subdomain(value))
    deadline = wanted.activeDeadlineSeconds
    if deadline is not None and not 1 <= deadline <= _INT32_MAX:
        yield invalid(f"{path}.activeDeadlineSeconds", deadline, names.out_of_range(1, _INT32_MAX))
    for name in ("hostname", "subdomain"):
        label: str = getattr(wanted, name)
        if label:
            yield from each(f"{path}.{name}", label, names.dns_label(label))


def _host_network(path: str, wanted: core.PodSpec, *, is_pod: bool) -> Errors:
    if not wanted.hostNetwork:
        return
    for i, container in enumerate(wanted.containers):
        for j, port in enumerate(container.ports):
            # A template's port may still be open: it is filled in when the pod is made.
            if (is_pod or port.hostPort) and port.hostPort != port.containerPort:
                detail = "must match `containerPort` when `hostNetwork` is true"
                yield invalid(f"{path}.containers[{i}].ports[{j}].hostPort", port.hostPort, detail)


def _resource_claims(path: str, claims: list[core.PodResourceClaim]) -> Errors:
    seen: set[str] = set()
    for i, claim in enumerate(claims):
        where = f"{path}[{i}]"
        if not claim.name:
            yield required(f"{where}.name")
        elif claim.name in seen:
            yield duplicate(f"{where}.name", claim.name)
        else:
            yield from each(f"{where}.name", claim.name, names.dns_label(claim.name))
            seen.add(claim.name)
        sources = [name for name in (claim.resourceClaimName, claim.resourceClaimTemplateName) if name is not None]
        if len(sources) == 2:
            detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            yield invalid(where, claim.name, detail)
        elif not sources:
            detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            yield invalid(where, claim.name, detail)
        for field in ("resourceClaimName", "resourceClaimTemplateName"):
            value: str | None = getattr(claim, field)
            if value is not None:
                yield from each(f"{where}.{field}", value, names.dns_subdomain(value))


def _scheduling_gates(path: str, gates: list[core.PodSchedulingGate]) -> Errors:
    seen: set[str] = set()
    for i, gate in enumerate(gates):
        yield from each(f"{path}[{i}]", gate.name, names.qualified(gate.name))
        if gate.name in seen:
            yield duplicate(f"{path}[{i}]", gate.name)
        seen.add(gate.name)


def _dns_config(path: str, config: core.PodDNSConfig | None, policy: str) -> Errors:
    if policy == "None":
        if config is None:
            yield required(path, "must provide `dnsConfig` when `dnsPolicy` is None")
        elif not config.nameservers:
            detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            yield required(f"{path}.nameservers", detail)
    if config is None:
        return
    if len(config.nameservers) > 3:
        yield invalid(f"{path}.nameservers", config.nameservers, "must not have more than 3 nameservers")
    for i, server in enumerate(config.nameservers):
        yield from each(f"{path}.nameservers[{i}]", server, names.ip(server))
    if len(config.searches) > 32:
        yield invalid(f"{path}.searches", config.searches, "must not have more than 32 search paths")
    if len(" ".join(config.searches)) > 2048:
        detail = "must not have more than 2048 characters (including spaces) in the search list"
        yield invalid(f"{path}.searches", config.searches, detail)
    for i, search in enumerate(config.searches):
        if search != ".":
            domain = search.removesuffix(".")
            yield from each(f"{path}.searches[{i}]", domain, names.dns_subdomain_with_underscore(domain))
    for i, option in enumerate(config.options):
        if not option.name:
            yield required(f"{path}.options[{i}]", "must not be empty")


def _host_aliases(path: str, aliases: list[core.HostAlias]) -> Errors:
    for i, alias in enumerate(aliases):
        yield from each(f"{path}[{i}].ip", alias.ip, names.ip(alias.ip))
        for j, hostname in enumerate(alias.hostnames):
            yield from each(f"{path}[{i}].hostnames[{j}]", hostname, names.dns_subdomain(hostname))


def validate_update(new: core.Pod, old: core.Pod) -> Errors:
    """A changed pod: of its spec only few fields may differ."""
    yield from object_meta_update(new.metadata, old.metadata)
    yield from _always(new)
    yield from _mirror_update(new.metadata, old.metadata)
    for kind in ("containers", "initContainers"):
        now: list[core.Container] = getattr(new.spec, kind)
        before: list[core.Container] = getattr(old.spec, kind)
        if len(now) != len(before):
            yield field_forbidden(f"spec.{kind}", "pod updates may not add or remove containers")
            return
    problems = list(_deadline_update(new.spec.activeDeadlineSeconds, old.spec.activeDeadlineSeconds))
    yield from problems
    if problems:
        return
    yield from placement.only_added_tolerations("spec.tolerations", new.spec.tolerations, old.spec.tolerations)
    known = {gate.name for gate in old.spec.schedulingGates}
    for i, gate in enumerate(new.spec.schedulingGates):
        if gate.name not in known:
            detail = f"only deletion is allowed, but found new scheduling gate '{gate.name}'"
            yield field_forbidden(f"spec.schedulingGates[{i}].name", detail)
    yield from _spec_update(new.spec, old.spec)


def _spec_update(new: core.PodSpec, old: core.PodSpec) -> Errors:
    if new == old:
        return
    # With the fields that may change put back as they were, the two must be equal.
    rest = new.clone()
    for container, before in zip(rest.containers, old.containers, strict=True):
        container.image = before.image
    for container, before in zip(rest.initContainers, old.initContainers, strict=True):
        container.image = before.image
    rest.activeDeadlineSeconds = old.activeDeadlineSeconds
    rest.schedulingGates = old.schedulingGates
    rest.tolerations = old.tolerations
    grace = old.terminationGracePeriodSeconds
    if grace is not None and grace < 0 and rest.terminationGracePeriodSeconds == 1:
        rest.terminationGracePeriodSeconds = grace
    if old.schedulingGates:
        if any(rest.nodeSelector.get(name) != value for name, value in old.nodeSelector.items()):
            detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
            yield invalid("spec.nodeSelector", rest.nodeSelector, detail)
        rest.nodeSelector = old.nodeSelector
        before_that = old.affinity.nodeAffinity if old.affinity else None
        wanted = rest.affinity.nodeAffinity if rest.affinity else None
        yield from placement.only_narrower("spec.affinity.nodeAffinity", wanted, before_that)
        if wanted != before_that:
            rest.affinity = (rest.affinity or core.Affinity()).model_copy(update={"nodeAffinity": before_that})
            if old.affinity is None and rest.affinity == core.Affinity():
                rest.affinity = None
    if rest != old:
        detail = f"pod updates may not change fields other than {UPDATABLE}\n{_difference(old, rest)}"
        yield field_forbidden("spec", detail)


def _difference(old: core.PodSpec, new: core.PodSpec) -> str:
    before, after = (json.dumps(spec.to_dict(), indent=2, sort_keys=True).splitlines() for spec in (old, new))
    lines = list(difflib.unified_diff(before, after, n=1, lineterm=""))
    return "\n".join(line for line in lines[2:] if not line.startswith("@@"))


def _deadline_update(new: int | None, old: int | None) -> Errors:
    field = "spec.activeDeadlineSeconds"
    if new is None:
        if old is not None:
            yield invalid(field, None, "must not update from a positive integer to nil value")
    elif not 0 <= new <= _INT32_MAX:
        yield invalid(field, new, names.out_of_range(0, _INT32_MAX))
    elif old is not None and old < new:
        yield invalid(field, new, "must be less than or equal to previous value")


def _mirror_update(new: ObjectMeta, old: ObjectMeta) -> Errors:
    field = f"metadata.annotations[{MIRROR}]"
    now, before = new.annotations.get(MIRROR), old.annotations.get(MIRROR)
    if before is not None and now != before:
        yield field_forbidden(field, "may not remove or update mirror pod annotation")
    elif before is None and now is not None:
        yield field_forbidden(field, "may not add mirror pod annotation")


_SYSTEM_CONDITIONS = ("PodScheduled", "Ready", "Initialized")


def validate_status_update(new: core.Pod, old: core.Pod) -> Errors:
    """A pod whose status has changed."""
    yield from object_meta_update(new.metadata, old.metadata)
    yield from _mirror_update(new.metadata, old.metadata)
    for i, condition in enumerate(new.status.conditions):
        if condition.type not in _SYSTEM_CONDITIONS:
            yield from each(f"metadata.conditions[{i}].Type", condition.type, names.qualified(condition.type))
    if new.spec.nodeName != old.spec.nodeName:
        yield field_forbidden("status.nodeName", "may not be changed directly")
    nominated = new.status.nominatedNodeName
    if nominated and nominated != old.status.nominatedNodeName:
        yield from each("status.nominatedNodeName", nominated, names.dns_subdomain(nominated))
    if old.status.qosClass:
        yield from unchanged("status.qosClass", new.status.qosClass, old.status.qosClass)
    policy = old.spec.restartPolicy
    sidecars = {c.name for c in old.spec.initContainers if c.restartPolicy == "Always"}
    yield from _transitions("containerStatuses", new, old, policy)
    yield from _transitions("initContainerStatuses", new, old, policy, sidecars)
    yield from _transitions("ephemeralContainerStatuses", new, old, "Never")
    for i, address in enumerate(new.status.podIPs):
        yield from each(f"status.podIPs[{i}]", address.ip, names.ip(address.ip))
    hosts = new.status.hostIPs
    if hosts and hosts[0].ip != new.status.hostIP:
        yield invalid("status.hostIPs[0].ip", hosts[0].ip, "must be equal to `hostIP`")
    for i, host in enumerate(hosts):
        yield from each(f"status.hostIPs[{i}]", host.ip, names.ip(host.ip))


def _transitions(
    kind: str, new: core.Pod, old: core.Pod, policy: str, exempt: set[str] | frozenset[str] = frozenset()
) -> Errors:
    """What has ended for good does not begin again."""
    if policy == "Always":
        return
    now: dict[str, core.ContainerStatus] = {status.name: status for status in getattr(new.status, kind)}
    for i, status in enumerate(getattr(old.status, kind)):
        ended = status.state.terminated
        if ended is None or status.name in exempt or (ended.exitCode and policy == "OnFailure"):
            continue
        after = now.get(status.name)
        if after is not None and after.state.terminated is None:
            yield field_forbidden(f"status.{kind}[{i}].state", "may not be transitioned to non-terminated state")


def validate_binding(binding: core.Binding) -> Errors:
    """The binding of a pod to a node."""
    target = binding.target
    if target.kind not in ("", "Node"):
        yield not_supported("target.kind", target.kind, ("Node", "<empty>"))
    if not target.name:
        yield required("target.name")
