"""The flags that say where to read and write."""

from __future__ import annotations

from pathlib import Path

import pytest

from kube import daemon
from kube.client import flags
from kube.client.flags import ClientOptions
from kube.client.source import ApiSources


def options(*args: str) -> ClientOptions:
    parser = daemon.flags("kube-test", "a test")
    flags.add_flags(parser)
    return flags.from_args(parser.parse_args(args))


def test_without_flags_everything_is_on_this_machine() -> None:
    assert options() == ClientOptions(etcd_servers=("http://127.0.0.1:2379",), source="etcd")


def test_several_etcd_servers() -> None:
    assert options("--etcd-servers=http://a:1, http://b:2").etcd_servers == ("http://a:1", "http://b:2")


async def test_source_api_needs_no_etcd() -> None:
    async with flags.connect(options("--source=api", "--etcd-servers=")) as (client, sources):
        assert isinstance(sources, ApiSources)
        assert client.server == "http://127.0.0.1:8080"


async def test_a_kubeconfig_names_the_server_and_master_overrides_it(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(
        "current-context: x\n"
        "contexts: [{name: x, context: {cluster: c}}]\n"
        "clusters: [{name: c, cluster: {server: 'http://here:1'}}]\n"
    )
    async with flags.connect(options("--source=api", f"--kubeconfig={path}")) as (client, _):
        assert client.server == "http://here:1"
    async with flags.connect(options("--source=api", f"--kubeconfig={path}", "--master=http://there:2")) as (client, _):
        assert client.server == "http://there:2"


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        pytest.param(
            ["--etcd-servers=http://127.0.0.1:1"],
            r"cannot reach etcd at http://127.0.0.1:1: .*: start it, or name another with --etcd-servers",
            id="an etcd that is not there",
        ),
        pytest.param(
            ["--etcd-servers=https://127.0.0.1:1", "--etcd-cafile=/nowhere"],
            "cannot read etcd: .*/nowhere.*: see --etcd-cafile",
            id="an authority that is not there",
        ),
        pytest.param(["--etcd-servers="], "--etcd-servers is empty", id="no etcd"),
        pytest.param(["--etcd-servers=ftp://x"], r"cannot read etcd: .*ftp://x", id="an etcd that is no URL"),
        pytest.param(["--master=localhost"], "cannot use --master=localhost", id="a master that is no URL"),
        pytest.param(["--kubeconfig=/nowhere"], "cannot find the apiserver: kubeconfig /nowhere", id="no kubeconfig"),
    ],
)
async def test_what_a_person_must_put_right_is_fatal_and_says_so(
    args: list[str], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flags, "ETCD_WAIT", 0.1)
    monkeypatch.setattr(flags, "ETCD_TIMEOUT", 0.1)
    with pytest.raises(daemon.Fatal, match=complaint):
        async with flags.connect(options(*args)):
            pass
