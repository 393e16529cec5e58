"""What a document and a lease are to their users: a state, and what each answer says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from .search import UNKNOWN, Unknown

__all__ = [
    "Acquire",
    "AppendText",
    "DocumentAnswer",
    "DocumentState",
    "DocumentAsked",
    "Granted",
    "LeaseAnswer",
    "LeaseAsked",
    "LeaseState",
    "NEW_DOCUMENT",
    "NEW_LEASE",
    "ReadText",
    "Refused",
    "Release",
    "Released",
    "Seen",
    "WriteText",
    "Written",
    "step_document",
    "step_lease",
]

# ---- documents -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DocumentState:
    """A document as its readers see it; revision 0 is none at all."""

    revision: int
    text: str


NEW_DOCUMENT = DocumentState(0, "")


@dataclass(frozen=True, slots=True)
class ReadText:
    """Read what is current."""


@dataclass(frozen=True, slots=True)
class WriteText:
    """Replace the text; only what is revision `if_revision`, if that is given."""

    text: str
    if_revision: int | None


@dataclass(frozen=True, slots=True)
class AppendText:
    """Add to the text, or begin it."""

    text: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What a reader got."""

    revision: int
    text: str


@dataclass(frozen=True, slots=True)
class Written:
    """What a writer was told: its own revision."""

    revision: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A conflict: this is the revision that was current. Of a lease: somebody has it."""

    current: int = 0


DocumentAsked: TypeAlias = ReadText | WriteText | AppendText
DocumentAnswer: TypeAlias = Seen | Written | Refused


def step_document(
    state: DocumentState, asked: DocumentAsked, answered: DocumentAnswer | Unknown
) -> DocumentState | None:
    """Return a document after an operation that was answered like this, None if it can not be."""
    match asked:
        case ReadText():
            seen = answered is UNKNOWN or answered == Seen(state.revision, state.text)
            return state if seen else None
        case WriteText(text, if_revision) if if_revision not in (None, state.revision):
            refused = answered is UNKNOWN or answered == Refused(state.revision)
            return state if refused else None
        case WriteText(text):
            after = DocumentState(state.revision + 1, text)
        case AppendText(text):
            after = DocumentState(state.revision + 1, state.text + text)
    return after if answered is UNKNOWN or answered == Written(after.revision) else None


# ---- leases ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LeaseState:
    """An exclusive lease: the token of its holder, 0 if there is none, and the newest so far."""

    held: int
    newest: int


NEW_LEASE = LeaseState(0, 0)


@dataclass(frozen=True, slots=True)
class Acquire:
    """Get it now or not at all."""


@dataclass(frozen=True, slots=True)
class Release:
    """Let go of it."""

    token: int


@dataclass(frozen=True, slots=True)
class Granted:
    """It is the caller's."""

    token: int


@dataclass(frozen=True, slots=True)
class Released:
    """It is nobody's."""


LeaseAsked: TypeAlias = Acquire | Release
LeaseAnswer: TypeAlias = Granted | Released | Refused


def step_lease(
    state: LeaseState, asked: LeaseAsked, answered: LeaseAnswer | Unknown
) -> LeaseState | None:
    """Return a lease after an operation that was answered like this, None if it can not be.

    Nobody gives up waiting for an answer about a lease here, so none is unknown.
    """
    match asked, answered:
        case Acquire(), Granted(token) if not state.held and token > state.newest:
            return LeaseState(token, token)
        case Acquire(), Refused() if state.held:
            return state
        case Release(token), Released() if state.held == token:
            return LeaseState(0, state.newest)
        case _:
            return None
