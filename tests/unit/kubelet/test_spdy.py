"""SPDY/3.1: the bytes of the specification, and that what is said is what is heard."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.kubelet import spdy

streams = st.integers(1, 2**31 - 1)
numbers = st.integers(0, 2**31 - 1)
headers = st.dictionaries(st.text(max_size=20), st.text(max_size=50), max_size=5)
frames: st.SearchStrategy[spdy.Frame] = st.one_of(
    st.builds(spdy.SynStream, streams, headers, st.booleans(), st.booleans(), numbers, st.integers(0, 7)),
    st.builds(spdy.SynReply, streams, headers, st.booleans()),
    st.builds(spdy.Headers, streams, headers, st.booleans()),
    st.builds(spdy.RstStream, streams, numbers),
    st.builds(spdy.Settings, st.dictionaries(st.integers(0, 2**24 - 1), numbers, max_size=3)),
    st.builds(spdy.Ping, numbers),
    st.builds(spdy.GoAway, numbers, numbers),
    st.builds(spdy.WindowUpdate, streams, numbers),
    st.builds(spdy.Data, streams, st.binary(max_size=200), st.booleans()),
)


def whole(frames: list[spdy.Frame]) -> list[spdy.Frame]:
    """Without the data that is empty, and with pieces of data put together."""
    out: list[spdy.Frame] = []
    for frame in frames:
        last = out[-1] if out else None
        if (
            isinstance(frame, spdy.Data)
            and isinstance(last, spdy.Data)
            and frame.stream == last.stream
            and not last.fin
        ):
            out[-1] = spdy.Data(frame.stream, last.data + frame.data, frame.fin)
            continue
        out.append(frame)
    return [frame for frame in out if not isinstance(frame, spdy.Data) or frame.data or frame.fin]


@given(st.lists(frames, max_size=8), st.lists(st.integers(1, 50), max_size=30))
def test_what_is_encoded_is_decoded_however_the_bytes_are_cut(sent: list[spdy.Frame], cuts: list[int]) -> None:
    encoder, decoder = spdy.Encoder(), spdy.Decoder()
    data = b"".join(encoder.encode(frame) for frame in sent)
    got: list[spdy.Frame] = []
    for cut in cuts:
        got += decoder.feed(data[:cut])
        data = data[cut:]
    got += decoder.feed(data)
    assert whole(got) == whole(sent)


@pytest.mark.parametrize(
    ("frame", "wire"),
    [
        pytest.param(spdy.Ping(1), "80030006 00000004 00000001", id="ping"),
        pytest.param(spdy.RstStream(3, 5), "80030003 00000008 00000003 00000005", id="rst_stream"),
        pytest.param(spdy.GoAway(7, 0), "80030007 00000008 00000007 00000000", id="goaway"),
        pytest.param(spdy.WindowUpdate(1, 9), "80030009 00000008 00000001 00000009", id="window_update"),
        pytest.param(spdy.Settings({4: 100}), "80030004 0000000c 00000001 00000004 00000064", id="settings"),
        pytest.param(spdy.Data(5, b"hi"), "00000005 00000002 6869", id="data"),
        pytest.param(spdy.Data(5, b"", fin=True), "00000005 01000000", id="data that is the last"),
    ],
)
def test_a_frame_has_the_bytes_of_the_specification(frame: spdy.Frame, wire: str) -> None:
    data = bytes.fromhex(wire)
    assert spdy.Encoder().encode(frame) == data
    assert spdy.Decoder().feed(data) == [frame]


def test_the_dictionary_is_that_of_spdy_3() -> None:
    assert len(spdy.DICTIONARY) == 1423
    assert zlib.adler32(spdy.DICTIONARY) == 0xE3C6A7C2


def test_headers_begin_as_the_specification_has_them() -> None:
    block = spdy.Encoder().encode(spdy.SynReply(1, {"a": "b"}))[12:]
    assert block[2:6] == bytes.fromhex("e3c6a7c2"), "zlib names the dictionary by its checksum"


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(bytes.fromhex("80020006 00000004 00000001"), id="another version"),
        pytest.param(bytes.fromhex("80030006 00000002 0000"), id="a ping that is too short"),
        pytest.param(bytes.fromhex("80030001 00ffffff"), id="a control frame that is too large"),
        pytest.param(bytes.fromhex("80030002 00000008 00000001 deadbeef"), id="headers that are no zlib"),
    ],
)
def test_what_is_not_spdy_is_refused(wire: bytes) -> None:
    with pytest.raises(spdy.ProtocolError):
        spdy.Decoder().feed(wire)


def test_headers_that_inflate_without_end_are_refused() -> None:
    deflate = zlib.compressobj(zdict=spdy.DICTIONARY)
    block = deflate.compress(b"\0" * (spdy.MAX_HEADERS * 2)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    payload = b"\0\0\0\1" + block
    with pytest.raises(spdy.ProtocolError):
        spdy.Decoder().feed(b"\x80\x03\x00\x02" + len(payload).to_bytes(4, "big") + payload)


def test_a_frame_of_an_unknown_type_is_passed_over() -> None:
    assert spdy.Decoder().feed(bytes.fromhex("800300ff 00000001 00") + bytes.fromhex("80030006 00000004 00000001")) == [
        spdy.Ping(1)
    ]
