"""What the client's methods return, where the protocol's own structs would be less handy."""

from __future__ import annotations

from dataclasses import dataclass

from agent_trace_protocol import Action, DocumentType, InvalidRequest, LeaseInfo

__all__ = ["Document", "Transaction", "Written"]


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
