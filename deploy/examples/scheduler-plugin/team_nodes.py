"""Two plug-ins for kube-scheduler: a node with a label `team` takes pods of that team only, and cheap nodes go first.

`sign` says what of a pod the answer depends on, so that the scheduler asks once for all pods of a team and not for
every pod anew; without it everything works as well, but slower.
"""

from __future__ import annotations

from kube.scheduler.framework import Filter, Score
from kube.scheduler.nodeinfo import NodeInfo
from kube.scheduler.podinfo import PodInfo


class TeamNodes(Filter):
    name = "TeamNodes"

    def sign(self, pod: PodInfo) -> str:
        return pod.cls.labels.get("team", "")

    def check(self, pod: PodInfo, node: NodeInfo) -> str | None:
        owner = node.known.metadata.labels.get("team")
        return None if owner in (None, self.sign(pod)) else "node(s) belonged to another team"


class CheapFirst(Score):
    name = "CheapFirst"

    def sign(self, pod: PodInfo) -> str:
        return ""

    def score(self, pod: PodInfo, node: NodeInfo) -> int:
        cents = int(node.known.metadata.labels.get("cents-an-hour", "100"))
        return max(0, 100 - cents)
