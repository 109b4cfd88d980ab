"""Bytes in base64, read as Go reads them."""

from __future__ import annotations

import pytest

from kube.api import binary, decode
from kube.api.core import Secret
from kube.api.errors import BadRequest


@pytest.mark.parametrize(
    ("text", "content"),
    [("", b""), ("YQ==", b"a"), ("YWI=", b"ab"), ("YWJj", b"abc"), ("YW\nJj\r\n", b"abc"), ("YR==", b"a")],
)
def test_what_is_read(text: str, content: bytes) -> None:
    assert binary.decoded(text) == content


@pytest.mark.parametrize(
    ("text", "at"),
    [("not base64!", 3), ("YQ", 0), ("YWJjZ", 4), ("YQ=", 3), ("YQ=a", 2), ("Y===", 1), ("YQ==YQ==", 4), ("=", 0),
     ("YWI=x", 4), ("YW-_", 2)],
)  # fmt: skip
def test_where_it_is_wrong(text: str, at: int) -> None:
    with pytest.raises(ValueError, match=f"^illegal base64 data at input byte {at}$"):
        binary.decoded(text)


def test_a_body_with_bad_base64_is_refused_in_upstreams_words() -> None:
    with pytest.raises(BadRequest) as caught:
        decode.decode(Secret, {"metadata": {"name": "a"}, "data": {"k": "plain text"}})
    assert caught.value.message == (
        'Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte 5'
    )


def test_what_is_held_is_canonical() -> None:
    assert Secret.parse({"data": {"k": "YWJj\nZGVm"}}).data == {"k": "YWJjZGVm"}
