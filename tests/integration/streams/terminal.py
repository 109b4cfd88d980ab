"""A command on a terminal, and a person who types what fits what she reads."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time


class Terminal:
    """A command that runs on a terminal of its own."""

    def __init__(self, command: list[str], *, columns: int, rows: int) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            # The size must be there before the command looks.
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execvp(command[0], command)
        self.said = b""

    def until(self, words: bytes, seconds: float = 20) -> None:
        """Read until these words have come since the last that were awaited."""
        deadline = time.monotonic() + seconds
        while words not in self.said:
            left = deadline - time.monotonic()
            assert left > 0, f"{words!r} did not come: {self.said!r}"
            assert self._read(left), f"it ended before {words!r}: {self.said!r}"
        self.said = self.said.partition(words)[2]

    def type(self, text: bytes) -> None:
        os.write(self._fd, text)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.kill(self.pid, signal.SIGWINCH)

    def exit_code(self, seconds: float = 20) -> int:
        """Wait for its end."""
        deadline = time.monotonic() + seconds
        while self._read(deadline - time.monotonic()):
            assert time.monotonic() < deadline, f"it does not end: {self.said!r}"
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._fd)

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._fd], [], [], max(0, seconds))
        if not ready:
            return True
        try:
            data = os.read(self._fd, 4096)
        except OSError:  # how Linux tells that nobody is left on the terminal
            return False
        self.said += data
        return bool(data)
