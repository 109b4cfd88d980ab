"""The node as root sees it: containers in Docker, their network namespaces, the daemons' processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import docker

from deploy.cluster.cluster import DOCKERD, Cluster
from deploy.cluster.supervisor import marked
from kube.kubelet.runtime import CONTAINER_NAME, CONTAINER_TYPE, NODE_NAME, POD_NAME, POD_NAMESPACE, POD_UID
from tests.e2e.waiting import eventually


class Node:
    """The one node of the cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.name = cluster.settings.node
        self.engine = docker.DockerClient(base_url="unix:///var/run/docker.sock", timeout=60)

    def close(self) -> None:
        self.engine.close()

    def containers(self, namespace: str, pod: str = "", *, name: str = "", every: bool = False) -> list[Any]:
        """Containers (not sandboxes) of a namespace or a pod; `every`: ended ones and sandboxes too."""
        labels = [f"{NODE_NAME}={self.name}", f"{POD_NAMESPACE}={namespace}"]
        labels += [f"{POD_NAME}={pod}"] if pod else []
        labels += [f"{CONTAINER_NAME}={name}"] if name else []
        labels += [] if every else [f"{CONTAINER_TYPE}=container"]
        found: list[Any] = self.engine.containers.list(all=every, filters={"label": labels}, ignore_removed=True)
        return found

    def container(self, namespace: str, pod: str, name: str = "main") -> Any:
        """The one running container of this name."""
        (found,) = self.containers(namespace, pod, name=name)
        return found

    def execute(self, namespace: str, pod: str, *command: str) -> str:
        """Output of a command that runs in the pod's main container, and succeeds."""
        code, output = self.container(namespace, pod).exec_run(list(command))
        assert code == 0, f"{command} in {pod}: exit code {code}: {output.decode()}"
        return str(output.decode())

    def start_in_network_of(self, namespace: str, pod: str, script: str, *args: str) -> subprocess.Popen[str]:
        """Start a Python script of ours in a pod's network namespace."""
        pid = self.container(namespace, pod).attrs["State"]["Pid"]
        command = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", script, *args]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def has_exactly(self, namespace: str, uids: set[str]) -> bool:
        """Whether just these pods have containers: one sandbox and one running `main` each, and nothing is left over.

        Ended containers of these pods may stay (as Kubernetes keeps them, for their logs).
        """
        found = self.containers(namespace, every=True)
        running = [(each.labels[POD_UID], each.labels[CONTAINER_TYPE]) for each in found if each.status == "running"]
        wanted = [(uid, kind) for uid in uids for kind in ("container", "podsandbox")]
        strange = [each.name for each in found if each.labels[POD_UID] not in uids]
        assert sorted(running) == sorted(wanted), f"running {sorted(running)}, wanted {sorted(wanted)}"
        assert not strange, f"left over: {strange}"
        return True

    # -- processes

    def kill(self, program: str) -> None:
        """kill -9 a process; its supervisor starts it again."""
        pid = self.dockerd_pid() if program == DOCKERD else self.cluster.supervisor.pid(program)
        assert pid, f"{program} does not run"
        os.kill(pid, signal.SIGKILL)

    def dockerd_pid(self) -> int:
        """Of a dockerd that a supervisord of ours keeps running; 0 if it is somebody else's."""
        return next((pid for pid, name in marked() if name == DOCKERD), 0)

    def wait_restarted(self, program: str, seconds: float = 15.0) -> None:
        """Wait until a daemon's health endpoint answers again."""
        url = self.cluster.programs[program].health
        eventually(lambda: _healthy(url), f"{program} is healthy again", seconds)


def _healthy(url: str) -> bool:
    from deploy.cluster.cluster import healthy

    return healthy(url)
