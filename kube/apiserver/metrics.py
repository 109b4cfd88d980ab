"""What the apiserver counts and times, under upstream's names (apiserver/pkg/endpoints/metrics).

Only what is served has a name here: paths and methods that somebody made up are counted as nothing, or each would stay
in memory for ever. Requests are counted in numbers of our own, which are made into metrics when somebody asks for them:
a library's counters, safe in many threads, are a tenth of what a GET costs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from itertools import accumulate

from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from kube.api import resources
from kube.apiserver.cache import Cache, ResourceCache
from kube.apiserver.request import Target

WHAT = ("component", "dry_run", "group", "resource", "scope", "subresource", "verb", "version")
PLACE = ("component", "group", "resource", "scope", "subresource", "verb", "version")

BUCKETS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 5, 10, 30, 60)
"""Seconds."""

IN_FLIGHT = Gauge("apiserver_current_inflight_requests", "Requests being answered now.", ("request_kind",))
LONG_RUNNING = Gauge("apiserver_longrunning_requests", "Watches, logs and connections that are open.", PLACE)
STORED = Gauge("apiserver_storage_objects", "Objects in the store.", ("resource",))
EVENTS = Counter("apiserver_watch_events_total", "Events sent to watchers.", ("group", "version", "resource"))

VERBS = {"POST": "POST", "PUT": "PUT", "PATCH": "PATCH", "DELETE": "DELETE"}
CONNECTIONS = ("attach", "exec", "log", "portforward", "proxy")


class Measured:
    """The metrics of one kind of request."""

    __slots__ = ("_labels", "codes", "durations", "seconds", "timed")

    def __init__(self, labels: dict[str, str]) -> None:
        self._labels = labels
        self.timed = labels["verb"] not in ("WATCH", "CONNECT")
        self.codes: Counts[int] = Counts()
        """How many were answered with each code."""
        self.durations = [0] * (len(BUCKETS) + 1)
        """How many fell into each bucket, and behind the last one."""
        self.seconds = 0.0
        """In all."""

    def answered(self, code: int, seconds: float) -> None:
        """A request was, after so long; of a long-running one, that it has begun."""
        self.codes[code] += 1
        if self.timed:
            self.durations[bisect_left(BUCKETS, seconds)] += 1
            self.seconds += seconds

    @property
    def open(self) -> Gauge:
        """How many of them are open now."""
        return LONG_RUNNING.labels(**self._labels)

    def labelled(self, names: tuple[str, ...], **more: str) -> list[str]:
        """The values of labels."""
        values = {"dry_run": "", **self._labels, **more}
        return [values[name] for name in names]


class _Requests(Collector):
    """What was measured, as metrics."""

    def __init__(self) -> None:
        self.kinds: dict[tuple[str, ...], Measured] = {}

    def of(self, labels: dict[str, str]) -> Measured:
        """The metrics of the requests with these labels."""
        return self.kinds.setdefault(tuple(labels.values()), Measured(labels))

    def collect(self) -> Iterator[Metric]:
        names = (*WHAT, "code")
        requests = CounterMetricFamily("apiserver_request_total", "Requests that were answered.", labels=names)
        help_ = "Time to answer, of requests that are not long-running."
        durations = HistogramMetricFamily("apiserver_request_duration_seconds", help_, labels=WHAT)
        for kind in self.kinds.values():
            for code, count in kind.codes.items():
                requests.add_metric(kind.labelled(names, code=str(code)), count)
            if kind.timed:
                durations.add_metric(kind.labelled(WHAT), cumulative(BUCKETS, kind.durations), kind.seconds)
        yield requests
        yield durations


def cumulative(limits: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """A histogram's buckets as Prometheus wants them: each with what is in those before it, the last without limit."""
    names = (*(str(float(limit)) for limit in limits), "+Inf")
    return list(zip(names, map(float, accumulate(counts)), strict=True))


_REQUESTS = _Requests()
REGISTRY.register(_REQUESTS)


def of(target: Target, method: str, *, watching: bool) -> Measured | None:
    """The metrics of a request; None if nobody serves such a thing."""
    return _of(
        target.group, target.version, target.plural, target.subresource, bool(target.namespace), bool(target.name),
        method, watching,
    )  # fmt: skip


@lru_cache(maxsize=4000)
def _of(
    group: str, version: str, plural: str, subresource: str, namespaced: bool, named: bool, method: str, watching: bool
) -> Measured | None:
    resource = resources.by_plural(group, version, plural)
    if resource is None or (subresource and subresource not in {known.name for known in resource.subresources}):
        return None
    if watching:
        verb = "WATCH"
    elif subresource in CONNECTIONS:
        verb = "CONNECT"
    elif method in ("GET", "HEAD"):
        verb = "GET" if named else "LIST"
    elif method == "DELETE" and not named:
        verb = "DELETECOLLECTION"
    elif method in VERBS:
        verb = VERBS[method]
    else:
        return None
    scope = "resource" if named or method == "POST" else "namespace" if namespaced else "cluster"
    return _REQUESTS.of({"component": "apiserver", "group": group, "resource": plural, "scope": scope,
                         "subresource": subresource, "verb": verb, "version": version})  # fmt: skip


def watch_stored(cache: Cache) -> None:
    """Tell, when asked, how many objects a cache holds."""
    for resource, objects in cache.resources.items():
        name = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
        STORED.labels(name).set_function(partial(_count, objects))


def _count(objects: ResourceCache) -> float:
    return len(objects.entries)
