"""What must be done, decided by the core, done by the shell.

The order law: effects run in list order, and nothing that reveals a change leaves before the
`Append` that makes it durable has succeeded. So every answer names `after`, the seq that must be
durable first; an answer whose `after` is durable already may leave at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent_trace_protocol import Log, Reply, Status

from .records import Entry
from .state import DocumentState

__all__ = ["Answer", "AnswerContent", "AnswerQuery", "Append", "Effect", "Leave"]


@dataclass(slots=True, frozen=True)
class Append:
    """Make the record and its contents durable, then commit it to git and write its files."""

    entry: Entry


@dataclass(slots=True, frozen=True)
class Answer:
    """Send a reply."""

    reply: Reply
    after: int
    in_git: bool = False
    """Wait until `after` is in git and on disk as well; a `Committed` then names the commit."""


@dataclass(slots=True, frozen=True)
class AnswerContent:
    """Look a document's content up, verify it, and send it as a `Document`."""

    document: DocumentState
    """The document as it is now."""
    revision: int
    """The revision to send; one that is not current is found in the index."""
    after: int


@dataclass(slots=True, frozen=True)
class AnswerQuery:
    """Answer from the index: history and statistics, as of `after`."""

    request: Log | Status
    document: int
    """The document that a query about one path means; 0 if it means none."""
    after: int


@dataclass(slots=True, frozen=True)
class Leave:
    """Finish the work and end the process."""


Effect = Append | Answer | AnswerContent | AnswerQuery | Leave
