"""What a briefing is made from, besides the sight: the questions that it asks of the journal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from agent_trace_protocol import Actor

from .digest import Digest
from .records import BasedOn, Record, SessionClosed, SessionOpened
from .state import DocumentState

__all__ = ["DocumentNote", "PastSession", "Source"]


@dataclass(slots=True, frozen=True)
class PastSession:
    """A session on record."""

    opened: Record
    closed: Record | None
    """None if it is open."""

    @property
    def id(self) -> str:
        return self.opened.session

    @property
    def reason(self) -> str:
        """Why it ended; empty if it did not."""
        body = None if self.closed is None else self.closed.body
        return body.reason if isinstance(body, SessionClosed) else ""

    @property
    def one_shot(self) -> bool:
        """Whether it is a single command's."""
        body = self.opened.body
        return isinstance(body, SessionOpened) and body.ephemeral


class DocumentNote(msgspec.Struct, frozen=True):
    """What is remembered of a document's newest revision."""

    digest: Digest
    based_on: tuple[BasedOn, ...]
    """What the writers of its last revisions had read."""


class Source(Protocol):
    """Where the briefing asks what the state does not hold. All answers are as of the sight."""

    def sessions_of(
        self, actor: Actor, name: str, seq: int, limit: int
    ) -> Iterable[PastSession]: ...
    def operations(self, session: int, seq: int, limit: int, before: int = 0) -> list[Record]: ...
    def notes(self, session: int, seq: int, limit: int) -> list[Record]: ...
    def count_operations(self, session: int, seq: int, limit: int) -> int: ...
    def next_grant(self, path: str, token: int, seq: int) -> Record | None: ...
    def record(self, seq: int) -> Record | None: ...
    def note_of(self, document: DocumentState) -> DocumentNote | None:
        """Return what a document says; None if its content is damaged."""
        ...
