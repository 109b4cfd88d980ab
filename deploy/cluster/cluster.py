"""Start and stop the processes of one machine's cluster: etcd, dockerd, and the daemons.

What already runs is used and left alone: an etcd or a dockerd that somebody else started is not stopped either. A start
that fails stops again whatever it started itself, and nothing that ran before.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from deploy.cluster import engine, machine, pki
from deploy.cluster.settings import Settings
from deploy.cluster.steps import Failed, Step, Steps, last_lines
from deploy.cluster.supervisor import Program, Supervisor, kill_marked

APISERVER, SCHEDULER, CONTROLLER_MANAGER = "kube-apiserver", "kube-scheduler", "kube-controller-manager"
KUBELET, PROXY, DNS = "kubelet", "kube-proxy", "kube-dns"
DAEMONS = (APISERVER, SCHEDULER, CONTROLLER_MANAGER, KUBELET, PROXY, DNS)
ETCD, CONTAINERD, DOCKERD = "etcd", "containerd", "dockerd"
START_SECONDS = 60.0
CONTAINERD_SOCKET = "/var/run/docker/containerd/containerd.sock"
CONTAINERD_CONFIG = "containerd.toml"
DOCKER_STARTED_BY = "docker-started-by"
"""File in the run directory that says how we started Docker (`supervisor` or `systemd`), if we did."""


class Cluster:
    """The processes of one cluster directory."""

    def __init__(self, settings: Settings, steps: Steps | None = None) -> None:
        self.settings = settings
        self.steps = steps or Steps(quiet=True)
        self.supervisor = Supervisor(settings.run)
        self.programs = {program.name: program for program in programs(settings)}
        self._started: list[str] = []
        self._started_engine = False

    # -- start

    @contextmanager
    def undone_on_failure(self) -> Iterator[None]:
        """What is started inside is stopped again when the block fails."""
        ran_before = self.supervisor.running()
        self._started, self._started_engine = [], False
        try:
            yield
        except BaseException:
            if KUBELET in self._started and not ran_before:
                self.stop()  # there may be containers
            else:
                for name in reversed(self._started):
                    self.supervisor.stop_program(name)
                if self._started_engine:
                    self._stop_engine()
                if not ran_before:
                    self.supervisor.shutdown()
            raise

    def start_supervisor(self) -> None:
        """Have a supervisord that knows every program."""
        before = Settings.of(self.settings.run)
        if self.supervisor.running() and before != self.settings:
            raise Failed("it runs already, with other flags: run deploy/down first")
        self.settings.save()
        self.supervisor.start(list(self.programs.values()))

    def start_etcd(self) -> None:
        """An etcd that answers: the one that runs, or our own."""
        settings = self.settings
        with self.steps.step(ETCD) as step:
            if self.supervisor.has(ETCD):
                self._wait_healthy(ETCD)
                step.done(f"runs on 127.0.0.1:{settings.etcd_port}")
                return
            if settings.shared_etcd and machine.taken(settings.etcd_port) and healthy(f"{settings.etcd}/health"):
                step.done(f"using the one that runs on 127.0.0.1:{settings.etcd_port}")
                return
            machine.require_free(settings.etcd_port, ETCD)
            machine.require_free(settings.etcd_peer_port, ETCD)
            self._start(ETCD)
            step.done(f"started on 127.0.0.1:{settings.etcd_port}, data in {settings.run / 'etcd'}")

    def start_dockerd(self) -> None:
        """A Docker engine that answers: the one that runs, or our own."""
        with self.steps.step("docker") as step:
            if version := engine.version():
                ours = self.supervisor.has(DOCKERD)
                step.done(f"{version} runs" if ours else f"using the {version} that runs")
                return
            self._start_engine("systemd" if machine.service_manager() else "supervisor")
            step.done(f"{engine.version()} started")

    def _start_engine(self, by: str) -> None:
        self._started_engine = True
        self._docker_note.write_text(by)
        if by == "systemd":
            result = subprocess.run(["systemctl", "start", "docker"], capture_output=True, text=True)
            if result.returncode:
                raise Failed(f"`systemctl start docker` failed: {result.stderr.strip()}")
        else:
            (self.settings.run / CONTAINERD_CONFIG).write_text(
                'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            )
            engine.forget_dead_pid()
            for name in (CONTAINERD, DOCKERD):
                self._started.append(name)
                self.supervisor.start_program(name)
        self._wait(DOCKERD, lambda: bool(engine.version()))

    def start_daemons(self, names: Sequence[str] = DAEMONS) -> None:
        """The daemons, each healthy: the apiserver first, for the others write through it."""
        fresh = [name for name in names if not self.supervisor.has(name)]
        for name in fresh:
            machine.require_free(self._port(name), name)
        if APISERVER in fresh:
            machine.require_free(self.settings.secure_port, APISERVER)
        if KUBELET in fresh:
            machine.require_free(self.settings.kubelet_port, KUBELET)
        if APISERVER in fresh or KUBELET in fresh:
            pki.ensure(self.settings)
        if PROXY in fresh and (others := machine.processes_here(PROXY)):
            raise Failed(
                f"another kube-proxy runs on this machine (pid {others[0]}), and both would write the same iptables "
                "chains: stop that one (its checkout's deploy/down), and run this again"
            )
        for batch in (names[:1], names[1:]):
            for name in batch:
                if name in fresh:
                    self._started.append(name)
                    self.supervisor.start_program(name)
            for name in batch:
                with self.steps.step(name) as step:
                    self._wait_healthy(name)
                    step.done(f"{'healthy' if name in fresh else 'runs'} on 127.0.0.1:{self._port(name)}")

    def _start(self, name: str) -> None:
        self._started.append(name)
        self.supervisor.start_program(name)
        self._wait_healthy(name)

    def _wait_healthy(self, name: str) -> None:
        self._wait(name, lambda: healthy(self.programs[name].health))

    def _wait(self, name: str, well: Callable[[], bool]) -> None:
        """Until a program is well. Raises Failed with its last words when it ends instead, or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        log = self.settings.log(name)
        pids: set[int] = set()
        while not well():
            if name in self._started:
                pids.add(self.supervisor.pid(name))
            ended = len(pids) > 1  # supervisord has started it again, or is about to (0)
            if ended or time.monotonic() > deadline:
                what = "ends after it was started" if ended else f"is not healthy after {START_SECONDS:.0f} s"
                raise Failed(
                    f"{name} {what}. Put right what it complains of, and run this again. It said last (all: {log}):\n"
                    f"{last_lines(log, 5)}"
                )
            time.sleep(0.02)

    def _port(self, name: str) -> int:
        return self.programs[name].port

    # -- stop

    def stop(self, *, purge: bool = False) -> None:
        """Stop everything that was started here, and remove the node's containers, network, rules and mounts.

        With `purge` also the data. Works on what is left of a cluster that is half dead.
        """
        settings = self.settings
        with self.steps.step("daemons") as step:
            stopped = [name for name in (*reversed(DAEMONS), ETCD) if self.supervisor.has(name)]
            for name in stopped:
                self.supervisor.stop_program(name)
            if not self.supervisor.running():
                stopped = kill_marked(settings.run)
            step.done(f"stopped {', '.join(stopped)}" if stopped else "none runs")
        with self.steps.step("node") as step:
            if self._revive_engine(step):
                count, stays = engine.remove_node(settings.node), engine.remove_network(settings.pod_network)
                if purge:
                    engine.remove_images()
                network = f"network {settings.pod_network} {f'stays: {stays}' if stays else 'gone'}"
                step.done(f"{count} containers removed, {network}")
            if settings.log(PROXY).exists():  # its proxy ran: the chains are not another cluster's
                remove_rules()
            unmount_below(settings.run)
        with self.steps.step("docker") as step:
            if self._docker_note.exists():
                others = engine.stop_all_containers() if engine.version() else []
                self._stop_engine()
                step.done("stopped" + (f", with what else ran in it: {', '.join(others)}" if others else ""))
            else:
                step.done("not started by us: left as it is")
        self.supervisor.shutdown()
        if purge:
            shutil.rmtree(settings.run, ignore_errors=True)

    def _revive_engine(self, step: Step) -> bool:
        """Whether Docker answers. One that is ours, but dead, is started again: only it can remove its containers."""
        if not engine.version() and self._docker_note.exists():
            try:
                self.supervisor.start(list(self.programs.values()))
                self._start_engine(self._docker_note.read_text())
            except Failed as failure:
                step.say(f"its containers cannot be removed: {failure}")
                return False
        if not engine.version():
            step.say("no Docker answers, so there are no containers to remove")
            return False
        return True

    def _stop_engine(self) -> None:
        """Stop the engine that we started."""
        if self._docker_note.read_text() == "systemd":
            subprocess.run(["systemctl", "stop", "docker.service", "docker.socket"], check=False)
        for name in (DOCKERD, CONTAINERD):
            self.supervisor.stop_program(name)
        self._docker_note.unlink()

    @property
    def _docker_note(self) -> Path:
        return self.settings.run / DOCKER_STARTED_BY


