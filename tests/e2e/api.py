"""The API as a client sees it: plain REST with JSON, and manifests short enough to read in a test."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.e2e.waiting import eventually

Manifest = dict[str, Any]
MERGE_PATCH = "application/merge-patch+json"


class Refused(AssertionError):
    """The apiserver answered with an error Status."""

    def __init__(self, code: int, status: Any) -> None:
        super().__init__(f"{code}: {status}")
        self.code = code
        self.status = status


class Api:
    """An apiserver, and one namespace of it."""

    def __init__(self, server: str, namespace: str = "default") -> None:
        self.server = server
        self.namespace = namespace
        self.http = httpx.Client(base_url=server, timeout=30)

    def close(self) -> None:
        self.http.close()

    def path(self, plural: str, name: str = "", subresource: str = "") -> str:
        """REST path of something in the namespace (or of the cluster, for what has none)."""
        scope = "" if plural in ("nodes", "namespaces") else f"/namespaces/{self.namespace}"
        return "/".join(part for part in (f"/api/v1{scope}/{plural}", name, subresource) if part)

    def send(self, method: str, path: str, body: object = None, content_type: str = "application/json") -> Any:
        """Decoded answer to a request with a JSON body. Raises Refused."""
        content = None if body is None else json.dumps(body)
        answer = self.http.request(method, path, content=content, headers={"Content-Type": content_type})
        if answer.status_code >= 400:
            raise Refused(answer.status_code, answer.json())
        return answer.json()

    def get(self, plural: str, name: str, subresource: str = "") -> Manifest:
        found: Manifest = self.send("GET", self.path(plural, name, subresource))
        return found

    def create_namespace(self) -> None:
        """Make the namespace, and wait until its pods can have a service account."""
        self.create("namespaces", {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": self.namespace}})
        eventually(lambda: self.find("serviceaccounts", "default"), f"the account default of {self.namespace}")

    def find(self, plural: str, name: str) -> Manifest | None:
        """An object, or None if it does not exist."""
        try:
            return self.get(plural, name)
        except Refused as refused:
            if refused.code == 404:
                return None
            raise

    def items(self, plural: str, labels: str = "", fields: str = "") -> list[Manifest]:
        query = httpx.QueryParams({"labelSelector": labels, "fieldSelector": fields})
        items: list[Manifest] = self.send("GET", f"{self.path(plural)}?{query}")["items"]
        return items

    def create(self, plural: str, manifest: Manifest) -> Manifest:
        made: Manifest = self.send("POST", self.path(plural), manifest)
        return made

    def replace(self, plural: str, manifest: Manifest) -> Manifest:
        made: Manifest = self.send("PUT", self.path(plural, manifest["metadata"]["name"]), manifest)
        return made

    def patch(self, plural: str, name: str, patch: object, content_type: str = MERGE_PATCH) -> Manifest:
        made: Manifest = self.send("PATCH", self.path(plural, name), patch, content_type)
        return made

    def delete(self, plural: str, name: str, grace: int | None = None) -> None:
        options = None if grace is None else {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": grace}
        self.send("DELETE", self.path(plural, name), options)

    def scale(self, name: str, replicas: int) -> None:
        """Set a replication controller's wanted number of pods."""
        self.patch("replicationcontrollers", name, {"spec": {"replicas": replicas}})

    def events(self, name: str) -> list[tuple[str, str]]:
        """Reason and message of each event about an object."""
        found = self.items("events", fields=f"involvedObject.name={name}")
        return [(event["reason"], event["message"]) for event in found]

    @contextmanager
    def watch(self, plural: str, resource_version: str, labels: str = "") -> Iterator[Iterator[Manifest]]:
        """Watch events as they come."""
        query = httpx.QueryParams({"watch": "1", "resourceVersion": resource_version, "labelSelector": labels})
        with self.http.stream("GET", f"{self.path(plural)}?{query}", timeout=60) as answer:
            answer.raise_for_status()
            yield (json.loads(line) for line in answer.iter_lines())

    # -- pods

    def pods(self, labels: str = "") -> list[Manifest]:
        """Pods that are not being deleted."""
        return [pod for pod in self.items("pods", labels) if "deletionTimestamp" not in pod["metadata"]]

    def names(self, labels: str = "") -> set[str]:
        return {pod["metadata"]["name"] for pod in self.pods(labels)}

    def run(self, manifest: Manifest, seconds: float = 30.0) -> Manifest:
        """Create a pod and wait until it is Ready."""
        self.create("pods", manifest)
        return self.wait_ready(manifest["metadata"]["name"], seconds)

    def wait_ready(self, name: str, seconds: float = 30.0) -> Manifest:
        """The pod, once it is Ready."""

        def ready() -> Manifest:
            found = self.get("pods", name)
            assert is_ready(found), found.get("status")
            return found

        return eventually(ready, f"pod {name} is Ready", seconds)

    def wait_pods(self, labels: str, count: int, seconds: float = 60.0) -> list[Manifest]:
        """The pods with these labels, once there are exactly `count`, all Ready, and no other is on its way out."""

        def settled() -> list[Manifest]:
            found = self.items("pods", labels)
            ready = [pod for pod in found if is_ready(pod) and "deletionTimestamp" not in pod["metadata"]]
            assert len(ready) == len(found) == count, f"{len(ready)} Ready of {len(found)}, wanted {count}"
            return found

        return eventually(settled, f"exactly {count} pods {labels}, all Ready", seconds)

    def wait_phase(self, name: str, phase: str, seconds: float = 30.0) -> Manifest:
        """The pod, once it is in a phase."""

        def reached() -> Manifest:
            found = self.get("pods", name)
            assert found["status"].get("phase") == phase, found["status"]
            return found

        return eventually(reached, f"pod {name} is {phase}", seconds)

    def wait_gone(self, plural: str, name: str, seconds: float = 30.0) -> None:
        eventually(lambda: self.find(plural, name) is None, f"{plural}/{name} is gone", seconds)

    def clear(self) -> None:
        """Delete everything of the namespace, and the namespace."""
        for plural in ("replicationcontrollers", "services", "pods"):
            for item in self.items(plural):
                try:
                    self.delete(plural, item["metadata"]["name"], grace=0 if plural == "pods" else None)
                except Refused as refused:  # gone meanwhile
                    if refused.code != 404:
                        raise
        eventually(lambda: not self.items("pods"), f"the pods of {self.namespace} are gone", 60)
        self.delete("namespaces", self.namespace)


