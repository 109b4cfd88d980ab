"""deploy/test that is ended by a signal: the tests stop what they have started, and so does it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TESTS = """
import time
from pathlib import Path
import pytest

@pytest.fixture
def server():
    yield
    Path("stopped").touch()

def test_that_lasts(server):
    Path("started").touch()
    time.sleep(100)
"""
COMMAND = """
import os, signal, sys
from pathlib import Path
from deploy.cluster import test
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, test.end)
try:
    test.run([sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "test_it.py"], os.environ)
finally:
    Path("ended").touch()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_what_was_started_is_stopped(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    environment = {"PYTHONPATH": str(Path(__file__).parents[3]), "PATH": "/usr/bin:/bin"}
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    while not (tmp_path / "started").exists():
        time.sleep(0.05)
        assert command.poll() is None, command.communicate()[0]
    command.send_signal(number)
    said, _ = command.communicate(timeout=60)
    assert command.returncode == 128 + number, said
    assert (tmp_path / "stopped").exists(), said
    assert (tmp_path / "ended").exists()
