"""kube-scheduler's flags, under the names that Kubernetes gives them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field

from kube import daemon
from kube.client import flags, leaderelection
from kube.client.flags import ClientOptions
from kube.client.leaderelection import ElectionOptions
from kube.scheduler.eventhandlers import DEFAULT_SCHEDULER


@dataclass(frozen=True, slots=True)
class Options:
    """What kube-scheduler was asked to do."""

    client: ClientOptions = field(default_factory=ClientOptions)
    election: ElectionOptions = field(default_factory=lambda: ElectionOptions(resource_name="kube-scheduler"))
    address: str = "127.0.0.1"
    port: int = 10251
    scheduler_name: str = DEFAULT_SCHEDULER
    seed: int | None = None


def parser() -> argparse.ArgumentParser:
    """kube-scheduler's command line."""
    parser = daemon.flags("kube-scheduler", "Give every pod without a node the best node that can take it.")
    flags.add_flags(parser)
    leaderelection.add_flags(parser, "kube-scheduler")
    parser.add_argument("--address", default="127.0.0.1", metavar="IP", help="where to serve health and metrics")
    parser.add_argument("--port", type=int, default=10251, metavar="PORT", help="port of /healthz and /metrics")
    parser.add_argument(
        "--scheduler-name", default=DEFAULT_SCHEDULER, metavar="NAME",
        help="schedule the pods whose spec.schedulerName is this",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=None, metavar="NUMBER",
        help="break ties between equal nodes in a repeatable way; at random unless given",
    )  # fmt: skip
    return parser


def from_args(args: argparse.Namespace) -> Options:
    """The options that the flags stand for."""
    return Options(
        client=flags.from_args(args),
        election=leaderelection.from_args(args),
        address=args.address,
        port=args.port,
        scheduler_name=args.scheduler_name,
        seed=args.seed,
    )
