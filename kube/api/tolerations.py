"""core/v1: which taints a pod bears (k8s.io/component-helpers/scheduling/corev1)."""

from __future__ import annotations

from collections.abc import Sequence

from kube.api.placement import Taint, Toleration


def covers(toleration: Toleration, taint: Taint) -> bool:
    """Whether a toleration covers the taint: an empty key or effect covers all, `Exists` covers every value."""
    return (
        (not toleration.effect or toleration.effect == taint.effect)
        and (not toleration.key or toleration.key == taint.key)
        and (
            toleration.operator == "Exists"
            or (toleration.operator in ("", "Equal") and toleration.value == taint.value)
        )
    )


def tolerates(tolerations: Sequence[Toleration], taint: Taint) -> bool:
    """Whether any toleration covers the taint."""
    return any(covers(toleration, taint) for toleration in tolerations)


def seconds_borne(tolerations: Sequence[Toleration], taints: Sequence[Taint]) -> float | None:
    """For how long a pod bears all these taints of effect NoExecute: 0 not at all, None for ever.

    Of the tolerations that are used the shortest time counts, and a negative one is none (upstream's
    getMinTolerationTime).
    """
    used: list[Toleration] = []
    for taint in taints:
        covering = [toleration for toleration in tolerations if covers(toleration, taint)]
        if not covering:
            return 0.0
        used.append(covering[0])
    times = [max(0, each.tolerationSeconds) for each in used if each.tolerationSeconds is not None]
    return float(min(times)) if times else None
