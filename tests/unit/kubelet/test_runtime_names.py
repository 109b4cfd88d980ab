"""The names that both runtimes give, so that a restarted kubelet recognises what it made."""

from __future__ import annotations

import pytest

from kube.kubelet.runtime import (
    ContainerConfig,
    PodId,
    SandboxConfig,
    container_name,
    full_image_name,
    sandbox_name,
)


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("kube/web", "kube/web:latest"),
        ("kube/web:1", "kube/web:1"),
        ("localhost:5000/web", "localhost:5000/web:latest"),
        ("localhost:5000/web:1", "localhost:5000/web:1"),
        ("web@sha256:ab", "web@sha256:ab"),
        ("sha256:ab", "sha256:ab"),
    ],
    ids=["no tag", "tag", "port and no tag", "port and tag", "digest", "id"],
)
def test_the_full_name_of_an_image(name: str, full: str) -> None:
    assert full_image_name(name) == full


def test_names_in_the_engine_are_those_that_kubernetes_gives() -> None:
    pod = PodId("ns", "web-1", "u-1")
    assert sandbox_name(SandboxConfig(pod, attempt=1)) == "k8s_POD_web-1_ns_u-1_1"
    assert container_name(ContainerConfig(pod, "main", "kube/web", attempt=3)) == "k8s_main_web-1_ns_u-1_3"
