"""Files that are replaced all at once."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from kube.kubelet.atomic_writer import File, write


def files(**contents: str) -> dict[str, File]:
    return {path.replace("__", "/"): File(text.encode(), 0o644) for path, text in contents.items()}


def shown(directory: Path) -> dict[str, str]:
    """What a user sees who does not look at hidden names."""
    found = {}
    for top in directory.iterdir():
        if not top.name.startswith(".."):
            for path in [top, *top.rglob("*")]:
                if path.is_file():
                    found[str(path.relative_to(directory))] = path.read_text()
    return found


def test_a_file_is_a_link_into_the_present_version(tmp_path: Path) -> None:
    assert write(tmp_path, files(a="1", d__b="2"))
    assert shown(tmp_path) == {"a": "1", "d/b": "2"}
    assert os.readlink(tmp_path / "a") == "..data/a"
    assert os.readlink(tmp_path / "d") == "..data/d"
    assert os.readlink(tmp_path / "..data").startswith("..2")


def test_a_new_version_replaces_adds_and_removes_and_the_old_one_goes(tmp_path: Path) -> None:
    write(tmp_path, files(a="1", b="2", d__x="3"))
    with (tmp_path / "a").open() as reader:
        assert write(tmp_path, files(a="new", c="3", e__y="4"))
        assert reader.read() == "1"  # who has opened the old one reads it to the end
    assert shown(tmp_path) == {"a": "new", "c": "3", "e/y": "4"}
    assert len([entry for entry in tmp_path.iterdir() if entry.name.startswith("..")]) == 2


def test_what_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    write(tmp_path, files(a="1"))
    version = os.readlink(tmp_path / "..data")
    assert not write(tmp_path, files(a="1"))
    assert os.readlink(tmp_path / "..data") == version
    assert write(tmp_path, {"a": File(b"1", 0o600)})


def test_no_files_are_a_version_too(tmp_path: Path) -> None:
    write(tmp_path, files(a="1"))
    assert write(tmp_path, {})
    assert shown(tmp_path) == {}
    assert not write(tmp_path, {})


@pytest.mark.parametrize("left", ["a version", "the new link", "no names"])
def test_what_a_kubelet_left_that_died_is_put_right(tmp_path: Path, left: str) -> None:
    write(tmp_path, files(a="1"))
    match left:
        case "a version":
            (tmp_path / "..2020_01_01_00_00_00.half").mkdir()
        case "the new link":
            (tmp_path / "..data_tmp").symlink_to("..nowhere")
        case "no names":
            (tmp_path / "a").unlink()
            write(tmp_path, files(a="1"))
            assert shown(tmp_path) == {"a": "1"}
    write(tmp_path, files(a="2"))
    assert shown(tmp_path) == {"a": "2"}
    assert sorted(entry.name[:6] for entry in tmp_path.iterdir()) == sorted(
        ["a", "..data", os.readlink(tmp_path / "..data")[:6]]
    )


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", "..data", "", "..x/y"])
def test_nothing_is_written_elsewhere(tmp_path: Path, path: str) -> None:
    with pytest.raises(ValueError, match="invalid path"):
        write(tmp_path, {path: File(b"", 0o644)})


@pytest.mark.parametrize("mode", [0o400, 0o644, 0o755])
def test_files_have_their_mode(tmp_path: Path, mode: int) -> None:
    write(tmp_path, {"d/a": File(b"", mode)})
    assert stat.S_IMODE((tmp_path / "d/a").stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_group_may_read_and_an_owner_own(tmp_path: Path) -> None:
    write(tmp_path, {"d/a": File(b"", 0o400), "b": File(b"", 0o600, owner=1234)}, group=4711)
    a, b, d = (tmp_path / "d/a").stat(), (tmp_path / "b").stat(), (tmp_path / "d").stat()
    assert (a.st_gid, stat.S_IMODE(a.st_mode)) == (4711, 0o440)
    assert (b.st_uid, b.st_gid, stat.S_IMODE(b.st_mode)) == (1234, 4711, 0o640)
    assert (d.st_gid, stat.S_IMODE(d.st_mode)) == (4711, 0o2755)
