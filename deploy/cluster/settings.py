"""What a cluster on one machine is made of: its directory, ports, ranges and names.

One checkout keeps its state in `.run/`; the settings that `deploy/up` used are kept there, so that `deploy/down`
removes exactly what they made. The end-to-end tests start a cluster of their own from the same class, with other
values.
"""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Network
from pathlib import Path

from deploy.cluster.steps import Failed

CHECKOUT = Path(__file__).resolve().parents[2]
SETTINGS_FILE = "cluster.json"


@dataclass(frozen=True)
class Settings:
    """A cluster. All that listens beyond loopback asks who is there: the apiserver's secure port."""

    run: Path = CHECKOUT / ".run"
    """Everything the cluster writes, but for Docker's own data."""
    node: str = field(default_factory=lambda: socket.gethostname().lower())
    """The node's name; containers carry it as a label."""
    service_range: str = "10.96.0.0/16"
    pod_range: str = "10.244.0.0/16"
    pod_network: str = "kube-pods"
    """The Docker network that pods are on."""
    bridge: str = "kube0"
    """The network interface of that network."""
    etcd_port: int = 2379
    etcd_peer_port: int = 2380
    apiserver_port: int = 8080
    """The plain port, on loopback."""
    secure_port: int = 6443
    """The apiserver's port for everybody else, on all addresses."""
    scheduler_port: int = 10251
    controller_manager_port: int = 10252
    kubelet_port: int = 10250
    """The node API, which asks who is there."""
    kubelet_healthz_port: int = 10248
    """Health and metrics, on loopback."""
    proxy_port: int = 10249
    dns_port: int = 10254
    """Health of the name server; it answers on the pods' bridge."""
    shared_etcd: bool = True
    """Whether an etcd that already runs on the port may be used."""
    verbosity: int = 0

    @property
    def etcd(self) -> str:
        """URL of etcd."""
        return f"http://127.0.0.1:{self.etcd_port}"

    @property
    def server(self) -> str:
        """URL of the apiserver."""
        return f"http://127.0.0.1:{self.apiserver_port}"

    @property
    def secure_server(self) -> str:
        """URL of the apiserver's secure port, from this machine."""
        return f"https://127.0.0.1:{self.secure_port}"

    @property
    def cluster_dns(self) -> str:
        """Address of the service that pods have as their name server."""
        return str(IPv4Network(self.service_range)[10])

    @property
    def pod_gateway(self) -> str:
        """Address of the node on the pods' bridge."""
        return str(IPv4Network(self.pod_range)[1])

    @property
    def kubeconfig(self) -> Path:
        return self.run / "kubeconfig"

    @property
    def pki(self) -> Path:
        """Where keys and certificates are."""
        return self.run / "pki"

    @property
    def logs(self) -> Path:
        return self.run / "log"

    def log(self, program: str) -> Path:
        """Where a program's output goes."""
        return self.logs / f"{program}.log"

    def save(self) -> None:
        """Keep them for `Settings.of`."""
        self.run.mkdir(parents=True, exist_ok=True)
        values = {name: value for name, value in asdict(self).items() if name != "run"}
        file = self.run / SETTINGS_FILE
        half = file.with_suffix(".new")  # whoever is killed while writing leaves the old one whole
        half.write_text(json.dumps(values, indent=2) + "\n")
        half.replace(file)

    @classmethod
    def of(cls, run: Path = CHECKOUT / ".run") -> Settings:
        """Those that the cluster in `run` was started with; the defaults if there was none. Raises Failed."""
        file = run / SETTINGS_FILE
        try:
            values = json.loads(file.read_text())
            if not isinstance(values, dict):
                raise ValueError("not an object")
        except FileNotFoundError:
            values = {}
        except ValueError as error:
            raise Failed(
                f"{file} does not say what there is to stop: {error}. Remove it, and run this again: then the defaults "
                "are taken for what the cluster was started with"
            ) from None
        known = cls.__dataclass_fields__.keys() & values.keys()
        return cls(run=run, **{name: values[name] for name in known})

    def write_kubeconfig(self) -> None:
        """A kubeconfig for the apiserver's plain port."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "kube", "cluster": {"server": self.server}}],
            "users": [{"name": "admin", "user": {}}],
            "contexts": [{"name": "kube", "context": {"cluster": "kube", "user": "admin", "namespace": "default"}}],
            "current-context": "kube",
        }
        self.kubeconfig.write_text(json.dumps(config, indent=2) + "\n")  # JSON is YAML
