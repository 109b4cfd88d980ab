"""The pod that the benchmarks create: two containers, 600 bytes."""

from __future__ import annotations

import json
from typing import Any

TEMPLATE_NAME, TEMPLATE_SHARD = "web-%08d", "s%02d"


def template() -> str:
    """A pod as JSON, with formats for its number, and that modulo 100."""
    return json.dumps(pod(TEMPLATE_NAME, TEMPLATE_SHARD))


def pod(name: str, shard: str = "s00") -> dict[str, Any]:
    """A pod as a client would send it."""
    web = {
        "name": "web", "image": "registry.example.com/web:1.27.3",
        "ports": [{"containerPort": 80}],
        "env": [{"name": "MODE", "value": "production"}, {"name": "LEVEL", "value": "info"}],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
    }  # fmt: skip
    sidecar = {
        "name": "log", "image": "registry.example.com/log-shipper:3.2.1",
        "args": ["--follow", "/var/log/web"], "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    }  # fmt: skip
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name, "labels": {"app": "web", "tier": "frontend", "shard": shard}},
        "spec": {"containers": [web, sidecar]},
    }