def is_ready(pod: Manifest) -> bool:
    """Whether its Ready condition is True."""
    return condition(pod, "Ready").get("status") == "True"


def condition(obj: Manifest, kind: str) -> Manifest:
    """A condition of an object's status; empty if it has none of that type."""
    found = [each for each in obj.get("status", {}).get("conditions", []) if each["type"] == kind]
    return found[0] if found else {}


def container_status(pod: Manifest, name: str = "main") -> Manifest:
    """The status of one container; empty if there is none yet."""
    found = [each for each in pod.get("status", {}).get("containerStatuses", []) if each["name"] == name]
    return found[0] if found else {}


def container(name: str = "main", *args: str, **fields: Any) -> Manifest:
    """A container of the web image; `args` replace its command."""
    made: Manifest = {"name": name, "image": "kube/web", "imagePullPolicy": "IfNotPresent"}
    if args:
        made["args"] = list(args)
    return made | fields


def shell(script: str, name: str = "main", **fields: Any) -> Manifest:
    """A container that runs a shell script."""
    return container(name, "sh", "-c", script, **fields)


def pod(name: str, *containers: Manifest, labels: dict[str, str] | None = None, **spec: Any) -> Manifest:
    """A pod; of one web server if no container is given."""
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name, "labels": labels or {"app": name}},
        "spec": {"containers": list(containers) or [container()]} | spec,
    }


def controller(name: str, replicas: int, *containers: Manifest, **spec: Any) -> Manifest:
    """A replication controller of pods with the label `app: <name>`."""
    template = pod("", *containers, labels={"app": name}, **spec)
    return {
        "kind": "ReplicationController",
        "apiVersion": "v1",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"app": name},
            "template": {"metadata": {"labels": {"app": name}}, "spec": template["spec"]},
        },
    }


def web_controller(name: str, replicas: int, linger: int = 0) -> Manifest:
    """A replication controller of web servers that are Ready when they answer, and answer for some seconds more after
    they were told to stop."""
    fields: Manifest = {"readinessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1}}
    if linger:
        fields["lifecycle"] = {"preStop": {"exec": {"command": ["sleep", str(linger)]}}}
    return controller(name, replicas, container(**fields), terminationGracePeriodSeconds=linger + 1)


def service(name: str, port: int = 80, protocol: str = "TCP", **spec: Any) -> Manifest:
    """A service for the pods with the label `app: <name>`."""
    ports = [{"port": port, "protocol": protocol}]
    return {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": ports} | spec,
    }