def programs(settings: Settings) -> list[Program]:
    """etcd, dockerd and the daemons, with their flags."""
    commands = Path(sys.executable).parent
    peers = f"http://127.0.0.1:{settings.etcd_peer_port}"
    common = (f"--etcd-servers={settings.etcd}", f"-v={settings.verbosity}")
    client = (*common, f"--master={settings.server}")

    def health(port: int) -> str:
        return f"http://127.0.0.1:{port}/healthz"

    return [
        Program(
            ETCD,
            (
                "etcd",
                "--name=kube",
                f"--data-dir={settings.run / 'etcd'}",
                f"--listen-client-urls={settings.etcd}",
                f"--advertise-client-urls={settings.etcd}",
                f"--listen-peer-urls={peers}",
                f"--initial-advertise-peer-urls={peers}",
                f"--initial-cluster=kube={peers}",
                "--logger=zap",
            ),
            f"{settings.etcd}/health",
        ),
        # Containers outlive the engine's death (live-restore), and traffic to them goes on. containerd is not left to
        # dockerd to start: a dockerd that is started anew waits for 15 s as long as nobody has reaped the one that died
        # with the last. Its directories are those that dockerd would give it.
        Program(
            CONTAINERD,
            (
                "containerd",
                f"--config={settings.run / CONTAINERD_CONFIG}",
                "--root=/var/lib/docker/containerd/daemon",
                "--state=/var/run/docker/containerd/daemon",
                f"--address={CONTAINERD_SOCKET}",
            ),
            "",
        ),
        Program(DOCKERD, ("dockerd", "--live-restore", f"--containerd={CONTAINERD_SOCKET}"), "", stop_seconds=30),
        Program(
            APISERVER,
            (
                str(commands / APISERVER),
                *common,
                f"--insecure-port={settings.apiserver_port}",
                f"--secure-port={settings.secure_port}",
                f"--cert-dir={settings.pki}",
                f"--tls-cert-file={settings.pki / 'apiserver.crt'}",
                f"--tls-private-key-file={settings.pki / 'apiserver.key'}",
                f"--client-ca-file={settings.pki / 'ca.crt'}",
                "--authorization-mode=RBAC",
                f"--kubelet-client-certificate={settings.pki / 'apiserver-kubelet-client.crt'}",
                f"--kubelet-client-key={settings.pki / 'apiserver-kubelet-client.key'}",
                f"--kubelet-certificate-authority={settings.pki / 'ca.crt'}",
                f"--service-cluster-ip-range={settings.service_range}",
            ),
            health(settings.apiserver_port),
        ),
        Program(
            SCHEDULER,
            (str(commands / SCHEDULER), *client, f"--port={settings.scheduler_port}"),
            health(settings.scheduler_port),
        ),
        Program(
            CONTROLLER_MANAGER,
            (
                str(commands / CONTROLLER_MANAGER),
                *client,
                f"--port={settings.controller_manager_port}",
                f"--root-ca-file={settings.pki / 'ca.crt'}",
                f"--service-account-private-key-file={settings.pki / 'sa.key'}",
            ),
            health(settings.controller_manager_port),
        ),
        Program(
            KUBELET,
            (
                str(commands / KUBELET),
                *client,
                f"--hostname-override={settings.node}",
                f"--port={settings.kubelet_port}",
                f"--healthz-port={settings.kubelet_healthz_port}",
                f"--tls-cert-file={settings.pki / 'kubelet.crt'}",
                f"--tls-private-key-file={settings.pki / 'kubelet.key'}",
                f"--client-ca-file={settings.pki / 'ca.crt'}",
                "--anonymous-auth=false",
                "--authorization-mode=Webhook",
                f"--root-dir={settings.run / 'kubelet'}",
                f"--pod-cidr={settings.pod_range}",
                f"--network={settings.pod_network}",
                f"--bridge={settings.bridge}",
                f"--cluster-dns={settings.cluster_dns}",
            ),
            health(settings.kubelet_healthz_port),
        ),
        Program(
            PROXY,
            (
                str(commands / PROXY),
                *client,
                f"--hostname-override={settings.node}",
                f"--healthz-port={settings.proxy_port}",
                f"--service-cluster-ip-range={settings.service_range}",
                f"--cluster-cidr={settings.pod_range}",
            ),
            health(settings.proxy_port),
        ),
        Program(
            DNS,
            (
                str(commands / DNS),
                *client,
                f"--address={settings.pod_gateway}",
                f"--cluster-ip={settings.cluster_dns}",
                f"--healthz-port={settings.dns_port}",
            ),
            health(settings.dns_port),
        ),
    ]


def healthy(url: str) -> bool:
    """Whether a health URL answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def remove_rules() -> None:
    """Remove every rule and chain of the proxy's from iptables."""
    subprocess.run([str(Path(sys.executable).parent / PROXY), "--cleanup"], capture_output=True, check=False)


def unmount_below(directory: Path) -> None:
    """Unmount what is mounted below a directory, the innermost first."""
    lines = Path("/proc/mounts").read_text().splitlines()
    mounts = [line.split()[1].encode().decode("unicode_escape") for line in lines]
    for mount in sorted((mount for mount in mounts if mount.startswith(f"{directory}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=True)
