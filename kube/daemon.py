"""The one process shell: flags, logging, signals, and the health endpoint of every daemon.

A daemon is a coroutine `run(options)` that works until it is cancelled. SIGTERM and SIGINT cancel it once; a second
signal kills the process, since nothing here needs a clean end: all state is in etcd, and a restarted daemon compares
and goes on. For the same reason a task that fails takes the process down with its traceback, and whatever supervises
the process starts it again. What a person has to put right (a port in use, an etcd that cannot be reached) is a
`Fatal`: one line that says what, where and what to do.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import os
import re
import signal
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

if TYPE_CHECKING:
    # Where it is used it is imported: that takes a tenth of a second, and the apiserver does without it.
    from aiohttp import web
    from aiohttp.typedefs import Middleware

log = logging.getLogger(__name__)

Options = TypeVar("Options")
Check = Callable[[], Awaitable[None] | None]
"""Asks whether something works. It raises if not, and the exception's text is the reason."""

CHECK_TIMEOUT = 5.0
"""Seconds after which a health check counts as failed."""


class Fatal(Exception):
    """The daemon cannot go on, for a reason that a person can put right: `what, where: what to do`."""


def main(
    parser: argparse.ArgumentParser,
    from_args: Callable[[argparse.Namespace], Options],
    run: Callable[[Options], Coroutine[Any, Any, None]],
    argv: Sequence[str] | None = None,
) -> NoReturn:
    """Be a daemon: parse the flags, run until a signal comes, and exit.

    Exit codes: 0 when it was asked to stop, 1 for a `Fatal` (one line) or a failure (traceback), 2 for a bad flag.
    """
    args = parser.parse_args(argv)
    set_up_logging(args.v, args.log_format)
    code = 1
    try:
        options = from_args(args)
        asyncio.Runner(loop_factory=_loop_factory()).run(_until_signalled(parser.prog, run(options)))
        code = 0
    except Exception as error:  # the end of the process: nobody is left to handle it
        fatal = _find_fatal(error)
        if fatal is None:
            log.critical("failed", exc_info=error)
        else:
            print(f"{parser.prog}: {fatal}", file=sys.stderr)  # noqa: T201  # meant for a person, not for the log
    # Not sys.exit: that waits for threads, and one may be in a call that takes long (Docker stopping a container).
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


async def _until_signalled(prog: str, work: Coroutine[Any, Any, None]) -> None:
    """Run to the end, or until the first SIGTERM or SIGINT; the next one finds the default handler and kills."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    stopped_by: list[signal.Signals] = []

    def stop(received: signal.Signals) -> None:
        stopped_by.append(received)
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)
        log.info("stopping", extra={"signal": received.name})
        task.cancel()

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop, each)
    log.info("started", extra={"daemon": prog, "version": version()})
    try:
        await task
    except asyncio.CancelledError:
        if not stopped_by:
            raise RuntimeError("the main task was cancelled, and no signal asked for it") from None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed: a third of the CPU time of many small reads and writes."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _find_fatal(error: BaseException) -> Fatal | None:
    """The Fatal that is the error, or is in it (a task group wraps what its tasks raise)."""
    if isinstance(error, Fatal):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next((found for each in error.exceptions if (found := _find_fatal(each))), None)
    return None


def collect_seldom() -> None:
    """Look for cycles of garbage less often than by default; for daemons that hold many objects.

    What a cache holds has no cycles, and to look through all of it after every few objects more takes longer than to
    read them: with 10,000 pods 100 of 125 µs a pod.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


# Flags


def version() -> str:
    """The version of the package, as `v0.1.0`."""
    return f"v{metadata.version('kube')}"


