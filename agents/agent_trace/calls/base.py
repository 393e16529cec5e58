"""What every call of an agent stands on: its session, its identity, and the leases it holds."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, TypeVar

from agent_trace.config import Identity
from agent_trace.leases import HeldLeases
from agent_trace.session import Session
from agent_trace_protocol import InvalidRequest, MalformedMessage, Reply, Request

__all__ = ["Calls", "choice", "content"]

BEATS_OF_LEASE: Final = 4
"""Signs of life within the duration of the shortest lease: some may get lost."""

_Answer = TypeVar("_Answer")
_Choice = TypeVar("_Choice", bound=StrEnum)


class Calls:
    """A session to ask with. The subjects of this package derive from it, `Agent` from them."""

    def __init__(self, session: Session, identity: Identity, *, confirm: bool = False) -> None:
        self._session = session
        self._identity = identity
        self._confirm = confirm
        self._held = HeldLeases(session.opened.leases)
        self._keep_alive()

    @property
    def seq(self) -> int:
        """The last durable operation of the store that this session has heard of."""
        return self._session.seq

    def _keep_alive(self) -> None:
        shortest = self._held.ttl_seconds_min
        self._session.beat_every(None if shortest is None else shortest / BEATS_OF_LEASE)

    async def _ask(self, request: Request, expected: type[_Answer]) -> _Answer:
        reply: Reply = await self._session.request(request)
        if not isinstance(reply, expected):
            raise MalformedMessage(
                f"{type(request).__name__} was answered with {type(reply).__name__}"
            )
        return reply


def content(text: str | bytes) -> bytes:
    """Return a text as the bytes of a document.

    Raises:
        InvalidRequest: it has no form in UTF-8.
    """
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"the text can not be written as UTF-8: {error}") from error


def choice(choices: type[_Choice], value: str) -> _Choice:
    """Return the member of an enumeration that a caller named.

    Raises:
        InvalidRequest: it has none of this name; the message lists them.
    """
    try:
        return choices(value)
    except ValueError as error:
        allowed = ", ".join(choices)
        raise InvalidRequest(f"{value!r} is not one of {allowed}") from error
