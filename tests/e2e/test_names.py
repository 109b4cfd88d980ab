"""Names of services and pods, as pods resolve them."""

from __future__ import annotations

from collections.abc import Callable

from tests.e2e.api import Api, Manifest, pod, service, shell


def succeeds(api: Api, name: str, script: str) -> None:
    """Run a shell script in a pod; what it asks for may take a moment to be there, so it is tried for a while."""
    tries = f"for i in $(seq 100); do ({script}) && exit 0; sleep 0.2; done; exit 1"
    api.create("pods", pod(name, shell(tries), restartPolicy="Never"))
    api.wait_phase(name, "Succeeded", 60.0)


def test_a_pod_reaches_a_service_by_its_names(api: Api, web: Callable[[int], Manifest]) -> None:
    web(1)
    full = f"web.{api.namespace}.svc.cluster.local"
    names = ("web", f"web.{api.namespace}", f"web.{api.namespace}.svc", full)
    succeeds(api, "client", " && ".join(f"wget -qO- http://{name}/" for name in names))


def test_pods_of_a_headless_service_have_names(api: Api) -> None:
    api.create("services", service("db", clusterIP="None", selector={"app": "db-0"}))
    api.run(pod("db-0", hostname="db-0", subdomain="db"))
    succeeds(api, "client", "wget -qO- http://db-0.db/")
