"""Every lesson does what it says: a script ends with an error when something is not so."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from deploy.cluster.settings import CHECKOUT

LESSONS = sorted(path for path in (CHECKOUT / "deploy/lessons").glob("*.sh") if path.name != "lesson.sh")
LONG = ("cut-off-a-minion", "kill-a-minion", "lose-etcd")
"""What waits until a node is given up, or breaks the cluster for all."""


@pytest.mark.parametrize(
    "lesson",
    [pytest.param(path, id=path.stem, marks=pytest.mark.long if path.stem in LONG else ()) for path in LESSONS],
)
def test_lesson(lab: None, lesson: Path) -> None:
    done = subprocess.run(
        [str(lesson)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("End of the lesson.\n")


def test_every_lesson_is_in_the_list() -> None:
    listed = (CHECKOUT / "deploy/lessons/README.md").read_text()
    assert [path.name for path in LESSONS if f"`{path.name}`" not in listed] == []
