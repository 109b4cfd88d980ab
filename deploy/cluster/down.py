"""deploy/down: stop what deploy/up started and remove its containers, network, iptables rules and mounts."""

from __future__ import annotations

import argparse
import sys

from deploy.cluster import machine
from deploy.cluster.cluster import ETCD, Cluster
from deploy.cluster.lock import exclusive
from deploy.cluster.settings import Settings
from deploy.cluster.steps import Failed, Steps


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="deploy/down", description=__doc__)
    parser.add_argument(
        "--purge", action="store_true", help="also remove the data: all of .run/, and the example images"
    )
    args = parser.parse_args()
    try:
        machine.require_root("deploy/down")
        settings = Settings.of()
        with exclusive(settings.run):
            cluster = Cluster(settings, Steps())
            cluster.stop(purge=args.purge)
            foreign_etcd = machine.taken(settings.etcd_port)
    except Failed as failure:
        sys.exit(f"deploy/down: {failure}")
    if foreign_etcd:
        with Steps().step(ETCD) as step:
            step.say("not started by us: left as it is, with what is in it under /registry")


if __name__ == "__main__":
    main()
