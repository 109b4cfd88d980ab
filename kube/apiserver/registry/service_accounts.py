"""ServiceAccount admission: every pod runs as a service account, and finds the account's token in its containers.

The account has to be there. Its token, the authority that vouches for the apiserver, and the namespace are files of one
projected volume, by which in-cluster clients know where they are; `automountServiceAccountToken: false`, on the pod or
else the account, leaves it out. Mirror pods stay as the node wrote them, and may use neither accounts nor secrets.
(plugin/pkg/admission/serviceaccount)
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from kube.api import errors
from kube.api.core import (
    ConfigMapProjection,
    Container,
    DownwardAPIProjection,
    DownwardAPIVolumeFile,
    KeyToPath,
    LocalObjectReference,
    ObjectFieldSelector,
    Pod,
    ProjectedVolumeSource,
    ServiceAccount,
    ServiceAccountTokenProjection,
    Volume,
    VolumeMount,
    VolumeProjection,
)
from kube.api.names import generate_name
from kube.api.resources import SERVICE_ACCOUNTS
from kube.apiserver.cache import Cache, Entry
from kube.store import keys

DEFAULT = "default"
MIRROR = "kubernetes.io/config.mirror"
ENFORCE = "kubernetes.io/enforce-mountable-secrets"
"""Annotation of an account whose pods may use the secrets that it lists, and no others."""
VOLUME = "kube-api-access-"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
ROOT_CA = "kube-root-ca.crt"
TOKEN_SECONDS = 3607
"""By this odd number the apiserver knows who asks for the token of this volume (tokens.py)."""
PATIENCE = 5.0
"""Seconds that the account `default` of a new namespace is waited for: a controller makes it (upstream: 0.9 to 1.8)."""


class ServiceAccounts:
    """Gives pods their service account."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._read: dict[Entry, ServiceAccount] = {}

    def admit(self, pod: Pod) -> None:
        """Complete a new pod by its account. Raises Forbidden."""
        if MIRROR in pod.metadata.annotations:
            for why in _forbidden_to_mirrors(pod):
                raise _forbidden(pod, why)
            return
        spec = pod.spec
        spec.serviceAccountName = spec.serviceAccount = spec.serviceAccountName or DEFAULT
        account = self._account(pod)
        if account is None:
            namespace, name = pod.metadata.namespace, spec.serviceAccountName
            missing = f'serviceaccount "{name}" not found'
            raise _forbidden(pod, f"error looking up service account {namespace}/{name}: {missing}")
        if mounts_token(account, pod):
            mount_token(pod)
        if not spec.imagePullSecrets:
            spec.imagePullSecrets = [LocalObjectReference(name=each.name) for each in account.imagePullSecrets]
        if account.metadata.annotations.get(ENFORCE) in ("1", "t", "T", "true", "TRUE", "True"):
            for why in not_listed(account, pod):
                raise _forbidden(pod, why)

    def patience(self, pod: Pod) -> float:
        """Seconds for which the pod's account may be about to be made."""
        return PATIENCE if pod.spec.serviceAccountName == DEFAULT and self._account(pod) is None else 0.0

    def _account(self, pod: Pod) -> ServiceAccount | None:
        key = keys.object_key(SERVICE_ACCOUNTS, pod.metadata.namespace, pod.spec.serviceAccountName)
        entry = self._cache.entry(SERVICE_ACCOUNTS, key)
        if entry is None:
            return None
        known = self._read.get(entry)
        if known is None:
            if len(self._read) > 1000:
                self._read.clear()
            obj = entry.decode()
            assert isinstance(obj, ServiceAccount)
            known = self._read[entry] = obj
        return known


def mounts_token(account: ServiceAccount, pod: Pod) -> bool:
    """Whether the pod's containers get the token: the pod's own word goes before its account's."""
    for said in (pod.spec.automountServiceAccountToken, account.automountServiceAccountToken):
        if said is not None:
            return said
    return True


