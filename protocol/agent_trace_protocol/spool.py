"""How messages travel as files, where a sandbox denies sockets: names, and what is in a file.

A connection is a directory in the spool, made by the client. The client's messages are the files
`q.1`, `q.2` ... in it, the coordinator's are `a.1`, `a.2` ...; each is written under another name
and renamed, read once by the other side, and removed by it. So nothing has to be listed to be
found, order is the numbers', and a file that nobody expects is never opened.

A bell is a named pipe: a byte in it says "look", and its end says that the other side is gone. It
makes the way fast; without it both sides look from time to time. The coordinator's bell lies in the
spool, a client's in its connection's directory. Strings and bytes only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from .errors import MalformedMessage, TooLarge
from .limits import BODY_BYTES_MAX, ENVELOPE_BYTES_MAX

__all__ = [
    "BELL",
    "FILE_BYTES_MAX",
    "answer_name",
    "is_connection_name",
    "pack",
    "request_name",
    "unpack",
]

BELL: Final = "bell"
"""The name of a bell, in the spool and in a connection's directory."""

FILE_BYTES_MAX: Final = BODY_BYTES_MAX + ENVELOPE_BYTES_MAX + 64
"""Bytes of a message as a file: the two frames and what is around them."""

_FRAMES_MAX: Final = 8
_CONNECTION: Final = re.compile(r"[0-9a-f]{32}")
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(list[bytes])


def is_connection_name(name: str) -> bool:
    """Return whether a directory of this name is a connection: 128 random bits in hexadecimal."""
    return _CONNECTION.fullmatch(name) is not None


def request_name(number: int) -> str:
    """Return the name of the client's message with this number; the first is 1."""
    return f"q.{number}"


def answer_name(number: int) -> str:
    """Return the name of the coordinator's message with this number; the first is 1."""
    return f"a.{number}"


def pack(frames: Sequence[bytes]) -> bytes:
    """Return the bytes of a message as a file."""
    return _encoder.encode(list(frames))


def unpack(data: bytes) -> list[bytes]:
    """Return the frames of a message; raises `MalformedMessage` or `TooLarge`."""
    if len(data) > FILE_BYTES_MAX:
        raise TooLarge(f"the message has {len(data)} bytes; the limit is {FILE_BYTES_MAX}")
    try:
        frames = _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedMessage("the file holds no message") from error
    if len(frames) > _FRAMES_MAX:
        raise MalformedMessage(f"a message has two frames, not {len(frames)}")
    return frames
