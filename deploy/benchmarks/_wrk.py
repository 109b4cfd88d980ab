"""Load by wrk, a client in C: what it costs itself is small beside what it measures."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass

from deploy.cluster.steps import Failed

CONNECTIONS = 16

_DONE = """
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\n{"requests": %d, "microseconds": %d, "refused": %d, "broken": %d, "p50": %d, "p99": %d, '
    .. '"longest": %d}\\n', summary.requests, summary.duration, e.status, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50), latency:percentile(99), latency.max))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What became of a load: times in seconds."""

    requests: int
    rate: float
    p50: float
    p99: float
    longest: float


class Running:
    """A load that goes on."""

    def __init__(self, url: str, script: str, seconds: int, connections: int, token: str, may_fail: bool) -> None:
        self._script = tempfile.NamedTemporaryFile("w", suffix=".lua")  # noqa: SIM115  # closed when the load ends
        self._script.write(script + _DONE)
        self._script.flush()
        self._url, self._may_fail = url, may_fail
        headers = ["-H", f"Authorization: Bearer {token}"] if token else []
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", *headers,
                   "-s", self._script.name, url]  # fmt: skip
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def result(self) -> Load:
        """Wait for its end. Raises Failed when a request failed."""
        output, _ = self._process.communicate()
        self._script.close()
        try:
            found = json.loads(output.strip().splitlines()[-1])
        except (ValueError, IndexError):
            raise Failed(f"wrk on {self._url} failed:\n{output}") from None
        if not found["requests"] or ((found["refused"] or found["broken"]) and not self._may_fail):
            raise Failed(f"requests to {self._url} failed:\n{output}")
        rate = found["requests"] / found["microseconds"] * 1e6
        return Load(found["requests"], rate, found["p50"] / 1e6, found["p99"] / 1e6, found["longest"] / 1e6)


def start(
    url: str, *, script: str = "", seconds: int = 5, connections: int = CONNECTIONS, token: str = "",
    may_fail: bool = False,
) -> Running:  # fmt: skip
    """Begin to load a URL. `script`: Lua that makes the requests, if they are no GETs."""
    return Running(url, script, seconds, connections, token, may_fail)


def load(url: str, *, script: str = "", seconds: int = 5, connections: int = CONNECTIONS, token: str = "") -> Load:
    """Load a URL for some seconds."""
    return start(url, script=script, seconds=seconds, connections=connections, token=token).result()


def numbered(method: str, path: str, template: str, first: int) -> str:
    """Lua for requests that differ by a number from `first` on, and that number modulo 100: the template's formats."""
    return f"""
local number = {first}
local template = [==[{template}]==]
wrk.headers["Content-Type"] = "application/json"
function request()
  number = number + 1
  local body = string.format(template, number, number % 100)
  return wrk.format("{method}", "{path}", nil, body)
end
"""