def flags(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser with the flags that all daemons share: `-v`, `--log-format`, `--version`, `--help`."""
    parser = argparse.ArgumentParser(
        prog=prog, description=description, allow_abbrev=False, formatter_class=_HelpWithDefaults
    )
    parser.add_argument("--version", action="version", version=f"{prog} {version()}")
    parser.add_argument(
        "-v", "--v", type=int, default=0, metavar="LEVEL",
        help="how much to log: 0 what changed, 2 also each decision, 4 also what libraries do, 6 all they say",
    )  # fmt: skip
    parser.add_argument("--log-format", choices=("text", "json"), default="text", help="form of the log lines")
    return parser


def add_bool(parser: argparse._ActionsContainer, name: str, default: bool, help: str) -> None:
    """A flag as Go has it: `--name`, `--name=true`, `--name=false`."""
    parser.add_argument(name, nargs="?", const=True, default=default, type=_bool, metavar="true|false", help=help)


def duration(text: str) -> float:
    """Type of a flag that is a time in Go's notation (`1m30s`, `500ms`, `0`): seconds."""
    if text == "0":
        return 0.0
    parts = re.findall(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 40s, 1m30s or 500ms")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def comma_separated(text: str) -> list[str]:
    """Type of a flag that is a list: `a,b`."""
    return [part.strip() for part in text.split(",") if part.strip()]


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def _bool(text: str) -> bool:
    if text.lower() in ("true", "t", "1"):
        return True
    if text.lower() in ("false", "f", "0"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


class _HelpWithDefaults(argparse.HelpFormatter):
    """Adds a flag's default to its help, unless there is none to speak of."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, "", argparse.SUPPRESS) or "(default" in (action.help or ""):
            return action.help
        shown = action.default
        if isinstance(shown, bool):
            shown = str(shown).lower()
        elif isinstance(shown, list | tuple):
            shown = ",".join(map(str, shown))
        return f"{action.help} (default: {shown})".replace("%", "%%")


# Logging


def set_up_logging(verbosity: int = 0, form: str = "text") -> None:
    """Log to stderr, one line an event. `extra={...}` becomes `key=value` (text) or members (JSON)."""
    handler = logging.StreamHandler()
    handler.setFormatter(JSONFormatter() if form == "json" else TextFormatter())
    library_level = logging.DEBUG if verbosity >= 6 else logging.INFO if verbosity >= 4 else logging.WARNING
    logging.basicConfig(level=library_level, handlers=[handler], force=True)
    logging.getLogger("kube").setLevel(logging.DEBUG if verbosity >= 2 else logging.INFO)
    logging.captureWarnings(True)


_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _moment(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.created * 1000) % 1000:03d}Z"


class TextFormatter(logging.Formatter):
    """`2026-11-22T21:10:20.123Z INFO scheduler: message key=value`; a traceback follows in lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        words = [record.getMessage().replace("\n", "\\n")]
        words += [f"{name}={_quoted(value)}" for name, value in _extra(record).items()]
        name = record.name.removeprefix("kube.").removesuffix(".__main__")
        line = f"{_moment(record)} {record.levelname} {name}: {' '.join(words)}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JSONFormatter(logging.Formatter):
    """One JSON object an event: `ts`, `level`, `logger`, `msg`, the event's own members, `error` for a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        event = {
            "ts": _moment(record),
            "level": record.levelname.lower(),
            "logger": record.name.removeprefix("kube."),
            "msg": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            event["error"] = self.formatException(record.exc_info)
        return json.dumps(event, default=str, ensure_ascii=False)


def _quoted(value: object) -> str:
    text = str(value)
    plain = text and text.isprintable() and not any(c in ' "=' for c in text)
    return text if plain else json.dumps(text, ensure_ascii=False)


# Health


def listen(address: str, port: int, *, flag: str = "--port", shared: bool = False) -> socket.socket:
    """A socket that listens; `shared`: beside others on the port that are shared, too.

    Raises Fatal, which names the flag that chooses another port.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((address, port))
        sock.listen(1024)
    except (OSError, OverflowError) as error:
        sock.close()
        where = f"[{address}]:{port}" if family == socket.AF_INET6 else f"{address}:{port}"
        reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else str(error)
        raise Fatal(
            f"cannot listen on {where}: {reason}: stop what uses it (ss -ltnp 'sport = :{port}' shows what), "
            f"or choose another with {flag}"
        ) from None
    sock.setblocking(False)
    return sock


def own_address() -> str:
    """The address by which others reach this machine: that of the default route's interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # of a datagram socket: chooses a route, sends nothing
        return str(probe.getsockname()[0])
    return "127.0.0.1"


@contextlib.asynccontextmanager
async def serve_health(
    address: str,
    port: int,
    checks: Mapping[str, Check] | None = None,
    routes: Iterable[web.AbstractRouteDef] = (),
    *,
    flag: str = "--port",
    tls: ssl.SSLContext | None = None,
    guard: Middleware | None = None,
) -> AsyncIterator[int]:
    """Serve /livez (the process answers), /healthz and /readyz (so do all checks), /metrics and `routes`.

    `?verbose` lists the checks, `/readyz/<check>` asks one. `guard`: sees each request first. Gives the port (that was
    chosen, if `port` is 0).
    """
    from aiohttp import web

    app = web.Application(middlewares=[guard] if guard else [])
    app.add_routes(health_routes(checks or {}))
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    try:
        sock = listen(address, port, flag=flag)
        await web.SockSite(runner, sock, ssl_context=tls).start()
        bound: int = sock.getsockname()[1]
        log.debug("serving health and metrics", extra={"address": address, "port": bound})
        yield bound
    finally:
        await runner.cleanup()


def health_routes(checks: Mapping[str, Check]) -> list[web.RouteDef]:
    """The routes of `serve_health`, for a daemon that has an aiohttp server of its own."""

    from aiohttp import web

    def endpoint(name: str, asked: Mapping[str, Check]) -> list[web.RouteDef]:
        async def answer(request: web.Request) -> web.Response:
            failures = await run_checks(asked)
            return _health(name, failures, verbose="verbose" in request.query)

        async def answer_one(request: web.Request) -> web.Response:
            check = request.match_info["check"]
            if check not in asked:
                raise web.HTTPNotFound(text=f"no check {check!r}: there are {', '.join(asked)}\n")
            return _health(f"{name}/{check}", await run_checks({check: asked[check]}), verbose=False)

        return [web.get(f"/{name}", answer), web.get(f"/{name}/{{check}}", answer_one)]

    everything = {"ping": _ping, **checks}
    return [
        *endpoint("livez", {"ping": _ping}),
        *endpoint("healthz", everything),
        *endpoint("readyz", everything),
        web.get("/metrics", _metrics),
    ]


async def run_checks(checks: Mapping[str, Check]) -> dict[str, str | None]:
    """Ask all checks at once: by name, why it failed, or None."""
    reasons = await asyncio.gather(*map(_run_check, checks.values()))
    return dict(zip(checks, reasons, strict=True))


async def _run_check(check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            pending = check()
            if pending is not None:
                await pending
    except TimeoutError:
        return f"no answer within {CHECK_TIMEOUT:g} s"
    except Exception as error:  # noqa: BLE001  # whatever goes wrong is the answer that was asked for
        return str(error) or type(error).__name__
    return None


def health_text(name: str, failures: Mapping[str, str | None], *, verbose: bool) -> tuple[int, str]:
    """Status and text of a health page: as a kube-apiserver words it, but with the reason, which it withholds."""
    failed = any(failures.values())
    if not failed and not verbose:
        return 200, "ok"
    lines = [f"[-]{check} failed: {why}" if why else f"[+]{check} ok" for check, why in failures.items()]
    lines.append(f"{name} check {'failed' if failed else 'passed'}\n")
    return (500 if failed else 200), "\n".join(lines)


def _health(name: str, failures: Mapping[str, str | None], *, verbose: bool) -> web.Response:
    from aiohttp import web

    status, text = health_text(name, failures, verbose=verbose)
    return web.Response(text=text, status=status)


def _ping() -> None:
    """The process answers."""


async def _metrics(request: web.Request) -> web.Response:
    from aiohttp import web

    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
