"""What the client's methods return, where the protocol's own structs would be less handy."""

from __future__ import annotations

from dataclasses import dataclass

from agent_trace_protocol import Action, DocumentInfo, DocumentType, InvalidRequest, LeaseInfo

__all__ = [
    "Blamed",
    "BlamedLine",
    "Document",
    "Exported",
    "Past",
    "Replacement",
    "Replacements",
    "Transaction",
    "Written",
]


@dataclass(frozen=True, slots=True)
class Written:
    """What one write made; as text it is `path@revision`."""

    path: str
    revision: int
    """The revision made."""
    seq: int
    """The write's place in the order of all writes to the store."""
    commit: str
    """The git commit id, with `durability="git"`; else empty."""
    action: Action
    added: int
    """Lines added."""
    removed: int
    """Lines removed."""
    warnings: tuple[LeaseInfo, ...] = ()
    """Leases of others that cover what was written."""
    notices: tuple[str, ...] = ()
    """What was done and should be looked at, such as a line that may be a credential."""

    def __str__(self) -> str:
        return f"{self.path}@{self.revision}"


@dataclass(frozen=True, slots=True)
class Transaction:
    """What several operations made together."""

    seq: int
    commit: str
    """The git commit id, with `durability="git"`; else empty."""
    results: tuple[Written, ...]
    """One per operation, in order."""
    warnings: tuple[LeaseInfo, ...] = ()
    """Leases of others that cover what was written."""
    notices: tuple[str, ...] = ()
    """What was done and should be looked at, such as a line that may be a credential."""

    def __str__(self) -> str:
        return ", ".join(map(str, self.results))


@dataclass(frozen=True, slots=True)
class Document:
    """One revision of a document."""

    path: str
    type: DocumentType
    revision: int
    content: bytes
    seq: int
    """The operation that made this revision."""
    time_ms: int
    """When, UTC milliseconds."""
    author: str

    @property
    def text(self) -> str:
        """The content as text.

        Raises:
            InvalidRequest: it is not UTF-8; `content` has the bytes.
        """
        try:
            return self.content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"{self} is not UTF-8 text: {error}") from error

    def __str__(self) -> str:
        return f"{self.path}@{self.revision}"


@dataclass(frozen=True, slots=True)
class Replacement:
    """What a replacement changes in one document."""

    path: str
    revision: int
    """The revision that was looked at."""
    count: int
    """How often something is replaced."""
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Replacements:
    """What a replacement changes in all documents."""

    found: tuple[Replacement, ...]
    protected: tuple[str, ...]
    """Documents in which it would change something, and that the asker may not modify."""


@dataclass(frozen=True, slots=True)
class BlamedLine:
    """One line, and who brought it."""

    number: int
    """From 1."""
    text: str
    """Without its end."""
    revision: int
    seq: int
    time_ms: int
    author: str
    session: str
    commit: str
    found: bool
    """Whether it is known; otherwise it is of this revision or an earlier one, which was too far
    back to look for."""


@dataclass(frozen=True, slots=True)
class Blamed:
    """Which revision brought each line of a document."""

    path: str
    revision: int
    """The revision that is explained."""
    lines: tuple[BlamedLine, ...]


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export has written."""

    seq: int
    """As of which operation."""
    time_ms: int
    documents: int
    size: int
    """Bytes of the documents' contents."""


@dataclass(frozen=True, slots=True)
class Past:
    """The store as it was."""

    seq: int
    """As of which operation."""
    time_ms: int
    documents: tuple[DocumentInfo, ...]
    """Ordered by path."""