def mount_token(pod: Pod) -> None:
    """Have every container find the token at MOUNT_PATH, unless it has mounted something else there."""
    spec = pod.spec
    present = next((volume.name for volume in spec.volumes if volume.name.startswith(VOLUME)), "")
    name = present or generate_name(VOLUME)
    lacking = [
        container
        for container in (*spec.initContainers, *spec.containers)
        if not any(mount.mountPath == MOUNT_PATH for mount in container.volumeMounts)
    ]
    mount = VolumeMount(name=name, readOnly=True, mountPath=MOUNT_PATH)
    for container in lacking:
        container.volumeMounts = [*container.volumeMounts, mount]
    if lacking and not present:
        spec.volumes = [*spec.volumes, Volume(name=name, projected=token_source())]


@cache
def token_source() -> ProjectedVolumeSource:
    """The token, the authority, and the namespace. One for all pods: nobody changes it."""
    namespace = DownwardAPIVolumeFile(
        path="namespace", fieldRef=ObjectFieldSelector(apiVersion="v1", fieldPath="metadata.namespace")
    )
    return ProjectedVolumeSource(
        sources=[
            VolumeProjection(
                serviceAccountToken=ServiceAccountTokenProjection(path="token", expirationSeconds=TOKEN_SECONDS)
            ),
            VolumeProjection(
                configMap=ConfigMapProjection(name=ROOT_CA, items=[KeyToPath(key="ca.crt", path="ca.crt")])
            ),
            VolumeProjection(downwardAPI=DownwardAPIProjection(items=[namespace])),
        ],
        defaultMode=0o644,
    )


def not_listed(account: ServiceAccount, pod: Pod) -> Iterator[str]:
    """The secrets that a pod uses although its account, which is asked for them, does not list them."""
    mountable = {each.name for each in account.secrets}
    because = f"because service account {account.name} does not reference that"
    for volume in pod.spec.volumes:
        if volume.secret is not None and volume.secret.secretName not in mountable:
            yield f'volume with secret.secretName="{volume.secret.secretName}" is not allowed {because} secret'
    for kind, containers in (("init container", pod.spec.initContainers), ("container", pod.spec.containers)):
        for container in containers:
            for variable, secret in _secret_variables(container):
                if secret not in mountable:
                    what = f'{kind} {container.name} with envVar {variable} referencing secret.secretName="{secret}"'
                    yield f"{what} is not allowed {because} secret"
    pullable = {each.name for each in account.imagePullSecrets}
    for index, pull in enumerate(pod.spec.imagePullSecrets):
        if pull.name not in pullable:
            yield f'imagePullSecrets[{index}].name="{pull.name}" is not allowed {because} imagePullSecret'


def _secret_variables(container: Container) -> Iterator[tuple[str, str]]:
    for variable in container.env:
        source = variable.valueFrom.secretKeyRef if variable.valueFrom is not None else None
        if source is not None:
            yield variable.name, source.name


def _forbidden_to_mirrors(pod: Pod) -> Iterator[str]:
    spec = pod.spec
    if spec.serviceAccountName:
        yield "a mirror pod may not reference service accounts"
    containers = (*spec.initContainers, *spec.containers)
    projected = [part for volume in spec.volumes if volume.projected is not None for part in volume.projected.sources]
    if (
        spec.imagePullSecrets
        or any(any(_secret_variables(each)) for each in containers)
        or any(source.secretRef is not None for each in containers for source in each.envFrom)
        or any(volume.secret is not None for volume in spec.volumes)
        or any(part.secret is not None for part in projected)
    ):
        yield "a mirror pod may not reference secrets"
    if any(part.serviceAccountToken is not None for part in projected):
        yield "a mirror pod may not use ServiceAccountToken volume projections"


def _forbidden(pod: Pod, why: str) -> errors.Forbidden:
    return errors.forbidden("pods", pod.metadata.name or pod.metadata.generateName, why)
