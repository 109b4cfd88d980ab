"""Which of the engine's images this kubelet has brought there: garbage collection touches no others.

They are kept in a file, so that a restarted kubelet still knows. A file that cannot be read or written costs no more
than images that stay.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from pathlib import Path

log = logging.getLogger(__name__)


class PulledImages:
    """The ids of the images that were pulled. `path` None: they are forgotten at the end."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.ids: set[str] = set()
        if path is not None:
            try:
                self.ids = {str(id) for id in json.loads(path.read_text())}
            except FileNotFoundError:
                pass
            except (OSError, ValueError, TypeError) as error:
                log.warning("cannot read which images were pulled", extra={"file": path, "error": error})

    def add(self, id: str) -> None:
        """An image was pulled that was not there before."""
        if id not in self.ids:
            self.ids.add(id)
            self._write()

    def keep(self, present: Collection[str]) -> None:
        """These are all images that the engine has: forget the others."""
        if not self.ids <= set(present):
            self.ids &= set(present)
            self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        beside = self._path.with_suffix(".new")
        try:
            beside.write_text(json.dumps(sorted(self.ids)))
            beside.rename(self._path)
        except OSError as error:
            log.warning("cannot write which images were pulled", extra={"file": self._path, "error": error})
