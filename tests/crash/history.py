"""What the clients note down: every call before it is sent, every answer after it came.

A call's time is read before the send and an answer's after the receipt, on the clock all processes
share. So an answer noted earlier than a call was noted did arrive before that call was made.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from agent_trace_protocol import Actor, Reply, Transact, decode_reply, decode_request

__all__ = ["Answer", "Begun", "Call", "LogReader", "LogWriter", "Noticed", "Resumed", "decode_call"]


class Begun(msgspec.Struct, frozen=True, tag="begun"):
    """A client process speaks for a session: the first line of its log."""

    name: str
    actor: Actor
    key: bytes
    session: str


class Call(msgspec.Struct, frozen=True, tag="call"):
    """A request is about to be sent for the first time."""

    number: int
    sent: float
    body: bytes
    """The request as it travels."""
    sure: bool
    """Nobody but this client can make it fail, so it must succeed."""


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """The first answer to a request came."""

    number: int
    received: float
    seq: int
    """The last durable operation, as the envelope says."""
    epoch: int
    body: bytes

    @property
    def reply(self) -> Reply:
        """The answer itself."""
        return decode_reply(self.body)


class Resumed(msgspec.Struct, frozen=True, tag="resumed"):
    """The session was opened, or opened again."""

    next_number: int
    """What the coordinator says is the smallest number not used yet."""


class Noticed(msgspec.Struct, frozen=True, tag="noticed"):
    """The client itself saw something that must not be."""

    number: int
    since: float
    """When the looking began."""
    until: float
    """When it ended."""
    problem: str


Line = Begun | Resumed | Call | Answer | Noticed

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder[Line](Line)


def decode_call(call: Call) -> Transact:
    """Return the request of a call."""
    request = decode_request(call.body)
    assert isinstance(request, Transact)
    return request


class LogWriter:
    """Appends lines, each with one write, so that a kill leaves whole lines."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, line: Line) -> None:
        """Write a line; it survives the end of this process."""
        os.write(self._descriptor, _encoder.encode(line) + b"\n")


class LogReader:
    """Reads what has been added to a log since the last time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> Iterator[Line]:
        """Yield the whole lines that were not read before."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return
        whole, newline, _ = data.rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        for line in whole.splitlines():
            yield _decoder.decode(line)
