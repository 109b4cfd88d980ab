"""The store's contract: what etcd promises, in the few words that the rest of the house uses.

Two implementations pass one contract suite (tests/unit/store, tests/integration): `etcd.py`, the real one, and
`memory.py`, the shipped fake. A revision is etcd's: one counter for the whole store, raised by every transaction that
writes; a key's `revision` is its `mod_revision`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key as it is at some revision."""

    key: str
    value: bytes
    revision: int
    """mod_revision: the revision of the transaction that wrote it last."""
    create_revision: int = 0
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """A range of keys, in the order of the keys, as of one revision."""

    items: list[KeyValue]
    revision: int
    """The store's revision that the range was read at."""
    remaining: int = 0
    """How many keys of the range come behind the last item."""


@dataclass(frozen=True, slots=True)
class Compare:
    """A condition of a transaction: the key's mod_revision must be this (0: the key must not exist)."""

    key: str
    revision: int


@dataclass(frozen=True, slots=True)
class Put:
    """Write a key. `lease` 0 means none."""

    key: str
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a key; no error if it is absent."""

    key: str


Op = Put | Delete


@dataclass(frozen=True, slots=True)
class TxnResult:
    """What became of a transaction."""

    succeeded: bool
    revision: int
    """Of the writes, or, if a condition failed, of the reads that show why."""
    current: dict[str, KeyValue] = field(default_factory=dict)
    """If a condition failed: the compared keys that exist, as they are."""


@dataclass(frozen=True, slots=True)
class Change:
    """One key's change, as a watch sees it."""

    key: str
    value: bytes | None
    """The new value; None when the key was removed."""
    revision: int
    previous: KeyValue | None = None
    """The key before the change; None when it was created, or when the watch does not tell."""
    created: bool = False
    """Whether there was no such key before."""


@dataclass(frozen=True, slots=True)
class WatchBatch:
    """Changes in the order of their revisions; a transaction's changes are never split over two batches."""

    changes: list[Change]
    revision: int
    """The watch has seen everything up to here."""


class Compacted(Exception):
    """The revision is older than what the store keeps: list again."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"compacted up to revision {oldest}")
        self.oldest = oldest


class Unavailable(Exception):
    """The store cannot be reached, or did not answer in time. A write may or may not have happened."""


class TooLarge(Exception):
    """The transaction is larger than the store takes (etcd: 1.5 MiB)."""


class LeaseNotFound(Exception):
    """The lease of a Put has run out: grant another."""


class Store(Protocol):
    """A key-value store with revisions, transactions and watches. Any call may raise Unavailable."""

    async def get(self, key: str) -> tuple[KeyValue | None, int]:
        """A key as it is now (linearizable), and the store's revision."""

    async def list(self, prefix: str, *, limit: int = 0, after: str = "", revision: int = 0) -> Page:
        """The keys under a prefix, from the one behind `after`, at most `limit` (0: all), as of `revision` (0: now).

        Raises Compacted; Unavailable if the revision is yet to come.
        """

    async def txn(self, compares: Sequence[Compare], ops: Sequence[Op]) -> TxnResult:
        """Write all or nothing: `ops` happen, at one revision, if every comparison holds.

        Raises TooLarge, LeaseNotFound; ValueError for what no state of the store could make right: a key written
        twice, no key, more than 128 operations.
        """

    def watch(
        self, prefix: str, revision: int, *, exact: bool = False, previous: bool = False
    ) -> AsyncGenerator[WatchBatch, None]:
        """Every change under a prefix from `revision` on (that revision included), without end.

        `exact`: only those of the key that the prefix is. `previous`: what was there before is told, for which etcd
        reads it anew for every watch. Raises Compacted, or Unavailable when the stream breaks: watch again from the
        last batch's revision + 1.
        """

    async def revision(self) -> int:
        """The store's revision now (linearizable)."""

    async def grant(self, ttl: int) -> int:
        """A lease that removes the keys attached to it after `ttl` seconds."""

    async def compact(self, revision: int) -> None:
        """Forget what came before `revision`."""

    async def close(self) -> None:
        """End all watches and connections."""
