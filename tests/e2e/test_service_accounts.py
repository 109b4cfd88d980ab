"""Clients in pods: they find the apiserver, believe it, and are the pod's service account."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

from tests.e2e.api import Api, pod, shell
from tests.e2e.node import Node
from tests.e2e.waiting import eventually

TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"
ROLES = "/apis/rbac.authorization.k8s.io/v1/namespaces"

# What `kubernetes.config.load_incluster_config()` does, with the container's files and environment.
CLIENT = """
import json, os, sys
from kubernetes import client
from kubernetes.config.incluster_config import InClusterConfigLoader

root, environment, namespace = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
where = root + "/var/run/secrets/kubernetes.io/serviceaccount"
config = client.Configuration()
InClusterConfigLoader(f"{where}/token", f"{where}/ca.crt", environ=environment).load_and_set(config)
core = client.CoreV1Api(client.ApiClient(config))
try:
    print(json.dumps([pod.metadata.name for pod in core.list_namespaced_pod(namespace).items]))
except client.ApiException as refused:
    print(json.dumps(json.loads(refused.body)["message"]))
"""


def allow_reading(api: Api) -> None:
    """Let the namespace's default account read what is in it."""
    account = {"kind": "ServiceAccount", "name": "default", "namespace": api.namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    binding = {"kind": "RoleBinding", "metadata": {"name": "readers"}, "subjects": [account], "roleRef": role}
    api.send("POST", f"{ROLES}/{api.namespace}/rolebindings", binding)


def test_a_client_library_in_a_pod_is_its_service_account(api: Api, node: Node) -> None:
    api.run(pod("client"))
    pid = node.container(api.namespace, "client").attrs["State"]["Pid"]
    with open(f"/proc/{pid}/environ") as file:
        environment = dict(each.split("=", 1) for each in file.read().split("\0") if each)

    def ask() -> Any:
        arguments = f"/proc/{pid}/root", json.dumps(environment), api.namespace
        with node.start_in_network_of(api.namespace, "client", CLIENT, *arguments) as process:
            output, _ = process.communicate(timeout=60)
        return json.loads(output)

    user = f"system:serviceaccount:{api.namespace}:default"
    assert ask() == (
        f'pods is forbidden: User "{user}" cannot list resource "pods" in API group "" in the namespace '
        f'"{api.namespace}"'
    )
    allow_reading(api)
    assert eventually(lambda: isinstance(found := ask(), list) and found, "the client may list") == ["client"]


def test_curl_in_a_pod_believes_the_apiserver_by_its_name(api: Api, node: Node) -> None:
    # Not as root: the token's file is for the pod's own user.
    reads = shell(f"cat {TOKEN}/token >/dev/null && exec sleep 600")
    api.run(pod("client", reads, securityContext={"runAsUser": 1000}, terminationGracePeriodSeconds=0))
    pid = node.container(api.namespace, "client").attrs["State"]["Pid"]
    files, name = f"/proc/{pid}/root{TOKEN}", "kubernetes.default.svc"
    assert node.execute(api.namespace, "client", "cat", f"{TOKEN}/namespace") == api.namespace
    address = api.send("GET", "/api/v1/namespaces/default/services/kubernetes")["spec"]["clusterIP"]
    review = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}
    ask = (
        f"nsenter --net=/proc/{pid}/ns/net curl --silent --show-error --retry 5 --retry-connrefused "
        f"--cacert {files}/ca.crt --resolve {name}:443:{address} "
        f"--header 'Authorization: Bearer '$(cat {files}/token) --json '{json.dumps(review)}' "
        f"https://{name}/apis/authentication.k8s.io/v1/selfsubjectreviews"
    )
    answer = subprocess.run(["sh", "-c", ask], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stderr
    who = json.loads(answer.stdout)["status"]["userInfo"]
    assert who["username"] == f"system:serviceaccount:{api.namespace}:default"
    assert who["extra"]["authentication.kubernetes.io/pod-name"] == ["client"]


def test_a_pod_that_wants_no_token_has_none(api: Api, node: Node) -> None:
    api.run(pod("plain", automountServiceAccountToken=False))
    pid = node.container(api.namespace, "plain").attrs["State"]["Pid"]
    assert not os.path.exists(f"/proc/{pid}/root{TOKEN}")
