"""A large body is sent in pieces of a good size, which together are the whole."""

from __future__ import annotations

import pytest

from kube.apiserver.request import CHUNK, Large


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param([], id="nothing"),
        pytest.param([1], id="one"),
        pytest.param([3] * 7, id="few"),
        pytest.param([1400] * 5000, id="many"),
        pytest.param([10] * 10_000 + [CHUNK] * 20 + [10] * 10_000, id="large ones among small ones"),
        pytest.param([9 * CHUNK, 1, 9 * CHUNK], id="larger than a piece"),
    ],
)
def test_pieces_are_the_whole(sizes: list[int]) -> None:
    parts = [bytes([65 + n % 26]) * size for n, size in enumerate(sizes)]
    large = Large(b'{"items":[', parts, b"]}\n")
    chunks = list(large.chunks())
    assert b"".join(chunks) == b'{"items":[' + b",".join(parts) + b"]}\n"
    assert large.size == sum(map(len, chunks))
    assert max(map(len, chunks)) <= max(5 * CHUNK, *sizes, 0) + 1
    assert len(chunks) <= 2 + len(sizes)
