"""The admission that Kubernetes has built in: its plug-ins by name, and which of them a flag can turn off.

(pkg/kubeapiserver/options/plugins.go) Those of pods are here, in upstream's order. NamespaceLifecycle and ResourceQuota
are conditions of the transaction that stores an object (verbs.py, quota.py), and always on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from kube.api.core import Pod
from kube.apiserver.cache import Cache
from kube.apiserver.registry import default_tolerations
from kube.apiserver.registry.limit_ranges import LimitRanger
from kube.apiserver.registry.priorities import Priorities
from kube.apiserver.registry.service_accounts import ServiceAccounts

ALWAYS = ("NamespaceLifecycle", "ResourceQuota")
OPTIONAL = ("LimitRanger", "ServiceAccount", "Priority", "DefaultTolerationSeconds")


class PodAdmission:
    """What completes or refuses new pods."""

    def __init__(self, cache: Cache, disabled: Collection[str] = ()) -> None:
        """`disabled`: names of plug-ins, of OPTIONAL."""
        self._accounts = ServiceAccounts(cache)
        self._waits = "ServiceAccount" not in disabled
        admit: dict[str, Callable[[Pod], None]] = {
            "LimitRanger": LimitRanger(cache).admit,
            "ServiceAccount": self._accounts.admit,
            "Priority": Priorities(cache).admit,
            "DefaultTolerationSeconds": default_tolerations.admit,
        }
        self._plugins = [admit[name] for name in OPTIONAL if name not in disabled]

    def admit(self, pod: Pod) -> None:
        """Have every plug-in see the pod. Raises Forbidden."""
        for plugin in self._plugins:
            plugin(pod)

    def patience(self, pod: Pod) -> float:
        """Seconds for which a refusal does not stand yet."""
        return self._accounts.patience(pod) if self._waits else 0.0
