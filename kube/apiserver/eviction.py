"""pods/eviction: a deletion that a disruption budget can refuse. (pkg/registry/core/pod/storage/eviction.go)

A budget is counted down here and filled up again by the disruption controller, which is not ours: a budget that no
controller has looked at yet allows nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from kube.api import errors, labels, resources
from kube.api.core import Pod, PodCondition
from kube.api.meta import DeleteOptions, LabelSelector, Preconditions, now
from kube.api.policy import Eviction
from kube.api.unstructured import Unstructured
from kube.apiserver.listing import ListOptions
from kube.apiserver.verbs import Verbs

REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."
CAUSE = "DisruptionBudget"
MAX_DISRUPTED = 2000
"""Pods that a budget may have on their way out without a word from its controller."""

_TRIES = 20


async def evict(verbs: Verbs, namespace: str, name: str, eviction: Eviction, *, dry_run: bool) -> None:
    """Delete the pod if its budget allows. Raises TooManyRequests if not, and what a deletion raises."""
    if eviction.metadata.name != name:
        raise errors.BadRequest("name in URL does not match name in Eviction object")
    options = (eviction.deleteOptions or DeleteOptions()).clone()
    if dry_run:
        options.dryRun = ["All"]
    asked = options.preconditions or Preconditions()
    for left in reversed(range(_TRIES)):
        pod = (await verbs.get(resources.PODS, namespace, name)).decode()
        assert isinstance(pod, Pod)
        if asked.resourceVersion is not None and asked.resourceVersion != pod.metadata.resourceVersion:
            why = (
                f"Precondition failed: ResourceVersion in precondition: {asked.resourceVersion}, "
                f"ResourceVersion in object meta: {pod.metadata.resourceVersion}"
            )
            raise errors.conflict("pods", name, why)
        budget = await _budget_to_ask(verbs, pod)
        if budget is not None:
            await _take_from(verbs, budget, pod, dry_run=bool(options.dryRun))
        # That no budget needs to be asked holds for the pod as it was looked at, so it must still be that.
        pinned = budget is None or asked.resourceVersion is not None
        try:
            await _delete(verbs, pod, options, pinned=pinned)
            return
        except errors.Conflict:
            if not left or not pinned or asked.resourceVersion is not None:
                raise


def protected(pod: Pod) -> bool:
    """Whether the loss of the pod is a disruption: not if it does not run yet, has ended, or is going away already."""
    return pod.status.phase not in ("Succeeded", "Failed", "Pending") and pod.metadata.deletionTimestamp is None


async def _budget_to_ask(verbs: Verbs, pod: Pod) -> Unstructured | None:
    """The budget that a deletion of the pod must be taken from; None if there is none. Raises InternalError for two."""
    if not protected(pod):
        return None
    listing = await verbs.list(resources.POD_DISRUPTION_BUDGETS, pod.namespace, ListOptions())
    found = [entry.decode() for entry in listing.entries]
    budgets = [budget for budget in found if isinstance(budget, Unstructured) and guards(budget, pod)]
    if len(budgets) > 1:
        raise errors.InternalError(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        )
    if not budgets or not_counted(budgets[0], pod):
        return None
    return budgets[0]


def _part(budget: Unstructured, name: str) -> Mapping[str, Any]:
    part = budget.part(name)
    return part if isinstance(part, Mapping) else {}


def _count(status: Mapping[str, Any], name: str) -> int:
    value = status.get(name)
    return value if isinstance(value, int) else 0


def guards(budget: Unstructured, pod: Pod) -> bool:
    """Whether the pod is one of the budget's. (An empty selector selects all pods, none at all selects none.)"""
    selector = _part(budget, "spec").get("selector")
    if not isinstance(selector, Mapping):
        return False
    try:
        return labels.from_label_selector(LabelSelector.parse(selector)).matches(pod.metadata.labels)
    except (ValidationError, labels.SelectorError):
        return False  # upstream: a selector that cannot be read selects nothing here


