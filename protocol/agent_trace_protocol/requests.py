"""What a client may ask: operations on documents, and the requests that carry them.

All structs are arrays on the wire: no keys, so no duplicate keys and no unknown names, and
half the bytes. Unknown trailing elements are refused; a newer client negotiates first.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from .limits import OPERATIONS_MAX
from .model import Action, Actor, DocumentType, SessionKind
from .scalars import Count
from .version import PROTOCOL_VERSION, PROTOCOL_VERSION_MIN

__all__ = [
    "AcceptDraft",
    "Add",
    "Append",
    "Close",
    "Delete",
    "Durability",
    "Edit",
    "Heartbeat",
    "ListDocuments",
    "Log",
    "Move",
    "Open",
    "Operation",
    "Ping",
    "Put",
    "Read",
    "Request",
    "Restore",
    "SectionEdit",
    "SectionMode",
    "Sessions",
    "Status",
    "Stop",
    "Transact",
]


class _Message(
    msgspec.Struct,
    frozen=True,
    array_like=True,
    tag=True,
    # Never on the wire (arrays have no names); it only must not be the name of a field.
    tag_field="$",
    forbid_unknown_fields=True,
):
    """Shape of all requests and operations: a tagged array that takes nothing extra."""


# ---- operations: what one change of one document may be -------------------------------------


class Put(_Message, frozen=True, tag="put"):
    """Make the document's content exactly this; create the document if there is none."""

    path: str
    content: bytes
    if_revision: Count | None = None
    """Only if the document is at this revision; 0: only if there is no such document."""
    type: DocumentType | None = None
    """The type of a document that this creates; scratch if not given."""


class Append(_Message, frozen=True, tag="append"):
    """Add to the end of the document; create it if there is none."""

    path: str
    content: bytes
    if_revision: Count | None = None
    type: DocumentType | None = None


class Edit(_Message, frozen=True, tag="edit"):
    """Replace exact text by other text."""

    path: str
    old: bytes
    """Must occur exactly once, unless `all` is set: then at least once."""
    new: bytes
    all: bool = False
    if_revision: Count | None = None


class SectionMode(StrEnum):
    """What a section edit does with the text it brings."""

    REPLACE = "replace"
    APPEND = "append"


class SectionEdit(_Message, frozen=True, tag="section"):
    """Replace the text under a Markdown heading, or add to its end."""

    path: str
    heading: str
    """The heading's text, or its line with the leading `#`s to name the level as well."""
    content: bytes
    mode: SectionMode = SectionMode.REPLACE
    if_revision: Count | None = None


class Delete(_Message, frozen=True, tag="delete"):
    """Remove the document; its history stays and `Restore` brings it back under the same id."""

    path: str
    if_revision: Count | None = None


class Move(_Message, frozen=True, tag="move"):
    """Rename the document; it keeps its id, type and history."""

    path: str
    new_path: str
    if_revision: Count | None = None


class Restore(_Message, frozen=True, tag="restore"):
    """Make an earlier revision's content the newest revision."""

    path: str
    revision: Count
    if_revision: Count | None = None


class Add(_Message, frozen=True, tag="add"):
    """Make a file that lies in the store's directory a document, with the content it has."""

    path: str
    type: DocumentType = DocumentType.SCRATCH


class AcceptDraft(_Message, frozen=True, tag="accept"):
    """Write the merge that a conflict offered."""

    draft: str


Operation = Put | Append | Edit | SectionEdit | Delete | Move | Restore | Add | AcceptDraft


# ---- requests -------------------------------------------------------------------------------


class Durability(StrEnum):
    """How far a write has got before it is acknowledged. Both survive a power cut."""

    JOURNAL = "journal"
    """Synced in the journal."""
    GIT = "git"
    """Also committed to git and written to the working tree; the answer names the commit."""


class Open(_Message, frozen=True, tag="open"):
    """Begin a session, or come back to it: the first message of every connection."""

    name: str
    """The agent's or user's name."""
    actor: Actor
    kind: SessionKind
    protocol_min: Count = PROTOCOL_VERSION_MIN
    protocol_max: Count = PROTOCOL_VERSION
    program: str = ""
    model: str = ""
    host: str = ""
    pid: Count = 0
    pid_started: Count = 0
    """The process's start time in clock ticks since boot, so that a reused pid is not mistaken."""
    takeover: bool = False
    """Supersede a live session of the same agent."""
    ephemeral: bool = False
    """A one-shot: it leaves no trace of its own unless it changes something."""


class Heartbeat(_Message, frozen=True, tag="heartbeat"):
    """Say that the session is alive."""


class Close(_Message, frozen=True, tag="close"):
    """End the session."""

    reason: str = ""


class Transact(_Message, frozen=True, tag="transact"):
    """Do the operations in order, all or nothing: one journal record, one commit."""

    operations: Annotated[tuple[Operation, ...], msgspec.Meta(max_length=OPERATIONS_MAX)]
    durability: Durability = Durability.JOURNAL
    message: str = ""
    """One line about why, kept in the commit; may be empty."""


class Read(_Message, frozen=True, tag="read"):
    """Return one document's content."""

    path: str
    revision: Count = 0
    """0 for the current one."""


class ListDocuments(_Message, frozen=True, tag="list"):
    """Return a page of the documents, ordered by path."""

    after: str = ""
    """Only paths greater than this one: the last path of the page before."""
    limit: Count = 1000
    type: DocumentType | None = None
    prefix: str = ""


class Log(_Message, frozen=True, tag="log"):
    """Return a page of what happened, newest first."""

    path: str = ""
    """Only this document, followed through its moves."""
    limit: Count = 50
    before: Count = 0
    """Only entries with a smaller seq; 0 for no bound."""
    author: str = ""
    session: str = ""
    action: Action | None = None


class Status(_Message, frozen=True, tag="status"):
    """Return how the coordinator and the store are."""


class Sessions(_Message, frozen=True, tag="sessions"):
    """Return the sessions the coordinator knows, live ones first."""


class Ping(_Message, frozen=True, tag="ping"):
    """Do nothing, and say so: measures the way there and back."""


class Stop(_Message, frozen=True, tag="stop"):
    """Ask the coordinator to finish its work and leave. Users only."""


Request = (
    Open
    | Heartbeat
    | Close
    | Transact
    | Read
    | ListDocuments
    | Log
    | Status
    | Sessions
    | Ping
    | Stop
)
