"""DefaultTolerationSeconds admission: a pod that says nothing of nodes that fail stays on them for five minutes.

(plugin/pkg/admission/defaulttolerationseconds.) The taints are the node lifecycle controller's.
"""

from __future__ import annotations

from kube.api.core import Pod, Toleration

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
SECONDS = 300


def admit(pod: Pod, *, not_ready: int = SECONDS, unreachable: int = SECONDS) -> None:
    """Add the tolerations that the pod does not have."""
    for key, seconds in ((NOT_READY, not_ready), (UNREACHABLE, unreachable)):
        if not any(each.key in ("", key) and each.effect in ("", "NoExecute") for each in pod.spec.tolerations):
            added = Toleration(key=key, operator="Exists", effect="NoExecute", tolerationSeconds=seconds)
            pod.spec.tolerations = [*pod.spec.tolerations, added]