def not_counted(budget: Unstructured, pod: Pod) -> bool:
    """Whether the pod is not ready, and its loss therefore nothing that the budget counts."""
    if any(condition.type == "Ready" and condition.status == "True" for condition in pod.status.conditions):
        return False
    if _part(budget, "spec").get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    status = _part(budget, "status")
    return _count(status, "currentHealthy") >= _count(status, "desiredHealthy") > 0


def taken(budget: Unstructured, pod: str) -> dict[str, Any]:
    """The budget's status when one more pod goes. Raises TooManyRequests or Forbidden."""
    status = dict(_part(budget, "status"))
    allowed = _count(status, "disruptionsAllowed")
    if _count(status, "observedGeneration") < budget.metadata.generation:
        raise _refused(f"The disruption budget {budget.name} is still being processed by the server.", wait=10)
    if allowed < 0:
        raise errors.forbidden("poddisruptionbudget", budget.name, "pdb disruptions allowed is negative", "policy")
    disrupted = status.get("disruptedPods")
    disrupted = dict(disrupted) if isinstance(disrupted, Mapping) else {}
    if len(disrupted) > MAX_DISRUPTED:
        why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise errors.forbidden("poddisruptionbudget", budget.name, why, "policy")
    if allowed == 0:
        raise _refused(_why_none(budget.name, status))
    disrupted[pod] = now().strftime("%Y-%m-%dT%H:%M:%SZ")
    return {**status, "disruptionsAllowed": allowed - 1, "disruptedPods": disrupted}


def _why_none(name: str, status: Mapping[str, Any]) -> str:
    for condition in status.get("conditions") or ():
        kind = (condition.get("type"), condition.get("status"), condition.get("reason"))
        if kind == ("DisruptionAllowed", "False", "SyncFailed"):
            failed = f"because it failed sync: {condition.get('message', '')}"
            return f"The disruption budget {name} does not allow evicting pods currently {failed}"
    needed, present = _count(status, "desiredHealthy"), _count(status, "currentHealthy")
    return f"The disruption budget {name} needs {needed} healthy pods and has {present} currently"


def _refused(why: str, wait: int = 0) -> errors.TooManyRequests:
    details: dict[str, Any] = {"causes": [{"reason": CAUSE, "message": why}]}
    if wait:
        details["retryAfterSeconds"] = wait
    return errors.TooManyRequests(REFUSED, details=details)


async def _take_from(verbs: Verbs, budget: Unstructured, pod: Pod, *, dry_run: bool) -> None:
    def change(present: Any) -> Unstructured:
        if present is None:
            return budget  # it went away meanwhile: there is nothing to take from
        result: Unstructured = present
        result.put("status", taken(result, pod.name))
        return result

    try:
        await verbs.update(
            resources.POD_DISRUPTION_BUDGETS, budget.namespace, budget.name, change, subresource="status",
            dry_run=dry_run,
        )  # fmt: skip
    except errors.NotFound:
        return


async def _delete(verbs: Verbs, pod: Pod, options: DeleteOptions, *, pinned: bool) -> None:
    """Say on the pod why it goes, and delete it: pinned, only if nobody changed it since it was looked at."""
    uid, version = pod.metadata.uid, pod.metadata.resourceVersion
    if not options.dryRun:

        def change(present: Any) -> Pod:
            changed: Pod = present
            changed.metadata.uid = uid
            changed.metadata.resourceVersion = version if pinned else ""
            condition = PodCondition(
                type="DisruptionTarget", status="True", reason="EvictionByEvictionAPI",
                message="Eviction API: evicting", lastTransitionTime=now(),
            )  # fmt: skip
            others = [c for c in changed.status.conditions if c.type != condition.type]
            changed.status.conditions = [*others, condition]
            return changed

        value, _ = await verbs.update(resources.PODS, pod.namespace, pod.name, change, subresource="status")
        version = Pod.parse(value).metadata.resourceVersion
    asked = options.preconditions or Preconditions()
    options = options.clone()
    options.preconditions = Preconditions(
        uid=uid if asked.uid is None else asked.uid, resourceVersion=version if pinned else None
    )
    await verbs.delete(resources.PODS, pod.namespace, pod.name, options)
