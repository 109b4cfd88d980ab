"""Rules for security contexts, of pods and of containers."""

from __future__ import annotations

import re

from kube.api import core, names
from kube.api.errors import duplicate, field_forbidden, invalid, not_supported, required, too_long
from kube.api.validation import volumes
from kube.api.validation.meta import Errors, shown

_ID_RANGE = names.out_of_range(0, 0xFFFFFFFF)
_SYSCTL_SEGMENT = "[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SYSCTL = rf"({_SYSCTL_SEGMENT}[\./])*{_SYSCTL_SEGMENT}"
_PROFILE_TYPES = ("Localhost", "RuntimeDefault", "Unconfined")


def _id(field: str, value: int | None) -> Errors:
    if value is not None and not 0 <= value <= 0xFFFFFFFF:
        yield invalid(field, value, _ID_RANGE)


def _choice(field: str, value: str | None, supported: tuple[str, ...]) -> Errors:
    if value is not None and value not in supported:
        yield not_supported(field, value, supported)


def pod(path: str, spec: core.PodSpec) -> Errors:
    """The rights of all containers of a pod."""
    context, where = spec.securityContext, f"{path}.securityContext"
    if context is None:
        return
    yield from _id(f"{where}.fsGroup", context.fsGroup)
    yield from _id(f"{where}.runAsUser", context.runAsUser)
    yield from _id(f"{where}.runAsGroup", context.runAsGroup)
    for i, group in enumerate(context.supplementalGroups):
        yield from _id(f"{where}.supplementalGroups[{i}]", group)
    if spec.shareProcessNamespace and spec.hostPID:
        detail = "ShareProcessNamespace and HostPID cannot both be enabled"
        yield invalid(f"{where}.shareProcessNamespace", True, detail)
    yield from _sysctls(f"{where}.sysctls", context.sysctls)
    yield from _choice(f"{where}.fsGroupChangePolicy", context.fsGroupChangePolicy, ("Always", "OnRootMismatch"))
    yield from _seccomp(f"{where}.seccompProfile", context.seccompProfile)
    yield from _app_armor(f"{where}.appArmorProfile", context.appArmorProfile)
    yield from _choice(f"{where}.supplementalGroupsPolicy", context.supplementalGroupsPolicy, ("Merge", "Strict"))
    yield from _choice(f"{where}.seLinuxChangePolicy", context.seLinuxChangePolicy, ("MountOption", "Recursive"))


def host_namespaces(path: str, spec: core.PodSpec) -> Errors:
    """A pod with users of its own shares no other namespace with its node."""
    if spec.hostUsers is not False:
        return
    for given, name in ((spec.hostNetwork, "hostNetwork"), (spec.hostPID, "HostPID"), (spec.hostIPC, "HostIPC")):
        if given:
            yield field_forbidden(f"{path}.{name}", "when `pod.Spec.HostUsers` is false")


def operating_system(path: str, spec: core.PodSpec) -> Errors:
    """The operating system, and what a pod for it may not have."""
    if spec.os is None:
        return
    if not spec.os.name:
        yield required(f"{path}.os.name", "cannot be empty")
    elif spec.os.name not in ("linux", "windows"):
        yield not_supported(f"{path}.os", spec.os.name, ("linux", "windows"))
    elif spec.os.name == "linux":
        everywhere: list[tuple[str, core.PodSecurityContext | core.SecurityContext | None]]
        everywhere = [(f"{path}.securityContext", spec.securityContext)]
        lists: tuple[tuple[str, list[core.Container]], ...]
        lists = (("initContainers", spec.initContainers), ("containers", spec.containers))
        for kind, containers in lists:
            everywhere += [(f"{path}.{kind}[{i}].securityContext", c.securityContext) for i, c in enumerate(containers)]
        for where, context in everywhere:
            if context is not None and context.windowsOptions is not None:
                yield field_forbidden(f"{where}.windowsOptions", "windows options cannot be set for a linux pod")


def container(path: str, context: core.SecurityContext | None, *, host_users: bool = True) -> Errors:
    """The rights of one container."""
    if context is None:
        return
    yield from _id(f"{path}.runAsUser", context.runAsUser)
    yield from _id(f"{path}.runAsGroup", context.runAsGroup)
    yield from _choice(f"{path}.procMount", context.procMount, ("Default", "Unmasked"))
    if host_users and context.procMount == "Unmasked":
        yield invalid(f"{path}.procMount", context.procMount, "`hostUsers` must be false to use `Unmasked`")
    yield from _seccomp(f"{path}.seccompProfile", context.seccompProfile)
    if context.allowPrivilegeEscalation is False:
        if context.privileged:
            detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            yield invalid(path, shown(context), detail)
        if context.capabilities is not None and "CAP_SYS_ADMIN" in context.capabilities.add:
            detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            yield invalid(path, shown(context), detail)
    yield from _app_armor(f"{path}.appArmorProfile", context.appArmorProfile)


def _sysctls(path: str, sysctls: list[core.Sysctl]) -> Errors:
    seen: set[str] = set()
    for i, sysctl in enumerate(sysctls):
        field = f"{path}[{i}].name"
        if not sysctl.name:
            yield required(field)
        elif len(sysctl.name) > 253 or not re.fullmatch(_SYSCTL, sysctl.name):
            yield invalid(field, sysctl.name, f"must have at most 253 characters and match regex ^{_SYSCTL}$")
        elif sysctl.name in seen:
            yield duplicate(field, sysctl.name)
        seen.add(sysctl.name)


def _seccomp(path: str, profile: core.SeccompProfile | None) -> Errors:
    if profile is None:
        return
    if not profile.type:
        yield required(f"{path}.type", "type is required when seccompProfile is set")
    elif profile.type not in _PROFILE_TYPES:
        yield not_supported(f"{path}.type", profile.type, _PROFILE_TYPES)
    if profile.type == "Localhost":
        if profile.localhostProfile is None:
            yield required(f"{path}.localhostProfile", "must be set when seccomp type is Localhost")
        else:
            yield from volumes.relative_path(f"{path}.localhostProfile", profile.localhostProfile)
    elif profile.localhostProfile is not None:
        detail = "can only be set when seccomp type is Localhost"
        yield invalid(f"{path}.localhostProfile", profile.localhostProfile, detail)


def _app_armor(path: str, profile: core.AppArmorProfile | None) -> Errors:
    if profile is None:
        return
    name = profile.localhostProfile
    if profile.type == "Localhost":
        if not name:
            yield required(f"{path}.localhostProfile", "must be set when AppArmor type is Localhost")
        else:
            if name != name.strip():
                yield invalid(f"{path}.localhostProfile", name, "must not be padded with whitespace")
            if len(name) > 4095:
                yield too_long(f"{path}.localhostProfile", "", 4095)
    elif profile.type in _PROFILE_TYPES:
        if name is not None:
            yield invalid(f"{path}.localhostProfile", name, "can only be set when AppArmor type is Localhost")
    elif not profile.type:
        yield required(f"{path}.type", "type is required when appArmorProfile is set")
    else:
        yield not_supported(f"{path}.type", profile.type, _PROFILE_TYPES)
