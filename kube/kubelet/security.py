"""As whom a container runs and what it may do: the securityContext of pod and container, as the engine is asked for it.

A container's own word wins over its pod's. What the engine cannot give it refuses itself; what can be known before is
a ConfigError, with upstream's messages (pkg/kubelet/kuberuntime/security_context_linux.go).

Where Kubernetes differs: without a seccompProfile its containers are unconfined (unless the kubelet is told
`--seccomp-default`). Here they have the engine's own profile.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kube.api.core import Container, Pod
from kube.kubelet.configuration import ConfigError
from kube.kubelet.runtime import RuntimeFailure, Security

ROOT = "0"


def needs_image_user(pod: Pod, container: Container) -> bool:
    """Whether it has to be known as whom the image would run."""
    if _effective(pod, container, "runAsUser") is not None:
        return False
    return bool(_effective(pod, container, "runAsNonRoot")) or _effective(pod, container, "runAsGroup") is not None


def security(pod: Pod, container: Container, image_user: str, profiles: Path) -> Security:
    """What the engine is told. `image_user`: as whom the image runs, if that is needed; `profiles`: their directory.

    Raises ConfigError, or RuntimeFailure when a profile cannot be had.
    """
    own, pods = container.securityContext, pod.spec.securityContext
    labels = _effective(pod, container, "seLinuxOptions")
    groups = [] if pods is None else [*pods.supplementalGroups, *([] if pods.fsGroup is None else [pods.fsGroup])]
    capabilities = own.capabilities if own is not None else None
    return Security(
        user=_user(pod, container, image_user),
        groups=[str(group) for group in groups],
        privileged=bool(own and own.privileged),
        read_only_root=bool(own and own.readOnlyRootFilesystem),
        no_new_privileges=own is not None and own.allowPrivilegeEscalation is False,
        add_capabilities=capabilities.add if capabilities else (),
        drop_capabilities=capabilities.drop if capabilities else (),
        seccomp=_seccomp(container, _effective(pod, container, "seccompProfile"), profiles),
        apparmor=_apparmor(_effective(pod, container, "appArmorProfile")),
        unmasked=own is not None and own.procMount == "Unmasked",
        selinux={} if labels is None else {k: v for k, v in labels.to_dict().items() if v},
    )


def _effective(pod: Pod, container: Container, field: str) -> Any:
    """The container's word, else the pod's."""
    for rights in (container.securityContext, pod.spec.securityContext):
        if rights is not None and (value := getattr(rights, field)) is not None:
            return value
    return None


def _user(pod: Pod, container: Container, image_user: str) -> str:
    """`uid[:gid]`; empty: as the image says."""
    user, group = _effective(pod, container, "runAsUser"), _effective(pod, container, "runAsGroup")
    if _effective(pod, container, "runAsNonRoot"):
        _refuse_root(pod, container, user, image_user)
    identity = "" if user is None else str(user)
    if group is None:
        return identity
    return f"{identity or image_user.partition(':')[0] or ROOT}:{group}"


def _refuse_root(pod: Pod, container: Container, user: int | None, image_user: str) -> None:
    where = f'(pod: "{pod.name}_{pod.namespace}({pod.metadata.uid})", container: {container.name})'
    if user is not None:
        if user == 0:
            raise ConfigError(f"container's runAsUser breaks non-root policy {where}")
        return
    name = image_user.partition(":")[0]
    if name in ("", ROOT):
        raise ConfigError(f"container has runAsNonRoot and image will run as root {where}")
    if not name.isdigit():
        message = f"image has non-numeric user ({name}), cannot verify user is non-root"
        raise ConfigError(f"container has runAsNonRoot and {message} {where}")


def _seccomp(container: Container, profile: Any, profiles: Path) -> str:
    """`unconfined`, the text of a profile, or empty for the engine's own."""
    match None if profile is None else profile.type:
        case "Unconfined":
            return "unconfined"
        case "Localhost":
            path = profiles / (profile.localhostProfile or "")
            try:
                return path.read_text()
            except OSError as error:
                raise RuntimeFailure(
                    f'failed to generate security options for container "{container.name}": cannot load seccomp '
                    f'profile "{path}": open {path}: {(error.strerror or str(error)).lower()}',
                    "CreateContainerError",
                ) from None
    return ""


def _apparmor(profile: Any) -> str:
    """`unconfined`, the name of a profile that the node has loaded, or empty for the engine's own."""
    match None if profile is None else profile.type:
        case "Unconfined":
            return "unconfined"
        case "Localhost":
            return str(profile.localhostProfile or "")
    return ""
