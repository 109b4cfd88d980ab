"""Who is asking: by certificate, by token, or nobody."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from kube.api import errors
from kube.api.authentication import UserInfo
from kube.apiserver import authentication
from kube.apiserver.authentication import ANONYMOUS, CREDENTIAL_ID, Authentication, Peer
from kube.daemon import Fatal

TOKENS = """\
# a comment

abc,alice,1001,"devs, ops"
def,bob,1002
"""


@pytest.fixture
def ways(tmp_path: Path) -> Authentication:
    (tmp_path / "tokens").write_text(TOKENS)
    return Authentication([authentication.token_file(tmp_path / "tokens")])


def peer(*subject: tuple[str, str]) -> Peer:
    return Peer({"subject": tuple((pair,) for pair in subject)}, b"der")


@pytest.mark.parametrize(
    ("headers", "user"),
    [
        pytest.param([], ANONYMOUS, id="nothing is shown"),
        pytest.param([(b"authorization", b"Basic YTpi")], ANONYMOUS, id="another scheme is not looked at"),
        pytest.param([(b"authorization", b"Bearer ")], ANONYMOUS, id="an empty token is none"),
        pytest.param(
            [(b"authorization", b"Bearer abc")],
            UserInfo(username="alice", uid="1001", groups=["devs", "ops", "system:authenticated"]),
            id="token",
        ),
        pytest.param(
            [(b"authorization", b"bearer  def")],
            UserInfo(username="bob", uid="1002", groups=["system:authenticated"]),
            id="the scheme in small letters",
        ),
        pytest.param(
            [(b"sec-websocket-protocol", b"v4.channel.k8s.io, base64url.bearer.authorization.k8s.io."
              + base64.urlsafe_b64encode(b"def").rstrip(b"="))],
            UserInfo(username="bob", uid="1002", groups=["system:authenticated"]),
            id="a browser's WebSocket",
        ),
    ],
)  # fmt: skip
async def test_the_user_of_a_request(ways: Authentication, headers: list[tuple[bytes, bytes]], user: UserInfo) -> None:
    assert await ways.user(None, headers) == user


async def test_a_wrong_token_is_refused_though_anonymous_clients_are_not(ways: Authentication) -> None:
    with pytest.raises(errors.Unauthorized) as refused:
        await ways.user(None, [(b"authorization", b"Bearer wrong")])
    assert refused.value.to_dict() == {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "Unauthorized", "reason": "Unauthorized", "code": 401,
    }  # fmt: skip


async def test_without_anonymous_clients_who_shows_nothing_is_refused() -> None:
    with pytest.raises(errors.Unauthorized):
        await Authentication(anonymous=False).user(None, [])


async def test_the_certificate_names_the_user_and_its_groups(ways: Authentication) -> None:
    shown = peer(("countryName", "X"), ("organizationName", "qa"), ("organizationName", "dev"), ("commonName", "carol"))
    user = await ways.user(shown, [(b"authorization", b"Bearer wrong")])
    assert (user.username, user.groups) == ("carol", ["qa", "dev", "system:authenticated"])
    (credential,) = user.extra[CREDENTIAL_ID]
    assert credential.startswith("X509SHA256=")


async def test_a_certificate_without_a_name_is_nobodys(ways: Authentication) -> None:
    assert await ways.user(peer(("organizationName", "qa")), []) == ANONYMOUS


@pytest.mark.parametrize("line", ["abc", "abc,alice", ",alice,1", "abc,,1"])
def test_a_line_that_is_no_token_is_told_by_its_number(tmp_path: Path, line: str) -> None:
    (tmp_path / "tokens").write_text(f"x,y,z\n{line}\n")
    with pytest.raises(Fatal, match=f"cannot use --token-auth-file={tmp_path / 'tokens'}: line 2 is not"):
        authentication.token_file(tmp_path / "tokens")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match=r"cannot read --token-auth-file=.*: no such file or directory"):
        authentication.token_file(tmp_path / "none")
