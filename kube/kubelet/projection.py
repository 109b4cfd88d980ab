"""What is in the volumes whose files come from the API: configMap, secret, downwardAPI, projected. Pure functions.

Messages are upstream's (pkg/volume/{configmap,secret,downwardapi,projected}).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kube.api.binary import decoded
from kube.api.core import (
    ConfigMap,
    Container,
    DownwardAPIVolumeFile,
    KeyToPath,
    Pod,
    Secret,
    ServiceAccountTokenProjection,
    Volume,
    VolumeProjection,
)
from kube.kubelet import environment
from kube.kubelet.atomic_writer import File, Payload
from kube.kubelet.configuration import Configuration
from kube.kubelet.environment import PodFacts

DEFAULT_MODE = 0o644
IN_MEMORY = ("secret", "downwardAPI", "projected")
"""Kinds whose files are never on a disk."""
KINDS = ("configMap", *IN_MEMORY)

_VOLUMES = tuple(name for name in Volume.model_fields if name != "name")

TokenKey = tuple[str, int]
"""Audience and lifetime in seconds of a service account token."""


class MountError(Exception):
    """A volume cannot be made ready; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What the files of a pod's volumes are made of."""

    configuration: Configuration = Configuration()  # noqa: RUF009  # immutable
    tokens: Mapping[TokenKey, str] = field(default_factory=dict)
    """Tokens of the pod's service account."""
    allocatable: Mapping[str, str] = field(default_factory=dict)
    """Of the node: what stands in for a limit that is not set."""


def kind(volume: Volume) -> str:
    """The kind of a volume, as its field is called; one without any is an emptyDir."""
    return next((name for name in _VOLUMES if getattr(volume, name)), "emptyDir")


def is_projected(pod: Pod) -> bool:
    """Whether the pod has a volume with files from the API."""
    return any(kind(volume) in KINDS for volume in pod.spec.volumes)


def tokens(pod: Pod) -> Iterator[ServiceAccountTokenProjection]:
    """The tokens that a pod's volumes need."""
    for volume in pod.spec.volumes:
        for source in volume.projected.sources if volume.projected is not None else ():
            if source.serviceAccountToken is not None:
                yield source.serviceAccountToken


def token_key(token: ServiceAccountTokenProjection) -> TokenKey:
    """What tokens of one pod differ in."""
    return token.audience, 3600 if token.expirationSeconds is None else token.expirationSeconds


def payload(pod: Pod, volume: Volume, sources: Sources) -> Payload:
    """The files of such a volume. Raises MountError, ConfigError (what it refers to is missing)."""
    found: dict[str, File] = {}
    if (config_map := volume.configMap) is not None:
        mode = _mode(config_map.defaultMode)
        found = _config_map(sources, config_map.name, config_map.items, mode, config_map.optional)
    elif (secret := volume.secret) is not None:
        found = _secret(sources, secret.secretName, secret.items, _mode(secret.defaultMode), secret.optional)
    elif (downward := volume.downwardAPI) is not None:
        found = _downward(pod, downward.items, _mode(downward.defaultMode), sources.allocatable)
    elif volume.projected is not None:
        mode = _mode(volume.projected.defaultMode)
        for source in volume.projected.sources:
            found |= _projection(pod, source, mode, sources)
    return found


def _projection(pod: Pod, source: VolumeProjection, mode: int, sources: Sources) -> dict[str, File]:
    if (config_map := source.configMap) is not None:
        return _config_map(sources, config_map.name, config_map.items, mode, config_map.optional)
    if (secret := source.secret) is not None:
        return _secret(sources, secret.name, secret.items, mode, secret.optional)
    if (downward := source.downwardAPI) is not None:
        return _downward(pod, downward.items, mode, sources.allocatable)
    if (token := source.serviceAccountToken) is not None:
        if (text := sources.tokens.get(token_key(token))) is None:
            raise MountError("failed to fetch token: there is none yet")
        user = only_user(pod)
        # Whoever else is in the container must not act in the pod's name.
        private = user is not None or fs_group(pod) is not None
        return {token.path: File(text.encode(), 0o600 if private else mode, owner=user)}
    if source.clusterTrustBundle is not None:
        raise MountError("ClusterTrustBundle projections are not supported by this kubelet")
    return {}


def _config_map(
    sources: Sources, name: str, items: Sequence[KeyToPath], mode: int, optional: bool | None
) -> dict[str, File]:
    config_map: ConfigMap | None = sources.configuration.config_map(name, optional)
    if config_map is None:
        return {}
    data = {key: text.encode() for key, text in config_map.data.items()}
    data |= {key: decoded(text) for key, text in config_map.binaryData.items()}
    missing = "configmap references non-existent config key: {}"
    return _keys(data, items, mode, missing, optional)


def _secret(
    sources: Sources, name: str, items: Sequence[KeyToPath], mode: int, optional: bool | None
) -> dict[str, File]:
    secret: Secret | None = sources.configuration.secret(name, optional)
    if secret is None:
        return {}
    data = {key: decoded(text) for key, text in secret.data.items()}
    return _keys(data, items, mode, "references non-existent secret key: {}", optional)


def _keys(
    data: Mapping[str, bytes], items: Sequence[KeyToPath], mode: int, missing: str, optional: bool | None
) -> dict[str, File]:
    if not items:
        return {key: File(content, mode) for key, content in data.items()}
    found = {}
    for item in items:
        if item.key in data:
            found[item.path] = File(data[item.key], mode if item.mode is None else item.mode)
        elif not optional:
            raise MountError(missing.format(item.key))
    return found


def _downward(
    pod: Pod, items: Sequence[DownwardAPIVolumeFile], mode: int, allocatable: Mapping[str, str]
) -> dict[str, File]:
    found = {}
    for item in items:
        text = ""
        if item.fieldRef is not None:
            text = pod_field(pod, item.fieldRef.fieldPath)
        elif item.resourceFieldRef is not None:
            text = environment.resource_field(pod, Container(name=""), item.resourceFieldRef, allocatable)
        found[item.path] = File(text.encode(), mode if item.mode is None else item.mode)
    return found


def pod_field(pod: Pod, path: str) -> str:
    """A field of a pod, as a file has it: all labels or annotations are lines `key="value"`. Raises ConfigError."""
    if path == "metadata.labels":
        return _lines(pod.metadata.labels)
    if path == "metadata.annotations":
        return _lines(pod.metadata.annotations)
    return environment.field(pod, path, PodFacts())


def _lines(entries: Mapping[str, str]) -> str:
    return "\n".join(f"{key}={json.dumps(entries[key], ensure_ascii=False)}" for key in sorted(entries))


def _mode(mode: int | None) -> int:
    return DEFAULT_MODE if mode is None else mode


def fs_group(pod: Pod) -> int | None:
    """The group that the pod's volumes belong to."""
    return pod.spec.securityContext.fsGroup if pod.spec.securityContext is not None else None


def only_user(pod: Pod) -> int | None:
    """The user that all of the pod's containers run as, if they say so and agree (pkg/volume/util FsUserFrom)."""
    rights = pod.spec.securityContext
    users: set[int | None] = set()
    for container in [*pod.spec.initContainers, *pod.spec.containers]:
        own = container.securityContext
        user = own.runAsUser if own is not None and own.runAsUser is not None else None
        users.add(user if user is not None else rights.runAsUser if rights is not None else None)
    return next(iter(users)) if len(users) == 1 else None
