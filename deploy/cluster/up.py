"""deploy/up: install what is missing, start the cluster, and show that it works."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from ipaddress import IPv4Network
from pathlib import Path

from deploy.cluster import engine, example, machine, pki
from deploy.cluster.cluster import Cluster
from deploy.cluster.lock import exclusive
from deploy.cluster.settings import Settings
from deploy.cluster.steps import Failed, Step, Steps

LEAST_ADDRESSES = 16
"""Of a range: the name server has the tenth of the services'."""


def up(settings: Settings, steps: Steps) -> None:
    """Bring the cluster up; what works already is left as it is."""
    machine.require_disk(settings.run, Path("/var/lib/docker"))
    with steps.step("packages") as step:
        if packages := machine.missing_packages():
            machine.install(step, packages, settings.logs / "apt.log")
            step.done("installed")
        else:
            step.done("all here")
    cluster = Cluster(settings, steps)
    with cluster.undone_on_failure():
        cluster.start_supervisor()
        cluster.start_etcd()
        cluster.start_dockerd()
        have_images(steps)
        cluster.start_daemons()
        pki.write_kubeconfig(settings)
        with steps.step("example") as step:
            example.submit(step, settings.server)
        with steps.step("pods") as step:
            example.wait_ready(step, settings.server)
        with steps.step("requests") as step:
            show_requests(step, settings.server)


def have_images(steps: Steps) -> None:
    """Build the example images if the engine lacks them."""
    with steps.step("images") as step:
        if missing := engine.missing_images():
            step.say(f"building {', '.join(missing)}")
            engine.build_images()
            step.done(f"built {', '.join(engine.IMAGES)}")
        else:
            step.done(f"{', '.join(engine.IMAGES)} are there")


def show_requests(step: Step, server: str) -> None:
    """Send requests to the service and print which pod answered each."""
    address = example.service_address(server)
    example.wait_backends(step, server, address)
    step.say(f"{example.REQUESTS} to http://{address}/ (service web), answered by")
    for number in range(1, example.REQUESTS + 1):
        try:
            answered = example.ask(address)
        except OSError as error:
            raise Failed(f"request {number} to the service's address {address} failed: {error}") from error
        step.add(f"{number:>2}  {answered}")


def go_on(settings: Settings) -> str:
    """The lines to go on with."""
    api = f"{settings.server}/api/v1/namespaces/default"
    json_patch = "-X PATCH -H 'Content-Type: application/merge-patch+json'"
    return f"""
Go on with curl:
  curl {api}/pods
  curl {json_patch} -d '{{"spec":{{"replicas":5}}}}' {api}/replicationcontrollers/web
  curl http://{example.service_address(settings.server)}/
or kubectl:
  export KUBECONFIG={settings.kubeconfig}
  kubectl get nodes,rc,pods,services,endpoints
  kubectl scale rc web --replicas=5
  kubectl logs rc/web

The daemons' logs are in {settings.logs}/, and this tells and changes what runs:
  {Path(sys.executable).parent}/supervisorctl -c {settings.run}/supervisord.conf status
Stop it all: deploy/down"""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="deploy/up", description=__doc__)
    defaults = Settings()
    parser.add_argument(
        "--service-cluster-ip-range", type=_range, default=defaults.service_range, help="of services (%(default)s)"
    )
    parser.add_argument("--cluster-cidr", type=_range, default=defaults.pod_range, help="of pods (%(default)s)")
    parser.add_argument("--hostname-override", default=defaults.node, help="the node's name (%(default)s)")
    parser.add_argument("-v", type=int, default=defaults.verbosity, help="how much the daemons log (%(default)s)")
    args = parser.parse_args()
    if IPv4Network(args.service_cluster_ip_range).overlaps(IPv4Network(args.cluster_cidr)):
        parser.error(f"--service-cluster-ip-range {args.service_cluster_ip_range} overlaps --cluster-cidr")
    settings = Settings(
        node=args.hostname_override,
        service_range=args.service_cluster_ip_range,
        pod_range=args.cluster_cidr,
        verbosity=args.v,
    )
    began, steps = time.monotonic(), Steps()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # undone, too
    try:
        machine.require_root("deploy/up")
        with exclusive(settings.run):
            up(settings, steps)
            with steps.step("up") as step:
                step.say(f"after {time.monotonic() - began:.1f} s")
            print(go_on(settings))
    except Failed as failure:
        sys.exit(f"deploy/up: {failure}")
    except KeyboardInterrupt:
        sys.exit("deploy/up: interrupted; what it had started is stopped again")


def _range(text: str) -> str:
    try:
        network = IPv4Network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}: give it as 10.96.0.0/16") from None
    if network.num_addresses < LEAST_ADDRESSES:
        raise argparse.ArgumentTypeError(f"{text} has less than {LEAST_ADDRESSES} addresses")
    return str(network)


if __name__ == "__main__":
    main()
