"""The hosts file and the resolv.conf that the kubelet keeps for a pod."""

from __future__ import annotations

from pathlib import Path

from kube.kubelet.dns import ResolvConf
from kube.kubelet.pod_files import PodFiles
from kube.kubelet.runtime import Mount
from tests.kubelet_node import container, make_pod

DNS = ResolvConf(["10.96.0.10"])
ALIASES = [{"ip": "1.2.3.4", "hostnames": ["a.example", "b.example"]}]
LOOPBACK = """127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


def test_a_pod_finds_itself_and_its_aliases(tmp_path: Path) -> None:
    pod = make_pod(hostAliases=ALIASES)
    hosts, resolv_conf = PodFiles(tmp_path).mounts(pod, pod.spec.containers[0], "10.244.0.9", ("web", ""), DNS)
    directory = tmp_path / "pods" / "uid-1"
    assert hosts == Mount(str(directory / "etc-hosts"), "/etc/hosts")
    assert resolv_conf == Mount(str(directory / "resolv.conf"), "/etc/resolv.conf")
    assert Path(hosts.host_path).read_text() == (
        f"# Kubernetes-managed hosts file.\n{LOOPBACK}10.244.0.9\tweb\n"
        "\n# Entries added by HostAliases.\n1.2.3.4\ta.example\tb.example\n"
    )
    assert Path(resolv_conf.host_path).read_text() == "nameserver 10.96.0.10\n"
    assert Path(hosts.host_path).stat().st_mode & 0o777 == 0o644


def test_another_address_is_written_into_the_file_that_containers_have_mounted(tmp_path: Path) -> None:
    pod, files = make_pod(), PodFiles(tmp_path)
    names = ("web", "shop.default.svc.cluster.local")
    hosts, _ = files.mounts(pod, pod.spec.containers[0], "10.244.0.9", names, DNS)
    before = Path(hosts.host_path).stat().st_ino
    files.mounts(pod, pod.spec.containers[0], "10.244.0.10", names, DNS)
    assert Path(hosts.host_path).read_text().endswith("10.244.0.10\tweb.shop.default.svc.cluster.local\tweb\n")
    assert Path(hosts.host_path).stat().st_ino == before


def test_on_the_node_s_network_the_node_s_names_are_there(tmp_path: Path) -> None:
    node = tmp_path / "hosts"
    node.write_text("127.0.0.1 localhost\n")
    pod = make_pod(hostNetwork=True, hostAliases=ALIASES)
    hosts, _ = PodFiles(tmp_path, node).mounts(pod, pod.spec.containers[0], "192.168.0.1", ("web", ""), DNS)
    assert Path(hosts.host_path).read_text() == (
        "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n"
        "\n# Entries added by HostAliases.\n1.2.3.4\ta.example\tb.example\n"
    )


def test_a_mount_of_the_container_s_own_wins(tmp_path: Path) -> None:
    pod = make_pod("web", container(volumeMounts=[{"name": "x", "mountPath": "/etc/hosts"}]))
    (only,) = PodFiles(tmp_path).mounts(pod, pod.spec.containers[0], "10.244.0.9", ("web", ""), DNS)
    assert only.container_path == "/etc/resolv.conf"


def test_a_hollow_node_keeps_none() -> None:
    pod = make_pod()
    assert PodFiles(None).mounts(pod, pod.spec.containers[0], "10.244.0.9", ("web", ""), DNS) == []
