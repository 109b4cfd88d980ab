"""What asking for an object's deletion does to it, and when it may go. No I/O.

An object stays while it has grace (a pod's containers end in it) or finalizers (somebody has something left to do),
with a deletionTimestamp that tells when it is to be gone. (apiserver/pkg/registry: rest.BeforeDelete, generic/registry)
"""

from __future__ import annotations

from datetime import timedelta

from kube.api import errors
from kube.api.meta import DeleteOptions, Object, now
from kube.api.resources import Resource
from kube.apiserver.registry.strategy import Strategy

DEPENDENTS_FINALIZERS = {"Orphan": "orphan", "Foreground": "foregroundDeletion"}
"""What keeps an object until the garbage collector has seen to its dependents, by the propagation policy."""


def marked(strategy: Strategy, old: Object, options: DeleteOptions) -> Object:
    """The object with its deletion asked for: it stays while it has grace or finalizers. Its rest is shared.

    One that has grace already is left as it is, unless less is asked for: that it has ended meanwhile, its node says,
    by asking for none.
    """
    grace, asked = old.metadata.deletionGracePeriodSeconds or 0, options.gracePeriodSeconds
    if asked is not None and asked < 0:
        asked = 1
    pending = old.metadata.deletionTimestamp is not None and grace > 0
    if pending and (asked is None or asked >= grace):
        return old
    meta = old.metadata.clone()
    new = old.model_copy(update={"metadata": meta})
    meta.finalizers = finalizers(meta.finalizers, options, orphans=strategy.orphans, collected=strategy.collected)
    if meta.deletionTimestamp is None:
        grace = strategy.grace(old, asked)
        meta.deletionTimestamp = now() + timedelta(seconds=grace)
        meta.deletionGracePeriodSeconds = grace
        if meta.generation:
            meta.generation += 1
        strategy.on_delete(new)
    elif pending and asked is not None:
        begun = meta.deletionTimestamp - timedelta(seconds=grace)
        meta.deletionTimestamp = begun + timedelta(seconds=asked)
        meta.deletionGracePeriodSeconds = asked
    return new


def finalizers(present: list[str], options: DeleteOptions, *, orphans: bool, collected: bool = True) -> list[str]:
    """Those of an object whose deletion is asked for, by what is to become of its dependents: as the options say, as it
    says itself by a finalizer, or as is usual for its kind (upstream's deletionFinalizersForGarbageCollection).

    `collected`: the garbage collector looks at its kind. Else nobody would ever take such a finalizer off.
    """
    held = DEPENDENTS_FINALIZERS
    policy = options.propagationPolicy
    if options.orphanDependents is not None:
        policy = "Orphan" if options.orphanDependents else "Background"
    by_itself = next((each for each in present if each in held.values()), held["Orphan"] if orphans else None)
    wanted = held.get(policy) if policy else by_itself
    rest = [each for each in present if each not in held.values()]
    return [*rest, wanted] if wanted and collected else rest


def may_go(obj: Object) -> bool:
    """A deletion was asked for, and nothing holds the object any more: no grace, no finalizer."""
    meta = obj.metadata
    held = meta.finalizers or (meta.deletionGracePeriodSeconds or 0) > 0
    spec = getattr(obj, "spec", None)
    # A namespace is held by its spec's finalizers, too.
    return meta.deletionTimestamp is not None and not held and not getattr(spec, "finalizers", None)


def check_preconditions(resource: Resource, obj: Object, options: DeleteOptions) -> None:
    """Raise Conflict unless the object is the one that is meant."""
    wanted, meta = options.preconditions, obj.metadata
    if wanted is None:
        return
    for what, asked, actual in (
        ("UID", wanted.uid, meta.uid),
        ("ResourceVersion", wanted.resourceVersion, meta.resourceVersion),
    ):
        if asked is not None and asked != actual:
            why = f"Precondition failed: {what} in precondition: {asked}, {what} in object meta: {actual}"
            raise errors.conflict(resource.plural, meta.name, why, resource.group)
