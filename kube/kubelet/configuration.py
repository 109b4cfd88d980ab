"""The ConfigMaps and Secrets that this node's pods use, each followed by itself for as long as a pod uses it.

A node has no business with the secrets of other nodes' pods, so it reads no list of them: every object has a watch of
its own (upstream's WatchChangeDetectionStrategy). One that is immutable is read once. Who uses an object is told when
it changes, comes or goes: a container that waits for it is tried again at once, a volume is brought up to date.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kube.api.core import ConfigMap, Pod, Secret
from kube.api.meta import Object
from kube.client.informer import Informer
from kube.client.source import Sources

PATIENCE = 1.0
"""Seconds that an object which has not been read yet is waited for."""

Reference = tuple[type[ConfigMap] | type[Secret], str]
"""Kind and name, in the pod's namespace."""


Key = tuple[type[Object], str, str]
"""Kind, namespace and name."""


class ConfigError(Exception):
    """The container cannot be configured: the message of its CreateContainerConfigError."""


class ObjectMissing(ConfigError):
    """What the pod refers to does not exist."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """The ConfigMaps and Secrets that there are of those that a pod refers to, by name."""

    config_maps: Mapping[str, ConfigMap] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)

    def config_map(self, name: str, optional: bool | None = False) -> ConfigMap | None:
        """None if it is missing and may be. Raises ObjectMissing."""
        if name not in self.config_maps and not optional:
            raise ObjectMissing(f'configmap "{name}" not found')
        return self.config_maps.get(name)

    def secret(self, name: str, optional: bool | None = False) -> Secret | None:
        """None if it is missing and may be. Raises ObjectMissing."""
        if name not in self.secrets and not optional:
            raise ObjectMissing(f'secret "{name}" not found')
        return self.secrets.get(name)


def references(pod: Pod) -> set[Reference]:
    """The ConfigMaps and Secrets that a pod refers to."""
    return {(model, name) for model, name in _references(pod) if name}


def _references(pod: Pod) -> Iterator[Reference]:
    spec = pod.spec
    for container in [*spec.initContainers, *spec.containers]:
        for many in container.envFrom:
            if many.configMapRef is not None:
                yield ConfigMap, many.configMapRef.name
            if many.secretRef is not None:
                yield Secret, many.secretRef.name
        for variable in container.env:
            if (source := variable.valueFrom) is None:
                continue
            if source.configMapKeyRef is not None:
                yield ConfigMap, source.configMapKeyRef.name
            if source.secretKeyRef is not None:
                yield Secret, source.secretKeyRef.name
    for volume in spec.volumes:
        if volume.configMap is not None:
            yield ConfigMap, volume.configMap.name
        if volume.secret is not None:
            yield Secret, volume.secret.secretName
        for projection in volume.projected.sources if volume.projected is not None else ():
            if projection.configMap is not None:
                yield ConfigMap, projection.configMap.name
            if projection.secret is not None:
                yield Secret, projection.secret.name
    for secret in spec.imagePullSecrets:
        yield Secret, secret.name


@dataclass(slots=True)
class _Followed:
    """One object, and the pods that use it."""

    informer: Informer[Any]
    users: dict[str, Callable[[], None]] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None


class ConfigurationManager:
    """Follows what the pods of this process use."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._followed: dict[Key, _Followed] = {}
        self._used: dict[str, set[Key]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def followed(self) -> list[tuple[str, str, str]]:
        """Kind, namespace and name of all that is in use."""
        return sorted((model.kind, namespace, name) for model, namespace, name in self._followed)

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            for followed in self._followed.values():
                self._begin(followed)
            await asyncio.Event().wait()

    def use(self, pod: Pod, changed: Callable[[], None]) -> None:
        """Follow what a pod refers to, and nothing that it did before; `changed` is called whenever that changes."""
        uid = pod.metadata.uid
        wanted: set[Key] = {(model, pod.namespace, name) for model, name in references(pod)}
        before = self._used.get(uid, set())
        for key in wanted:
            if key not in self._followed:
                self._follow(*key)
            self._followed[key].users[uid] = changed
        for key in before - wanted:
            self._drop(key, uid)
        self._used[uid] = wanted
        if not wanted:
            del self._used[uid]

    def release(self, uid: str) -> None:
        """The pod is gone."""
        for key in self._used.pop(uid, set()):
            self._drop(key, uid)

    async def of(self, pod: Pod) -> Configuration:
        """What there is of what a pod refers to, and is used. Raises ConfigError if it cannot be read in time."""
        found: dict[type[Object], dict[str, Any]] = {ConfigMap: {}, Secret: {}}
        for model, name in references(pod):
            followed = self._followed.get((model, pod.namespace, name))
            if followed is None:
                continue  # the pod has just been given up
            if not followed.informer.has_synced:
                await _synced(followed.informer, model)
            if (obj := followed.informer.get(f"{pod.namespace}/{name}")) is not None:
                found[model][name] = obj
        return Configuration(found[ConfigMap], found[Secret])

    def _follow(self, model: type[Object], namespace: str, name: str) -> None:
        informer: Informer[Any] = Informer(
            self._sources.one(model, namespace, name), f"{model.kind} {namespace}/{name}"
        )
        followed = self._followed[model, namespace, name] = _Followed(informer)

        def tell(old: Any, new: Any) -> None:
            if new is not None and new.immutable and followed.task is not None:
                # Not before the informer has said that it is synced: it does so right behind its handlers.
                asyncio.get_running_loop().call_soon(followed.task.cancel)
            for changed in [*followed.users.values()]:
                changed()

        informer.on_change(tell)
        self._begin(followed)

    def _begin(self, followed: _Followed) -> None:
        if self._tasks is not None and followed.task is None:
            followed.task = self._tasks.create_task(followed.informer.run(), name=followed.informer.name)

    def _drop(self, key: Key, uid: str) -> None:
        followed = self._followed[key]
        followed.users.pop(uid, None)
        if not followed.users:
            del self._followed[key]
            if followed.task is not None:
                followed.task.cancel()


async def _synced(informer: Informer[Any], model: type[Object]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            await informer.synced()
            return
    raise ConfigError(f"failed to sync {model.kind.lower()} cache: timed out waiting for the condition")
