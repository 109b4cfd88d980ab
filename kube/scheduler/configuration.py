"""The file of --config: a KubeSchedulerConfiguration, as far as it means something here.

    apiVersion: kubescheduler.config.k8s.io/v1
    kind: KubeSchedulerConfiguration
    profiles:
    - schedulerName: packing
      plugins:
        score: {disabled: [{name: SelectorSpread}], enabled: [{name: ImageLocality, weight: 5}]}
      pluginConfig:
      - {name: NodeResourcesFit, args: {scoringStrategy: {type: MostAllocated}}}

A profile begins with what is built in, less what it disables (`*`: all), and then what it enables, under `filter`,
`score` or, for both, `multiPoint`. To enable what is there already gives it another weight. What upstream has besides,
and does not change where pods go, is read over; a word that nobody knows is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from kube import daemon
from kube.scheduler import plugins
from kube.scheduler.framework import Filter, Profile, Score, Weighted
from kube.scheduler.plugins import Context

API_VERSIONS = ("kubescheduler.config.k8s.io/v1", "kubescheduler.config.k8s.io/v1beta3")
KIND = "KubeSchedulerConfiguration"


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class PluginName(_Model):
    """A plug-in, and what its score counts."""

    name: str
    weight: int = 0
    """0: 1, also of one that counts more by default."""


class PluginSet(_Model):
    """What is added to an extension point, and what is taken away."""

    enabled: list[PluginName] = []
    disabled: list[PluginName] = []


class Plugins(_Model):
    """By extension point. Those that have no meaning here may be named, with what upstream has there."""

    multiPoint: PluginSet = PluginSet()
    filter: PluginSet = PluginSet()
    score: PluginSet = PluginSet()
    preEnqueue: PluginSet = PluginSet()
    queueSort: PluginSet = PluginSet()
    preFilter: PluginSet = PluginSet()
    postFilter: PluginSet = PluginSet()
    preScore: PluginSet = PluginSet()
    reserve: PluginSet = PluginSet()
    permit: PluginSet = PluginSet()
    preBind: PluginSet = PluginSet()
    bind: PluginSet = PluginSet()
    postBind: PluginSet = PluginSet()


class PluginConfig(_Model):
    """A plug-in's arguments."""

    name: str
    args: dict[str, Any] = {}


class ProfileConfig(_Model):
    """The plug-ins for the pods of one schedulerName."""

    schedulerName: str = "default-scheduler"
    percentageOfNodesToScore: int | None = None
    plugins: Plugins = Plugins()
    pluginConfig: list[PluginConfig] = []


class Configuration(_Model):
    """The whole file."""

    apiVersion: str
    kind: str
    profiles: list[ProfileConfig] = []
    podInitialBackoffSeconds: float = 1.0
    podMaxBackoffSeconds: float = 10.0
    parallelism: int | None = None
    percentageOfNodesToScore: int | None = None
    clientConnection: dict[str, Any] = {}
    leaderElection: dict[str, Any] = {}
    enableProfiling: bool | None = None
    enableContentionProfiling: bool | None = None
    delayCacheUntilActive: bool | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """What was configured: profiles, still to be made, and the queue's back-off in seconds."""

    profiles: Callable[[Context], Sequence[Profile]]
    initial_backoff: float = 1.0
    longest_backoff: float = 10.0


def built_in(scheduler_name: str) -> Settings:
    """One profile of all that is built in."""
    return Settings(lambda context: [plugins.default_profile(context, scheduler_name)])


def load(path: Path) -> Settings:
    """Raises daemon.Fatal, which says what is wrong with the file."""
    found = read(path, "--config", Configuration)
    if found.apiVersion not in API_VERSIONS or found.kind != KIND:
        raise daemon.Fatal(f"cannot use --config={path}: it is no {API_VERSIONS[0]} {KIND}")
    if not 0 < found.podInitialBackoffSeconds <= found.podMaxBackoffSeconds:
        raise daemon.Fatal(f"cannot use --config={path}: podMaxBackoffSeconds is less than podInitialBackoffSeconds")
    configured = found.profiles or [ProfileConfig()]
    for profile in configured:
        _check_arguments(path, profile)
    names = [each.schedulerName for each in configured]
    if len(set(names)) < len(names):
        raise daemon.Fatal(f"cannot use --config={path}: two profiles with one schedulerName")
    return Settings(
        lambda context: [_profile(context, each) for each in configured],
        found.podInitialBackoffSeconds,
        found.podMaxBackoffSeconds,
    )


Read = TypeVar("Read", bound=BaseModel)


def read(path: Path, flag: str, model: type[Read]) -> Read:
    """A file of YAML or JSON, as a flag names it. Raises daemon.Fatal."""
    try:
        return model.model_validate(yaml.safe_load(path.read_text()))
    except (OSError, yaml.YAMLError) as error:
        raise daemon.Fatal(f"cannot read {flag}={path}: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise daemon.Fatal(f"cannot use {flag}={path}: {where}: {first['msg']}") from None


def _check_arguments(path: Path, profile: ProfileConfig) -> None:
    names = [each.name for each in profile.pluginConfig]
    for each in profile.pluginConfig:
        if names.count(each.name) > 1:
            raise daemon.Fatal(f"cannot use --config={path}: repeated config for plugin {each.name}")
        plugins.check(each.name, each.args)


def _profile(context: Context, wanted: ProfileConfig) -> Profile:
    arguments = {each.name: each.args for each in wanted.pluginConfig}
    every, own = wanted.plugins.multiPoint, wanted.plugins
    filters = [name for name in plugins.FILTERS if not _disabled(name, every, own.filter)]
    weights = {name: plugins.WEIGHTS.get(name, 1) for name in plugins.SCORES if not _disabled(name, every, own.score)}
    for each in (*every.enabled, *own.filter.enabled):
        if _is(each.name, Filter, plugins.FILTERS, strict=each in own.filter.enabled) and each.name not in filters:
            filters.append(each.name)
    for each in (*every.enabled, *own.score.enabled):
        if _is(each.name, Score, plugins.SCORES, strict=each in own.score.enabled):
            weights[each.name] = each.weight or 1
    return Profile(
        wanted.schedulerName,
        tuple(_filter(context, name, arguments.get(name, {})) for name in filters),
        tuple(Weighted(_score(context, name, arguments.get(name, {})), weight) for name, weight in weights.items()),
    )


def _disabled(name: str, *sets: PluginSet) -> bool:
    return any(each.name in (name, "*") for found in sets for each in found.disabled)


def _is(name: str, kind: type[Filter] | type[Score], built_in: Mapping[str, object], *, strict: bool) -> bool:
    """Whether a plug-in is of a kind. `strict`: it was named as one. Raises daemon.Fatal if there is none such."""
    if name in built_in:
        return True
    of_ours = name in plugins.FILTERS or name in plugins.SCORES
    found = not of_ours and isinstance(plugins.installed(name), kind)
    if strict and not found:
        raise daemon.Fatal(f"plug-in {name} is no {kind.__name__.lower()}")
    return found


def _filter(context: Context, name: str, arguments: Mapping[str, Any]) -> Filter:
    if name in plugins.FILTERS:
        return plugins.FILTERS[name](context, arguments)
    plugin = plugins.installed(name)
    assert isinstance(plugin, Filter)
    return plugin


def _score(context: Context, name: str, arguments: Mapping[str, Any]) -> Score:
    if name in plugins.SCORES:
        return plugins.SCORES[name](context, arguments)
    plugin = plugins.installed(name)
    assert isinstance(plugin, Score)
    return plugin
