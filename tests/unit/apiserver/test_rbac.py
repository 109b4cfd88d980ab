"""Who may do what, asked over the secure port's own path: users by token, roles in the store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from kube.api.authentication import UserInfo
from kube.apiserver import policy
from kube.apiserver.access import Access
from kube.apiserver.app import Api, App
from kube.apiserver.authorization import Attributes, of_request
from kube.apiserver.discovery import Discovery
from kube.apiserver.handlers import Handlers
from kube.apiserver.options import from_args, parser
from kube.apiserver.pages import pages
from kube.apiserver.rbac import Rule, in_words, missing_rights
from kube.apiserver.secure import Secure
from kube.store.memory import MemoryStore
from tests.unit.apiserver.conftest import Server

CORE, RBAC = "/api/v1/namespaces/default", "/apis/rbac.authorization.k8s.io/v1"
TOKENS = 'alice,alice,1,"devs"\nbob,bob,2\nroot,root,3,"system:masters"\n'
USERS = ("alice", "bob", "root", "")


class Cluster:
    """An apiserver as each of some users meets it, by name; `` is anonymous."""

    def __init__(self, server: Server, app: Secure) -> None:
        self.server = server
        self._as = {user: self._client(app, user) for user in USERS}

    @staticmethod
    def _client(app: Secure, user: str) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {user}"} if user else {}
        return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="https://kube", headers=headers)

    def __getitem__(self, user: str) -> httpx.AsyncClient:
        return self._as[user]

    async def give(self, role: str, *users: str, namespace: str = "") -> None:
        """Bind a cluster role to users, in a namespace or everywhere."""
        body = {
            "metadata": {"name": f"{role}-to-{'-'.join(users)}".replace(":", "-")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user} for user in users],
        }
        where = f"{RBAC}/namespaces/{namespace}/rolebindings" if namespace else f"{RBAC}/clusterrolebindings"
        answer = await self["root"].post(where, json=body)
        assert answer.status_code == 201, answer.text
        await self.server.cache.fresh()

    async def role(self, name: str, *rules: dict[str, Any]) -> None:
        answer = await self["root"].post(f"{RBAC}/clusterroles", json={"metadata": {"name": name}, "rules": rules})
        assert answer.status_code == 201, answer.text
        await self.server.cache.fresh()


@asynccontextmanager
async def made(server: Server, tmp_path: Path, *flags: str) -> AsyncIterator[Cluster]:
    (tmp_path / "tokens").write_text(TOKENS)
    given = [f"--token-auth-file={tmp_path / 'tokens'}", f"--cert-dir={tmp_path}", *flags]
    access = Access.of(from_args(parser().parse_args(given)), server.verbs)
    discovery = Discovery()
    handlers = Handlers(server.verbs, server.cache, server.nodes, access=access)
    app = Secure(App(Api(handlers, discovery), pages(discovery, {})), access)
    yield Cluster(server, app)


@pytest.fixture
async def cluster(server: Server, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with made(server, tmp_path, "--authorization-mode=RBAC") as cluster:
        await policy.ensure(server.verbs)
        await server.cache.fresh()
        yield cluster


REFUSED: dict[str, tuple[str, str, str, dict[str, Any], str]] = {
    "list in a namespace": (
        "alice", "GET", f"{CORE}/pods", {"kind": "pods"},
        'pods is forbidden: User "alice" cannot list resource "pods" in API group "" in the namespace "default"',
    ),
    "list everywhere": (
        "alice", "GET", "/api/v1/pods", {"kind": "pods"},
        'pods is forbidden: User "alice" cannot list resource "pods" in API group "" at the cluster scope',
    ),
    "watch": (
        "alice", "GET", f"{CORE}/pods?watch=1", {"kind": "pods"},
        'pods is forbidden: User "alice" cannot watch resource "pods" in API group "" in the namespace "default"',
    ),
    "one of a group": (
        "alice", "DELETE", "/apis/apps/v1/namespaces/default/deployments/d",
        {"name": "d", "group": "apps", "kind": "deployments"},
        'deployments.apps "d" is forbidden: User "alice" cannot delete resource "deployments" in API group "apps" in '
        'the namespace "default"',
    ),
    "a subresource": (
        "bob", "POST", f"{CORE}/pods/p/exec", {"name": "p", "kind": "pods"},
        'pods "p" is forbidden: User "bob" cannot create resource "pods/exec" in API group "" in the namespace '
        '"default"',
    ),
    "another path": (
        "bob", "GET", "/metrics", {}, 'forbidden: User "bob" cannot get path "/metrics"',
    ),
    "anonymous": (
        "", "GET", "/api", {}, 'forbidden: User "system:anonymous" cannot get path "/api"',
    ),
}  # fmt: skip


@pytest.mark.parametrize(("user", "method", "path", "details", "message"), REFUSED.values(), ids=REFUSED)
async def test_what_nobody_has_allowed_is_forbidden(
    cluster: Cluster, user: str, method: str, path: str, details: dict[str, Any], message: str
) -> None:
    answer = await cluster[user].request(method, path)
    assert answer.json() == {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": "Forbidden", "details": details, "code": 403,
    }  # fmt: skip


async def test_what_everybody_may(cluster: Cluster) -> None:
    assert (await cluster[""].get("/version")).status_code == 200
    for path in ("/api", "/apis", "/api/v1", "/openapi/v3", "/version"):
        assert (await cluster["bob"].get(path)).status_code == 200, path
    assert (await cluster["root"].get("/metrics")).status_code == 200


async def test_a_role_in_a_namespace_is_worth_nothing_elsewhere(cluster: Cluster) -> None:
    await cluster.give("view", "alice", namespace="default")
    assert (await cluster["alice"].get(f"{CORE}/pods")).status_code == 200
    assert (await cluster["alice"].get("/api/v1/namespaces/default")).status_code == 200
    assert (await cluster["alice"].get(f"{CORE}/secrets")).status_code == 403
    assert (await cluster["alice"].get("/api/v1/namespaces/kube-system/pods")).status_code == 403
    assert (await cluster["alice"].get("/api/v1/pods")).status_code == 403
    assert (await cluster["bob"].get(f"{CORE}/pods")).status_code == 403


async def test_a_binding_that_goes_takes_the_right_with_it(cluster: Cluster) -> None:
    await cluster.give("view", "alice")
    assert (await cluster["alice"].get("/api/v1/pods")).status_code == 200
    await cluster["root"].delete(f"{RBAC}/clusterrolebindings/view-to-alice")
    await cluster.server.cache.fresh()
    assert (await cluster["alice"].get("/api/v1/pods")).status_code == 403


async def test_a_role_that_is_missing_is_named(cluster: Cluster) -> None:
    await cluster.give("no-such-role", "alice")
    message = (await cluster["alice"].get("/api/v1/pods")).json()["message"]
    assert message.endswith(
        'at the cluster scope: RBAC: clusterrole.rbac.authorization.k8s.io "no-such-role" not found'
    )


async def test_reviews_tell_what_is_so(cluster: Cluster) -> None:
    await cluster.give("view", "alice", namespace="default")
    review = {"spec": {"resourceAttributes": {"namespace": "default", "verb": "list", "resource": "pods"}}}
    path = "/apis/authorization.k8s.io/v1"
    status = (await cluster["alice"].post(f"{path}/selfsubjectaccessreviews", json=review)).json()["status"]
    reason = 'RBAC: allowed by RoleBinding "view-to-alice/default" of ClusterRole "view" to User "alice"'
    assert status == {"allowed": True, "reason": reason}
    status = (await cluster["bob"].post(f"{path}/selfsubjectaccessreviews", json=review)).json()["status"]
    assert status == {"allowed": False}
    review["spec"]["user"] = "alice"  # type: ignore[assignment]
    assert (await cluster["bob"].post(f"{path}/subjectaccessreviews", json=review)).status_code == 403
    for plural in ("subjectaccessreviews", "namespaces/default/localsubjectaccessreviews"):
        answer = await cluster["root"].post(f"{path}/{plural}", json=review)
        assert answer.json()["status"] == {"allowed": True, "reason": reason}, answer.text
    rules = (
        await cluster["alice"].post(f"{path}/selfsubjectrulesreviews", json={"spec": {"namespace": "default"}})
    ).json()
    assert {"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["namespaces"]} in rules["status"][
        "resourceRules"
    ]


async def test_nobody_gives_away_what_they_have_not(cluster: Cluster) -> None:
    await cluster.give("admin", "alice", namespace="default")
    roles, bindings = f"{RBAC}/namespaces/default/roles", f"{RBAC}/namespaces/default/rolebindings"
    mine = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    answer = await cluster["alice"].post(roles, json={"metadata": {"name": "mine"}, "rules": [mine]})
    assert answer.status_code == 201, answer.text
    more = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "delete"]}
    answer = await cluster["alice"].post(roles, json={"metadata": {"name": "more"}, "rules": [mine, more]})
    assert answer.json()["message"] == (
        'roles.rbac.authorization.k8s.io "more" is forbidden: user "alice" (groups=["devs" "system:authenticated"]) is '
        "attempting to grant RBAC permissions not currently held:\n"
        '{APIGroups:[""], Resources:["nodes"], Verbs:["get" "delete"]}'
    )
    patch = {"rules": [more]}
    headers = {"content-type": "application/merge-patch+json"}
    assert (await cluster["alice"].patch(f"{roles}/mine", json=patch, headers=headers)).status_code == 403

    def binding(role: str) -> dict[str, Any]:
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        return {"metadata": {"name": f"to-{role}"}, "roleRef": reference, "subjects": []}

    assert (await cluster["alice"].post(bindings, json=binding("edit"))).status_code == 201
    answer = await cluster["alice"].post(bindings, json=binding("cluster-admin"))
    assert answer.status_code == 403
    assert '{APIGroups:["*"], Resources:["*"], Verbs:["*"]}' in answer.json()["message"]
    await cluster.role("binder", {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"],
                                  "resourceNames": ["cluster-admin"], "verbs": ["bind"]})  # fmt: skip
    await cluster.give("binder", "alice")
    assert (await cluster["alice"].post(bindings, json=binding("cluster-admin"))).status_code == 201


async def test_the_role_of_a_binding_does_not_change(cluster: Cluster) -> None:
    await cluster.give("view", "alice", namespace="default")
    path = f"{RBAC}/namespaces/default/rolebindings/view-to-alice"
    changed = (await cluster["root"].get(path)).json()
    changed["roleRef"]["name"] = "edit"
    answer = await cluster["root"].put(path, json=changed)
    assert answer.status_code == 422
    assert "roleRef: Invalid value" in answer.json()["message"]
    assert answer.json()["message"].endswith("cannot change roleRef")


GROUP = "rbac.authorization.k8s.io"
BINDINGS = f"{RBAC}/namespaces/default/rolebindings"


def binding(*subjects: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "view"}, "subjects": subjects}


async def test_the_groups_of_role_users_and_groups_are_filled_in(http: httpx.AsyncClient) -> None:
    subjects = [{"kind": kind, "name": "joe"} for kind in ("User", "Group", "ServiceAccount")]
    made = (await http.post(BINDINGS, json=binding(*subjects))).json()
    assert made["roleRef"]["apiGroup"] == GROUP
    assert [subject.get("apiGroup") for subject in made["subjects"]] == [GROUP, GROUP, None]
    put = await http.put(f"{BINDINGS}/b", json=binding(*subjects[:1]))
    assert put.json()["subjects"] == [{**subjects[0], "apiGroup": GROUP}]


@pytest.mark.parametrize(
    ("subject", "why"),
    [
        pytest.param(
            {"kind": "User", "name": "joe", "apiGroup": "apps"},
            f'subjects[0].apiGroup: Unsupported value: "apps": supported values: "{GROUP}"',
            id="a user of another group",
        ),
        pytest.param(
            {"kind": "ServiceAccount", "name": "joe", "apiGroup": GROUP},
            f'subjects[0].apiGroup: Unsupported value: "{GROUP}": supported values: ""',
            id="an account has no group",
        ),
        pytest.param(
            {"kind": "ServiceAccount", "name": "Joe_"},
            'subjects[0].name: Invalid value: "Joe_": a lowercase RFC 1123 subdomain must consist of',
            id="an account that cannot be",
        ),
        pytest.param(
            {"kind": "Group"},
            'subjects[0].name: Invalid value: "": group name cannot be empty',
            id="nobody",
        ),
    ],
)
async def test_a_subject_that_can_be_nobody_is_refused(
    http: httpx.AsyncClient, subject: dict[str, Any], why: str
) -> None:
    answer = await http.post(BINDINGS, json=binding(subject))
    assert answer.status_code == 422
    assert why in answer.json()["message"]


async def test_acting_as_another_takes_the_right_to(cluster: Cluster) -> None:
    whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    headers = {"impersonate-user": "bob", "impersonate-group": "devs"}
    answer = await cluster["alice"].post(whoami, json={}, headers=headers)
    assert answer.json()["message"] == (
        'users "bob" is forbidden: User "alice" cannot impersonate resource "users" in API group "" at the cluster '
        "scope"
    )
    await cluster.role("as-bob", {"apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"],
                                  "verbs": ["impersonate"]})  # fmt: skip
    await cluster.give("as-bob", "alice")
    answer = await cluster["alice"].post(whoami, json={}, headers=headers)
    assert answer.json()["message"].startswith('groups "devs" is forbidden: User "alice" cannot impersonate')
    answer = await cluster["alice"].post(whoami, json={}, headers={"impersonate-user": "bob"})
    assert answer.json()["status"]["userInfo"] == {"username": "bob", "groups": ["system:authenticated"]}
    answer = await cluster["root"].post(whoami, json={}, headers={"impersonate-user": "system:serviceaccount:ns:sa"})
    assert answer.json()["status"]["userInfo"]["groups"] == [
        "system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated",
    ]  # fmt: skip
    answer = await cluster["root"].get("/api/v1/pods", headers={"impersonate-user": "bob"})
    assert answer.status_code == 403, "what follows is bob's"


async def test_a_service_account_has_what_its_binding_says(cluster: Cluster) -> None:
    body = {
        "metadata": {"name": "builders"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "builder"}],
    }
    await cluster["root"].post(f"{RBAC}/namespaces/default/rolebindings", json=body)
    await cluster.server.cache.fresh()
    headers = {"impersonate-user": "system:serviceaccount:default:builder"}
    assert (await cluster["root"].get(f"{CORE}/pods", headers=headers)).status_code == 200
    assert (await cluster["root"].get(f"{CORE}/secrets", headers=headers)).status_code == 403


async def test_the_first_roles_are_put_back_and_additions_stay(cluster: Cluster) -> None:
    path = f"{RBAC}/clusterroles/system:basic-user"
    role = (await cluster["root"].get(path)).json()
    mine = {"apiGroups": [""], "resources": ["mine"], "verbs": ["get"]}
    whole = role["rules"]
    role["rules"] = [mine, whole[0]]
    await cluster["root"].put(path, json=role)
    await cluster.server.cache.fresh()
    await policy.ensure(cluster.server.verbs)
    assert (await cluster["root"].get(path)).json()["rules"] == [mine, *whole]
    role = (await cluster["root"].get(path)).json()
    role["rules"], role["metadata"]["annotations"][policy.AUTOUPDATE] = [mine], "false"
    await cluster["root"].put(path, json=role)
    await cluster.server.cache.fresh()
    await policy.ensure(cluster.server.verbs)
    assert (await cluster["root"].get(path)).json()["rules"] == [mine]


async def test_the_other_modes(server: Server, tmp_path: Path) -> None:
    async with made(server, tmp_path, "--authorization-mode=AlwaysDeny") as denying:
        message = (await denying["bob"].get("/api/v1/pods")).json()["message"]
        assert message.endswith("at the cluster scope: Everything is forbidden.")
        assert (await denying["root"].get("/api/v1/pods")).status_code == 200, "masters may, whatever the mode"
    async with made(server, tmp_path) as allowing:
        assert (await allowing["bob"].get("/api/v1/pods")).status_code == 200
        assert (await allowing[""].get("/api/v1/pods")).status_code == 401, "strangers are let in nowhere"


ROOT = UserInfo(username="x")


@pytest.mark.parametrize(
    ("method", "path", "query", "wanted"),
    [
        ("GET", "/api/v1/namespaces/n/pods", b"", Attributes(ROOT, "list", "", "v1", "pods", "", "n")),
        ("HEAD", "/api/v1/namespaces/n/pods/p", b"", Attributes(ROOT, "get", "", "v1", "pods", "", "n", "p")),
        ("GET", "/api/v1/watch/namespaces/n/pods", b"", Attributes(ROOT, "watch", "", "v1", "pods", "", "n")),
        ("GET", "/api/v1/pods", b"watch=true&fieldSelector=metadata.name%3Dp",
         Attributes(ROOT, "watch", "", "v1", "pods", "", "", "p")),
        ("GET", "/api/v1/pods", b"fieldSelector=metadata.name!%3Dp", Attributes(ROOT, "list", "", "v1", "pods")),
        ("DELETE", "/apis/apps/v1/namespaces/n/deployments", b"",
         Attributes(ROOT, "deletecollection", "apps", "v1", "deployments", "", "n")),
        ("PUT", "/api/v1/namespaces/n", b"", Attributes(ROOT, "update", "", "v1", "namespaces", "", "n", "n")),
        ("PUT", "/api/v1/namespaces/n/finalize", b"",
         Attributes(ROOT, "update", "", "v1", "namespaces", "finalize", "n", "n")),
        ("GET", "/api/v1/namespaces/n/services/s/proxy/a/b", b"",
         Attributes(ROOT, "get", "", "v1", "services", "proxy", "n", "s")),
        ("POST", "/other", b"", Attributes(ROOT, "post", path="/other")),
        ("GET", "/api/v1/", b"", Attributes(ROOT, "get", path="/api/v1/")),
    ],
)  # fmt: skip
def test_what_a_request_wants(method: str, path: str, query: bytes, wanted: Attributes) -> None:
    assert of_request(ROOT, method, path, query) == wanted


def pods(*verbs: str, names: tuple[str, ...] = ()) -> Rule:
    return Rule(verbs, ("",), ("pods",), names)


@pytest.mark.parametrize(
    ("owned", "given", "missing"),
    [
        pytest.param([pods("get", "list")], pods("get"), "", id="less"),
        pytest.param([pods("get"), pods("list")], pods("get", "list"), "", id="of two rules"),
        pytest.param([pods("*")], pods("get"), "", id="any verb"),
        pytest.param([pods("get", names=("a",))], pods("get"), '{APIGroups:[""], Resources:["pods"], Verbs:["get"]}',
                     id="one name is not all"),
        pytest.param([pods("get")], pods("get", names=("a",)), "", id="all names are one"),
        pytest.param([Rule(("get",), ("",), ("*/log",))], Rule(("get",), ("",), ("pods/log",)), "",
                     id="a subresource of any"),
        pytest.param([Rule(("get",), urls=("/a/*",))], Rule(("get",), urls=("/a/b", "/c")),
                     '{NonResourceURLs:["/c"], Verbs:["get"]}', id="paths"),
        pytest.param([pods("get")], pods("*"), '{APIGroups:[""], Resources:["pods"], Verbs:["*"]}', id="every verb"),
    ],
)  # fmt: skip
def test_what_is_given_and_not_owned(owned: list[Rule], given: Rule, missing: str) -> None:
    assert in_words(missing_rights(owned, [given])) == missing


async def test_before_the_roles_are_known_nobody_is_told_that_he_may_not(tmp_path: Path) -> None:
    async with made(Server(MemoryStore()), tmp_path, "--authorization-mode=RBAC") as cluster:
        answer = await cluster["alice"].get(f"{CORE}/pods")
        assert (answer.status_code, answer.json()["message"]) == (503, "storage is (re)initializing")
        assert answer.headers["retry-after"] == "1"


async def test_a_store_that_is_away_when_a_token_is_looked_at_is_told_of(server: Server, tmp_path: Path) -> None:
    async with made(server, tmp_path, "--authorization-mode=RBAC") as cluster:
        body = {"metadata": {"name": "robot"}}
        assert (await cluster["root"].post(f"{CORE}/serviceaccounts", json=body)).status_code == 201
        issued = await cluster["root"].post(f"{CORE}/serviceaccounts/robot/token", json={"spec": {}})
        assert (await cluster["root"].delete(f"{CORE}/serviceaccounts/robot")).status_code == 200
        await server.cache.fresh()
        server.store.down = True
        headers = {"authorization": f"Bearer {issued.json()['status']['token']}"}
        answer = await cluster[""].get(f"{CORE}/pods", headers=headers)
        server.store.down = False
        assert (answer.status_code, answer.json()["reason"]) == (503, "ServiceUnavailable")
        assert answer.headers["retry-after"] == "1"
