"""One command at a time works on a cluster directory."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.cluster.steps import Failed


@contextmanager
def exclusive(run: Path) -> Iterator[None]:
    """Hold the directory's lock. Raises Failed when another command holds it."""
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock = (run / "lock").open("w")
    except PermissionError as error:
        raise Failed(f"{run} cannot be written: run this with sudo") from error
    except OSError as error:
        raise Failed(f"{run} cannot be written: {(error.strerror or str(error)).lower()}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed(f"another deploy/up, down or test works on {run}: wait until it is done") from None
        yield
