"""What the apiserver counts and times, under upstream's names (apiserver/pkg/endpoints/metrics).

Only what is served has a name here: paths and methods that somebody made up are counted as nothing, or each would stay
in memory for ever. To find a metric by its labels costs more than to count, so each is looked up once.
"""

from __future__ import annotations

from functools import lru_cache, partial

from prometheus_client import Counter, Gauge, Histogram

from kube.api import resources
from kube.apiserver.cache import Cache, ResourceCache
from kube.apiserver.request import Target

WHAT = ("component", "dry_run", "group", "resource", "scope", "subresource", "verb", "version")
PLACE = ("component", "group", "resource", "scope", "subresource", "verb", "version")

REQUESTS = Counter("apiserver_request_total", "Requests that were answered.", (*WHAT, "code"))
DURATION = Histogram(
    "apiserver_request_duration_seconds", "Time to answer, of requests that are not long-running.", WHAT,
    buckets=(0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 5, 10, 30, 60),
)  # fmt: skip
IN_FLIGHT = Gauge("apiserver_current_inflight_requests", "Requests being answered now.", ("request_kind",))
LONG_RUNNING = Gauge("apiserver_longrunning_requests", "Watches, logs and connections that are open.", PLACE)
STORED = Gauge("apiserver_storage_objects", "Objects in the store.", ("resource",))
EVENTS = Counter("apiserver_watch_events_total", "Events sent to watchers.", ("group", "version", "resource"))

VERBS = {"POST": "POST", "PUT": "PUT", "PATCH": "PATCH", "DELETE": "DELETE"}
CONNECTIONS = ("attach", "exec", "log", "portforward", "proxy")


class Measured:
    """The metrics of one kind of request."""

    def __init__(self, labels: dict[str, str]) -> None:
        self._labels = labels
        self._codes: dict[int, Counter] = {}
        self._duration = DURATION.labels(dry_run="", **labels)

    def answered(self, code: int, seconds: float) -> None:
        """A request was, after so long; of a long-running one, that it has begun."""
        counter = self._codes.get(code)
        if counter is None:
            counter = self._codes[code] = REQUESTS.labels(dry_run="", code=str(code), **self._labels)
        counter.inc()
        if self._labels["verb"] not in ("WATCH", "CONNECT"):
            self._duration.observe(seconds)

    @property
    def open(self) -> Gauge:
        """How many of them are open now."""
        return LONG_RUNNING.labels(**self._labels)


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
    return Measured({"component": "apiserver", "group": group, "resource": plural, "scope": scope,
                     "subresource": subresource, "verb": verb, "version": version})  # fmt: skip


def watch_stored(cache: Cache) -> None:
    """Tell, when asked, how many objects a cache holds."""
    for resource, objects in cache.resources.items():
        name = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
        STORED.labels(name).set_function(partial(_count, objects))


def _count(objects: ResourceCache) -> float:
    return len(objects.entries)
