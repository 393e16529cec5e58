"""The ports of the storage, and the promise each one makes.

`server.runtime` talks to these and to nothing below them. The in-memory twins in `memory.py` keep
the same promises and can be told to fail.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import msgspec

from agent_trace_coordinator.core.records import Entry

__all__ = [
    "CapturedFile",
    "Entry",
    "ExpectedFile",
    "FileUpdate",
    "History",
    "SetAside",
    "Signature",
    "WatchedTree",
    "WorkTree",
]


class History(Protocol):
    """The git repository as the committer sees it. Called from one worker thread, never two.

    One entry becomes one commit on the branch, in order, its id a pure function of the entries.
    """

    def start(self) -> int:
        """Repair what a crash left (locks, refs), and return the seq of the branch's last commit,
        0 for none. After it returned, `commit` continues there."""
        ...

    def commit(self, entries: list[Entry]) -> list[tuple[int, str]]:
        """Stream the entries as commits; return (seq, commit id) of each. Not yet durable."""
        ...

    def checkpoint(self) -> None:
        """Make all commits so far durable and visible to every git process: packs, index, refs and
        their directories are synced when this returns."""
        ...

    def missing(self) -> str:
        """Return what is gone of that which was durable, as far as a quick look tells; empty if
        nothing is. Only `start` makes it good."""
        ...

    def maintain(self) -> str:
        """Checkpoint, combine packs and index the history; return one line about it. Reads stay
        fast by this however long the history grows."""
        ...

    def close(self) -> None:
        """Checkpoint and end the git processes."""
        ...


Signature = tuple[int, int, int, int]
"""By which a file is known again: device, inode, modification time in nanoseconds, size."""


class ExpectedFile(msgspec.Struct, frozen=True):
    """What a document's file should hold, and which older states of it are ours as well."""

    path: str
    size: int
    digest: bytes
    """BLAKE2b-256 of the current content (`core.records.content_digest`)."""
    earlier: frozenset[bytes] = frozenset()
    """Digests of earlier revisions: a file that holds one is behind, not foreign."""


class FileUpdate(msgspec.Struct, frozen=True):
    """One document's file as it is to be."""

    path: str
    content: bytes | None
    """None: there is to be no file."""
    captured: Signature | None = None
    """What lies there and is kept elsewhere already: it is replaced without being set aside."""


class CapturedFile(msgspec.Struct, frozen=True):
    """What was found where a document's file belongs, and was not put there by us."""

    path: str
    content: bytes | None
    """None: there is no file, or nothing that could be read."""
    problem: str
    """Why it could not be read; empty if it could, or nothing is there."""
    signature: Signature
    files_seq: int = 0
    """The last operation that the files showed when it was found."""
    moved_to: str = ""
    """Where the file that we put there lies now, if that is certain."""


class SetAside(msgspec.Struct, frozen=True):
    """Foreign content that was found where a document's file belongs, and kept."""

    path: str
    """The document's path."""
    kept_as: str
    """The file in the quarantine directory that holds the bytes."""
    size: int
    regular: bool = False
    """Whether it was a file that could be read, and `kept_as` holds its bytes."""


class WorkTree(Protocol):
    """The documents as files in the store's directory: a view, each file whole at every instant.

    Called from one worker thread, never two. Nothing here is synced: state.db has the contents.
    """

    def apply(self, updates: list[FileUpdate]) -> list[SetAside]:
        """Bring the files to the given state: temporary file and rename, or unlink.

        What lies at a path and was not put there by this object, nor is equal to the new content,
        is moved to the quarantine before it is replaced, and returned. Directories are made as
        needed, and removed when a removal empties them. A path of which some part is a symlink or
        not a directory is set aside likewise, never followed.

        Raises:
            OSError: the disk took no more; updates before the failing one are done.
        """
        ...

    def compare(self, expected: Iterable[ExpectedFile]) -> list[str]:
        """Return the paths whose file is missing or is not the expected content (by size and hash),
        and remember the others as put there by us."""
        ...

    def read(self, path: str) -> bytes | None:
        """Return the bytes of a regular file in the store, None if there is none.

        Raises:
            InvalidPath: a symlink, a directory or a special file is in the way.
            TooLarge: the file is over the limit given at construction.
        """
        ...


class FileSigns(Protocol):
    """By what files are known as ours, or as somebody else's."""

    def foreign(self, paths: Iterable[str]) -> dict[str, Signature]:
        """Return the paths at which something else lies than what we put there, and what."""
        ...

    def accept(self, path: str, signature: Signature) -> None:
        """Take what lies at a path as ours."""
        ...


class WatchedTree(WorkTree, FileSigns, Protocol):
    """A work tree that can tell what others did to its files."""

    def capture(self, paths: Iterable[str]) -> list[CapturedFile]:
        """Return what lies at these paths and is not ours, read whole."""
        ...

    def find_moved(self, paths: Iterable[str], among: Iterable[str]) -> dict[str, str]:
        """Return where the files lie now that we put at `paths` and that are gone from there.

        Looked for at the paths `among`, and below those that are directories, by device, inode,
        time and size: a file that was renamed keeps them, and no other file has them. What has two
        names there is left out.
        """
        ...
