"""Bytes on the wire: base64, read as Go's decoder reads it and held in its one canonical form."""

from __future__ import annotations

import binascii
from typing import Annotated

from pydantic import BeforeValidator, Field

_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


def decoded(text: str) -> bytes:
    """The bytes that a base64 text stands for; line ends in it do not count. Raises ValueError in Go's words."""
    try:
        return binascii.a2b_base64(text.replace("\n", "").replace("\r", "").encode(), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError(f"illegal base64 data at input byte {_fault(text)}") from None


def encoded(content: bytes) -> str:
    """The bytes as base64."""
    return binascii.b2a_base64(content, newline=False).decode()


def _fault(text: str) -> int:
    """Where Go's decoder gives up (encoding/base64 decodeQuantum)."""
    filled = 0
    for at, letter in enumerate(text):
        if letter in "\r\n":
            continue
        if letter in _LETTERS:
            filled = (filled + 1) % 4
            continue
        if letter != "=" or filled < 2:
            return at
        rest = text[at + 1 :].lstrip("\r\n")
        if filled == 3:
            return len(text) - len(rest)  # something follows the padding
        if not rest:
            return len(text)
        behind = len(text) - len(rest)
        return behind - 1 if rest[0] != "=" else behind + 1
    return len(text) - filled


def _canonical(value: object) -> object:
    return encoded(decoded(value)) if isinstance(value, str) else value


Base64 = Annotated[str, BeforeValidator(_canonical), Field(json_schema_extra={"format": "byte"})]
"""Bytes, as canonical base64."""
