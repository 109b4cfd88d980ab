"""The command `deploy/lab`."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from deploy.cluster.lock import exclusive
from deploy.cluster.steps import Failed
from deploy.compose import lab, trace
from deploy.compose.compose import MINIONS


def main() -> None:
    """Parse the command line and do it."""
    parser = argparse.ArgumentParser(prog="deploy/lab", description=lab.__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="up|down|status|logs|trace|shell")
    up = verbs.add_parser("up", help="build what is missing and start the lab")
    up.add_argument("--minions", type=_count, default=MINIONS, metavar="N", help="how many nodes (default %(default)s)")
    up.add_argument("--log-format", choices=("text", "json"), default="text", help="of the daemons (%(default)s)")
    up.add_argument("-v", type=int, default=0, help="how much the daemons log (%(default)s)")
    down = verbs.add_parser("down", help="stop the lab and remove what it made")
    down.add_argument("--purge", action="store_true", help="also remove its images and .run/lab")
    verbs.add_parser("status", help="containers, leaders and nodes")
    logs = verbs.add_parser("logs", help="what a daemon says: apiserver-1, minion-2 (kubelet and proxy), etcd-3, …")
    logs.add_argument("daemon", nargs="*", help="which (default: all)")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as they speak")
    logs.add_argument("--tail", default="100", metavar="N", help="lines of each (%(default)s)")
    workflow = verbs.add_parser(
        "trace", help="create a pod, an rc or a service, and show every hop with its milliseconds"
    )
    workflow.add_argument("workflow", choices=trace.WORKFLOWS)
    workflow.add_argument("--svg", type=Path, metavar="FILE", help="where to draw it (default: .run/lab/trace-….svg)")
    shell = verbs.add_parser("shell", help="a shell in a container, such as minion-1")
    shell.add_argument("node")
    shell.add_argument("command", nargs=argparse.REMAINDER, help="a command instead of a shell")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        match args.verb:
            case "up":
                with exclusive(lab.RUN):
                    lab.up(args.minions, args.v, args.log_format)
            case "down":
                with exclusive(lab.RUN):
                    lab.down(args.purge)
            case "status":
                lab.status()
            case "logs":
                follow = ["--follow"] if args.follow else []
                sys.exit(lab.compose().call("logs", "--no-color", f"--tail={args.tail}", *follow, *args.daemon))
            case "trace":
                trace.trace(args.workflow, args.svg or lab.RUN / f"trace-{args.workflow}.svg")
            case "shell":
                terminal = [] if sys.stdin.isatty() else ["-T"]
                sys.exit(lab.compose().call("exec", *terminal, args.node, *(args.command or ["bash"])))
    except Failed as failure:
        sys.exit(f"deploy/lab: {failure}")
    except KeyboardInterrupt:
        sys.exit("deploy/lab: interrupted; `deploy/lab down` removes what there is")


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 20:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minions from 1 to 20")
    return int(text)


if __name__ == "__main__":
    main()
