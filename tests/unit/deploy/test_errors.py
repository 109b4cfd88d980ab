"""What a person can do wrong by hand is answered in words, not with a traceback."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deploy.cluster import machine, up
from deploy.cluster.lock import exclusive
from deploy.cluster.settings import SETTINGS_FILE, Settings
from deploy.cluster.steps import Failed
from deploy.compose import lab


@pytest.mark.parametrize(
    ("flag", "complaint"),
    [
        ("--service-cluster-ip-range=some", "Expected 4 octets in 'some': give it as 10.96.0.0/16"),
        ("--service-cluster-ip-range=10.96.0.9/16", "10.96.0.9/16 has host bits set: give it as 10.96.0.0/16"),
        ("--service-cluster-ip-range=10.96.0.0/29", "10.96.0.0/29 has less than 16 addresses"),
        ("--cluster-cidr=10.244.0.0/31", "10.244.0.0/31 has less than 16 addresses"),
        ("--cluster-cidr=10.96.4.0/24", "--service-cluster-ip-range 10.96.0.0/16 overlaps --cluster-cidr"),
    ],
)
def test_a_range_that_cannot_be_is_refused_before_anything_is_done(
    flag: str, complaint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(command: str) -> None:
        raise AssertionError("it goes on")

    monkeypatch.setattr(machine, "require_root", never)
    monkeypatch.setattr(sys, "argv", ["deploy/up", flag])
    with pytest.raises(SystemExit) as exit:
        up.main()
    assert exit.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("text", ['{"node": "a', "[]", ""], ids=["cut off", "not an object", "empty"])
def test_settings_that_cannot_be_read_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / SETTINGS_FILE).write_text(text)
    with pytest.raises(Failed, match=r"cluster.json does not say what there is to stop: .*Remove it"):
        Settings.of(tmp_path)


def test_settings_that_are_kept_are_read_again(tmp_path: Path) -> None:
    settings = Settings(run=tmp_path / "run", node="one", etcd_port=12379)
    settings.save()
    assert Settings.of(tmp_path / "run") == settings
    assert [file.name for file in (tmp_path / "run").iterdir()] == [SETTINGS_FILE]


def test_a_directory_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    for path, why in ((tmp_path / "run", "file exists"), (tmp_path / "run/lab", "not a directory")):
        with pytest.raises(Failed, match=f"{path} cannot be written: {why}"), exclusive(path):
            pass


def test_the_lab_says_that_there_is_no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PATH", "/nonexistent")
    with pytest.raises(Failed, match="there is no Docker here: `deploy/lab up` installs it"):
        lab.status()
    with pytest.raises(Failed, match="there is no Docker Compose"):
        lab.compose().call("logs")
