"""What a list asks for, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass

from kube.api import errors, fields, labels
from kube.apiserver import paging
from kube.apiserver.cache import Entry, Match


@dataclass(frozen=True, slots=True)
class ListOptions:
    """What a list or watch asks for."""

    labels: labels.Selector | None = None
    fields: fields.Selector | None = None
    limit: int = 0
    continue_: str = ""
    resource_version: str = ""
    resource_version_match: str = ""

    @property
    def exact(self) -> bool:
        """The list of that very version is wanted. Who names a version and a limit, and says nothing more, means that,
        too (etcd3/store.go: resolveGetListRev, "legacy case")."""
        if self.resource_version_match:
            return self.resource_version_match == "Exact"
        return self.limit > 0 and self.resource_version not in ("", "0")

    def match(self) -> Match | None:
        """One function for all conditions; None if there are none."""
        conditions: list[Match] = []
        if self.labels is not None:
            by_labels = self.labels.predicate()
            conditions.append(lambda entry: by_labels(entry.labels))
        if self.fields is not None:
            by_fields = self.fields
            conditions.append(lambda entry: by_fields.matches(entry.fields))
        if not conditions:
            return None
        if len(conditions) == 1:
            return conditions[0]
        return lambda entry: all(condition(entry) for condition in conditions)


@dataclass(frozen=True, slots=True)
class Listing:
    """The answer to a list."""

    entries: list[Entry]
    revision: int
    continue_: str = ""
    remaining: int | None = None


def page(entries: list[Entry], revision: int, prefix: str, limit: int, *, counted: bool) -> Listing:
    """The first `limit` (0: all) of the entries; `counted`: tell how many remain."""
    if not limit or len(entries) <= limit:
        return Listing(entries, revision)
    token = paging.encode(revision, entries[limit - 1].key, prefix)
    # With a selector upstream does not count what remains.
    remaining = len(entries) - limit if counted else None
    return Listing(entries[:limit], revision, token, remaining)


def parse_version(text: str) -> int:
    """A resourceVersion as a revision. Raises BadRequest with upstream's message."""
    if not (text.isascii() and text.isdigit()):
        quoted = errors.quote(text)
        raise errors.BadRequest(f"Invalid value: {quoted}: strconv.ParseUint: parsing {quoted}: invalid syntax")
    if int(text[:21]) >= 2**64:
        quoted = errors.quote(text)
        raise errors.BadRequest(f"Invalid value: {quoted}: strconv.ParseUint: parsing {quoted}: value out of range")
    return int(text)
