"""deploy/examples/web.yaml: submit it, wait until its pods are Ready, send requests to its service."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from typing import Any

import yaml

from deploy.cluster.settings import CHECKOUT
from deploy.cluster.steps import Failed, Step

EXAMPLE = CHECKOUT / "deploy/examples/web.yaml"
COLLECTIONS = {"ReplicationController": "replicationcontrollers", "Service": "services"}
READY_SECONDS = 120.0
REQUESTS = 12


def request(method: str, url: str, body: object = None) -> tuple[int, Any]:
    """Status and decoded JSON of a request to the apiserver."""
    data = None if body is None else json.dumps(body).encode()
    message = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(message, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def submit(step: Step, server: str) -> None:
    """Create the objects of the example; those that exist are left as they are."""
    said = []
    for manifest in yaml.safe_load_all(EXAMPLE.read_text()):
        collection = COLLECTIONS[manifest["kind"]]
        code, answer = request("POST", f"{server}/api/v1/namespaces/default/{collection}", manifest)
        if code not in (201, 409):
            raise Failed(
                f"{EXAMPLE.name}: the apiserver refuses the {manifest['kind']}: {answer.get('message', answer)}"
            )
        what = f"{manifest['kind'].lower()}/{manifest['metadata']['name']}"
        said.append(f"{what} {'created' if code == 201 else 'is there'}")
    step.done(", ".join(said))


def wait_ready(step: Step, server: str) -> None:
    """Wait until as many pods are Ready as the controller wants."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        _, controller = request("GET", f"{server}/api/v1/namespaces/default/replicationcontrollers/web")
        _, pods = request("GET", f"{server}/api/v1/namespaces/default/pods?labelSelector=app%3Dweb")
        wanted = controller["spec"].get("replicas", 1)
        items = [pod for pod in pods["items"] if "deletionTimestamp" not in pod["metadata"]]
        ready = sum(is_ready(pod) for pod in items)
        if ready == len(items) == wanted:
            step.done(f"{ready} of {wanted} Ready")
            return
        if time.monotonic() > deadline:
            states = "\n".join(f"  {pod['metadata']['name']}: {_state(pod)}" for pod in items) or "  no pod was made"
            states = "\n".join([states, *_warnings(server)])
            raise Failed(f"only {ready} of {wanted} pods are Ready after {READY_SECONDS:.0f} s:\n{states}")
        step.say(f"{ready} of {wanted} Ready")
        time.sleep(0.1)


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether its Ready condition is True."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _state(pod: dict[str, Any]) -> str:
    """Phase, and what its conditions and containers say is wrong."""
    status = pod.get("status", {})
    words = [status.get("phase", "")]
    words += [each["message"] for each in status.get("conditions", []) if each.get("message")]
    for container in status.get("containerStatuses", []):
        waiting = container.get("state", {}).get("waiting", {})
        words += [waiting.get("reason", ""), waiting.get("message", "")]
    return ", ".join(word for word in words if word)


def _warnings(server: str) -> list[str]:
    """What the cluster complained of."""
    _, events = request("GET", f"{server}/api/v1/namespaces/default/events?fieldSelector=type%3DWarning")
    found = {f"  {event['reason']}: {event['message']}" for event in events.get("items", [])}
    return sorted(found)[:10]


def service_address(server: str) -> str:
    """The example's cluster IP."""
    _, service = request("GET", f"{server}/api/v1/namespaces/default/services/web")
    return str(service["spec"]["clusterIP"])


def ask(address: str, port: int = 80, timeout: float = 5.0) -> str:
    """Who answers one request to the service, on a connection of its own. Raises OSError."""
    connection = http.client.HTTPConnection(address, port, timeout=timeout)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode().strip()
    except http.client.HTTPException as error:
        raise ConnectionError(f"{address}:{port} did not answer as a web server does: {error!r}") from error
    finally:
        connection.close()


def wait_backends(step: Step, server: str, address: str) -> None:
    """Wait until every pod answers at the service: the endpoints follow the pods, and the proxy the endpoints."""
    _, pods = request("GET", f"{server}/api/v1/namespaces/default/pods?labelSelector=app%3Dweb")
    names = {pod["metadata"]["name"] for pod in pods["items"]}
    deadline = time.monotonic() + 15
    while True:
        said = ""
        try:
            answered = {ask(address) for _ in range(2 * len(names))}
        except OSError as error:
            answered, said = set(), f": {error}"
        if answered >= names:
            return
        if time.monotonic() > deadline:
            raise Failed(f"only {len(answered)} of {len(names)} pods answer at the service's address {address}{said}")
        step.say(f"waiting until all answer at {address}")
        time.sleep(0.1)
