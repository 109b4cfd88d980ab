"""kube-scheduler's flags, under the names that Kubernetes gives them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace

from kube import daemon
from kube.client import flags, leaderelection
from kube.client.flags import ClientOptions
from kube.client.leaderelection import ElectionOptions
from kube.scheduler.eventhandlers import DEFAULT_SCHEDULER

DEFAULT_LEASE = "kube-scheduler"


@dataclass(frozen=True, slots=True)
class Options:
    """What kube-scheduler was asked to do."""

    client: ClientOptions = field(default_factory=ClientOptions)
    election: ElectionOptions = field(default_factory=lambda: ElectionOptions(resource_name=DEFAULT_LEASE))
    address: str = "127.0.0.1"
    port: int = 10251
    scheduler_name: str = DEFAULT_SCHEDULER
    seed: int | None = None
    config: str = ""
    policy_config_file: str = ""
    plan: bool = False
    filename: str = ""


def parser() -> argparse.ArgumentParser:
    """kube-scheduler's command line."""
    parser = daemon.flags("kube-scheduler", "Give every pod without a node the best node that can take it.")
    flags.add_flags(parser)
    leaderelection.add_flags(parser, DEFAULT_LEASE)
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
    parser.add_argument(
        "--config", default="", metavar="FILE",
        help="a KubeSchedulerConfiguration: profiles with their filters, scores and weights",
    )  # fmt: skip
    parser.add_argument(
        "--policy-config-file", default="", metavar="FILE", help="a Policy: predicates and priorities, as in 1.0"
    )
    group = parser.add_argument_group("a dry run")
    daemon.add_bool(group, "--plan", False, "tell where the pods of -f would go, and why; nothing is written")
    group.add_argument("-f", "--filename", default="", metavar="FILE", help="pods to plan (- for stdin)")
    return parser


def from_args(args: argparse.Namespace) -> Options:
    """The options that the flags stand for."""
    if args.config and (args.policy_config_file or args.scheduler_name != DEFAULT_SCHEDULER):
        raise daemon.Fatal("--config names its profiles itself: leave out --scheduler-name and --policy-config-file")
    if args.plan and not args.filename:
        raise daemon.Fatal("--plan wants the pods to plan: give them with -f FILE")
    if args.filename and not args.plan:
        raise daemon.Fatal("-f is for --plan: without it this would be one more scheduler at work")
    election = leaderelection.from_args(args)
    if args.scheduler_name != DEFAULT_SCHEDULER and election.resource_name == DEFAULT_LEASE:
        # Schedulers of different names work side by side; one must not wait for the other's lease.
        election = replace(election, resource_name=args.scheduler_name)
    return Options(
        client=flags.from_args(args),
        election=election,
        address=args.address,
        port=args.port,
        scheduler_name=args.scheduler_name,
        seed=args.seed,
        config=args.config,
        policy_config_file=args.policy_config_file,
        plan=args.plan,
        filename=args.filename,
    )
