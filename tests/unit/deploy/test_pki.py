"""The cluster's certificates: made once, kept, and made anew when they no longer do."""

from __future__ import annotations

import base64
import json
import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from deploy.cluster import pki
from deploy.cluster.settings import Settings
from deploy.cluster.steps import Failed
from kube import certificates
from kube.certificates import Authority


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(run=tmp_path)


def contents(settings: Settings) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in settings.pki.iterdir()}


def test_what_is_made_works_and_is_kept(settings: Settings) -> None:
    pki.ensure(settings)
    assert certificates.problem(pki.pair(settings, "apiserver")) == ""
    assert certificates.server_context(pki.pair(settings, "apiserver"), settings.pki / "ca.crt")
    assert certificates.problem(pki.pair(settings, "kubelet")) == ""
    for name in ("admin", "apiserver-kubelet-client"):
        assert certificates.client_context(settings.pki / "ca.crt", pki.pair(settings, name))
    made = contents(settings)
    names = ("ca", "apiserver", "admin", "kubelet", "apiserver-kubelet-client")
    assert set(made) == {f"{name}.{kind}" for name in names for kind in ("crt", "key")}
    pki.ensure(settings)
    assert contents(settings) == made


def test_keys_are_the_owners_alone(settings: Settings) -> None:
    pki.ensure(settings)
    pki.write_kubeconfig(settings)
    secret = [*settings.pki.glob("*.key"), settings.kubeconfig]
    assert {stat.S_IMODE(path.stat().st_mode) for path in secret} == {0o600}
    assert stat.S_IMODE(settings.pki.stat().st_mode) == 0o700


def test_other_addresses_need_another_certificate_and_the_authority_stays(settings: Settings) -> None:
    pki.ensure(settings)
    before = contents(settings)
    pki.ensure(replace(settings, service_range="10.50.0.0/16"))
    after = contents(settings)
    assert {name for name in after if after[name] != before[name]} == {"apiserver.crt", "apiserver.key"}


def test_what_is_about_to_expire_is_renewed(settings: Settings) -> None:
    pki.ensure(settings)
    authority = Authority.load(pki.pair(settings, "ca"))
    old = timedelta(days=20)
    certificates.make_certificate(authority, pki.pair(settings, "admin"), "kubernetes-admin", lifetime=old)
    before = contents(settings)
    pki.ensure(settings)
    after = contents(settings)
    assert {name for name in after if after[name] != before[name]} == {"admin.crt", "admin.key"}


def test_another_authority_signs_everything_anew(settings: Settings) -> None:
    pki.ensure(settings)
    before = contents(settings)
    (settings.pki / "ca.crt").unlink()
    pki.ensure(settings)
    after = contents(settings)
    assert {name for name in after if after[name] != before[name]} == set(after)


def test_what_is_no_certificate_any_more_is_told_or_replaced(settings: Settings) -> None:
    pki.ensure(settings)
    (settings.pki / "admin.crt").write_text("broken")
    pki.ensure(settings)
    assert certificates.client_context(settings.pki / "ca.crt", pki.pair(settings, "admin"))
    (settings.pki / "ca.key").write_text("broken")
    with pytest.raises(Failed, match="cannot make the cluster's certificates: cannot use the authority"):
        pki.ensure(settings)


def test_the_kubeconfig_names_the_secure_port_and_holds_the_certificate(settings: Settings) -> None:
    pki.ensure(settings)
    settings.kubeconfig.write_text("of before")
    settings.kubeconfig.chmod(0o644)
    pki.write_kubeconfig(settings)
    config = json.loads(settings.kubeconfig.read_text())
    assert config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"
    key = base64.b64decode(config["users"][0]["user"]["client-key-data"])
    assert key == (settings.pki / "admin.key").read_bytes()
    assert stat.S_IMODE(settings.kubeconfig.stat().st_mode) == 0o600
