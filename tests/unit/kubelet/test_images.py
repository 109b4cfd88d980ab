"""Names of images, and the policy that goes without saying. The pulling itself is in test_kubelet.py."""

from __future__ import annotations

import pytest

from kube.kubelet.images import default_policy, valid

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    "name",
    ["web", "kube/web", "kube/web:1.2", "localhost:5000/a/b:c", f"a@{DIGEST}", f"r.example.com/a/b:c@{DIGEST}",
     "a__b", "a--b", "a.b-c_d", "REG.example/a", DIGEST],
)  # fmt: skip
def test_names(name: str) -> None:
    assert valid(name)


@pytest.mark.parametrize("name", ["", "A", "a:", "a b", "a//b", "/a", "a:b:c", "a@sha256:0", "-a", "a..b", "a:-x"])
def test_no_names(name: str) -> None:
    assert not valid(name)


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("web", "Always"),
        ("web:latest", "Always"),
        ("web:1", "IfNotPresent"),
        ("localhost:5000/web", "Always"),
        ("localhost:5000/web:1", "IfNotPresent"),
        (f"web@{DIGEST}", "IfNotPresent"),
    ],
)
def test_the_policy_that_goes_without_saying(name: str, policy: str) -> None:
    assert default_policy(name) == policy
