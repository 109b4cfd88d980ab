"""deploy/lab: a highly available cluster of containers on one machine, to break and watch heal."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from deploy.cluster import engine, machine, pki
from deploy.cluster.cluster import Cluster
from deploy.cluster.example import request
from deploy.cluster.settings import CHECKOUT, Settings
from deploy.cluster.steps import Failed, Steps
from deploy.compose import images
from deploy.compose.compose import PROJECT, Compose, docker, have_compose, installed
from kube import certificates

RUN = CHECKOUT / ".run/lab"
PORT, SECURE_PORT = 18080, 16443
"""Where the host finds the apiservers, on loopback."""
READY_SECONDS = 180.0
OURS = f"label=com.docker.compose.project={PROJECT}"
"""The filter for what Compose made for the lab."""
SETTINGS = Settings(
    run=RUN,
    apiserver_port=PORT,
    secure_port=SECURE_PORT,
    shared_etcd=False,
    node="kube-lab",
    pod_network="kube-lab",
)
"""As for a cluster on one machine, of which the lab uses the supervisor of an engine that we have to start ourselves,
the directory, the keys and the kubeconfig. No container or network of the host's engine has these names."""


def compose(verbosity: int = 0, log_format: str = "text") -> Compose:
    """The lab's Compose project."""
    return Compose(
        RUN,
        {
            "KUBE_LAB_PORT": str(PORT),
            "KUBE_LAB_SECURE_PORT": str(SECURE_PORT),
            "KUBE_LAB_PKI": str(SETTINGS.pki),
            "KUBE_LAB_IMAGES": str(RUN / "images"),
            "KUBE_LAB_VERBOSITY": str(verbosity),
            "KUBE_LAB_LOG_FORMAT": log_format,
        },
    )


def up(minions: int, verbosity: int, log_format: str) -> None:
    """Build what is missing, start everything, and wait until each minion's node is Ready."""
    steps, began = Steps(), time.monotonic()
    machine.require_root("deploy/lab up")
    machine.require_disk(RUN, images.CONTEXT)
    log = RUN / "log"
    log.mkdir(parents=True, exist_ok=True)
    with steps.step("packages") as step:
        if missing := [package for package in machine.missing_packages() if package != "etcd-server"]:
            machine.install(step, missing, log / "apt.log")
        have_compose(step, log / "apt.log")
        step.done("all here")
    cluster = Cluster(SETTINGS, steps)
    with cluster.undone_on_failure():
        cluster.start_supervisor()
        cluster.start_dockerd()
    with steps.step("image") as step:
        images.have_base(step, log / "image.log")
        images.build(step, log / "image.log")
    with steps.step("images of pods") as step:
        images.save_for_minions(step, RUN / "images")
    with steps.step("keys") as step:
        pki.ensure(SETTINGS)
        if not (key := SETTINGS.pki / "sa.key").exists():
            certificates.make_key(key)
        step.done(f"in {SETTINGS.pki}")
    project = compose(verbosity, log_format)
    services = project.with_minions(minions)
    with steps.step("containers") as step:
        project.run(step, log / "compose.log", "up", "--detach", "--remove-orphans", *services)
        for name, container in containers().items():
            if name not in services:
                docker("rm", "--force", container)
        step.done(f"{len(services)} run")
    pki.write_kubeconfig(SETTINGS)
    with steps.step("nodes") as step:
        wait_until(lambda: len(ready_nodes()) >= minions, f"fewer than {minions} nodes are Ready")
        step.done(f"{', '.join(ready_nodes())} Ready")
    with steps.step("lab") as step:
        step.say(f"up after {time.monotonic() - began:.1f} s")
    print(f"""
Go on:
  export KUBECONFIG={SETTINGS.kubeconfig}
  kubectl get nodes
  deploy/lab status | logs <daemon> | shell <node> | down""")


def down(purge: bool) -> None:
    """Stop and remove every container, network and volume of the lab's."""
    steps = Steps()
    machine.require_root("deploy/lab down")
    if engine.version():
        with steps.step("containers") as step:
            log = RUN / "log"
            log.mkdir(parents=True, exist_ok=True)
            if installed():  # else there has never been a lab
                compose().run(step, log / "compose.log", "down", "--volumes", "--remove-orphans")
            if volumes := docker("volume", "ls", "--quiet", f"--filter={OURS}").split():  # of minions that left before
                docker("volume", "rm", *volumes)
            step.done("gone, with their network and volumes")
        if purge:
            images.remove()
    Cluster(SETTINGS, steps).stop(purge=purge)
    (RUN / "minions.yml").unlink(missing_ok=True)


def status() -> None:
    """Containers with health and memory, who leads, and the nodes."""
    ids = containers()
    if not ids:
        raise Failed("the lab does not run: deploy/lab up")
    described = json.loads(docker("inspect", *ids.values()))
    memory = dict(
        line.split("\t")
        for line in docker("stats", "--no-stream", "--format", "{{.ID}}\t{{.MemUsage}}", *ids.values()).splitlines()
    )
    leaders = {name: _leader(name) for name in ("kube-scheduler", "kube-controller-manager")}
    print(f"{'CONTAINER':<24}{'STATE':<12}{'HEALTH':<12}{'MEMORY':<12}")
    for (name, _), state in zip(ids.items(), described, strict=True):
        health = state["State"].get("Health", {}).get("Status", "-")
        used = memory.get(state["Id"][:12], "-").partition(" ")[0]
        leads = next((f"leads as {leader}" for leader in leaders.values() if leader.partition("_")[0] == name), "")
        print(f"{name:<24}{state['State']['Status']:<12}{health:<12}{used:<12}{leads}".rstrip())
    print()
    for name in ready_nodes():
        print(f"{name:<24}Ready")


def containers() -> dict[str, str]:
    """The lab's containers: service → id."""
    form = '{{.Label "com.docker.compose.service"}}\t{{.ID}}'
    found = docker("ps", "--all", "--no-trunc", f"--filter={OURS}", "--format", form).splitlines()
    return dict(sorted(line.split("\t") for line in found))


def address(service: str) -> str:
    """The IP address of a container of the lab's, which the host reaches by Docker's bridge."""
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return docker("inspect", "--format", form, containers()[service]).strip()


def ready_nodes() -> list[str]:
    """Names of the nodes that are Ready; none while no apiserver answers."""
    try:
        code, answer = request("GET", f"{SETTINGS.server}/api/v1/nodes")
    except OSError:
        return []
    return [
        node["metadata"]["name"]
        for node in (answer["items"] if code == 200 else [])
        if any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))
    ]


def wait_until(condition: Callable[[], bool], otherwise: str, seconds: float = READY_SECONDS) -> None:
    """Wait for a condition. Raises Failed, saying what is so otherwise."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"{otherwise} after {seconds:.0f} s: see `deploy/lab status` and `deploy/lab logs`")
        time.sleep(0.2)


def _leader(name: str) -> str:
    lease = f"{SETTINGS.server}/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{name}"
    try:
        code, answer = request("GET", lease)
    except OSError:
        return ""
    return str(answer.get("spec", {}).get("holderIdentity") or "") if code == 200 else ""
