"""Start-up after any end, clean or not: git gets what it lacks, files get what they lack.

The journal is the truth here; its own integrity was checked when it was loaded. Running this twice
does what running it once does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import msgspec

from agent_trace_coordinator.core.records import content_digest
from agent_trace_coordinator.core.state import DocumentState, State
from agent_trace_coordinator.errors import CorruptStore
from agent_trace_protocol import InvalidPath, TooLarge

from .base import ExpectedFile, FileUpdate, History, SetAside, WatchedTree, WorkTree
from .index import Index

__all__ = ["check_not_behind", "replay_to_git", "restore_files"]

_log = logging.getLogger("agent_trace.coordinator.recovery")

REPLAY_RECORDS: Final = 256
"""Records streamed to git at a time."""

RESTORE_FILES: Final = 256
"""Files written at a time, which bounds the contents in memory."""

UNSYNCED_MS: Final = 600_000
"""Milliseconds before the last operation from which on files may not have been on the disk when the
power failed. Kernels write out what nobody syncs within half a minute; this is ample."""


def check_not_behind(state: State, git_seq: int) -> None:
    """Refuse a journal that lacks what git has: it is damaged, not merely old.

    Raises:
        CorruptStore: git holds later operations than the journal.
    """
    if git_seq > state.seq:
        raise CorruptStore(
            f"the journal ends at operation {state.seq}, but git has operation {git_seq}: "
            "state.db was damaged or replaced by an older copy; `agent-trace repair` takes what "
            "came later from git"
        )


def replay_to_git(
    index: Index,
    history: History,
    git_seq: int,
    on_commits: Callable[[list[tuple[int, str]]], None],
) -> int:
    """Commit the records after `git_seq`, and return how many there were."""
    count = 0
    while entries := list(index.entries(git_seq + 1, REPLAY_RECORDS)):
        on_commits(history.commit(entries))
        git_seq = entries[-1].record.seq
        count += len(entries)
    if count:
        history.checkpoint()
        _log.info("replayed %d operations into git", count)
    return count


class _Left(msgspec.Struct):
    """What is known about a path that documents have left."""

    documents: set[int] = msgspec.field(default_factory=set[int])
    time_ms: int = 0
    """When the last one did."""


def restore_files(state: State, index: Index, tree: WatchedTree) -> list[SetAside]:
    """Bring missing and outdated files up to date, and remove those that documents have left.

    Returns foreign content that was set aside.
    """
    left: dict[str, _Left] = {}
    for path, id, time_ms, untracked in index.vacated():
        if untracked:
            # Its file, and what lay there before, is nobody's business any more.
            left.pop(path, None)
            continue
        leaving = left.setdefault(path, _Left())
        leaving.documents.add(id)
        leaving.time_ms = time_ms
    kept = _remove_left_files(state, index, tree, left)
    documents = [state.documents[id] for id in state.by_path.values()]
    behind = tree.compare(
        ExpectedFile(document.path, document.size, document.digest) for document in documents
    )
    if behind:
        # Asked again with what each document ever held, and what others held that were at its path
        # before: an older state is behind, not foreign.
        by_path = {document.path: document for document in documents}
        behind = tree.compare(
            ExpectedFile(
                path,
                document.size,
                document.digest,
                _ours(
                    state,
                    index,
                    {document.id} | left.get(path, _Left()).documents,
                    document.time_ms,
                    _read(tree, path),
                ),
            )
            for path in behind
            for document in (by_path[path],)
        )
    # What somebody wrote while nobody served is not replaced here: it is judged like any other
    # change past the coordinator, as soon as there is one. What is missing comes back.
    foreign = tree.foreign(behind)
    behind = [path for path in behind if path not in foreign or not foreign[path][1]]
    for start in range(0, len(behind), RESTORE_FILES):
        batch = behind[start : start + RESTORE_FILES]
        kept += tree.apply([_update(state, index, path) for path in batch])
    if behind:
        _log.info("brought %d files up to date", len(behind))
    return kept


def _remove_left_files(
    state: State, index: Index, tree: WorkTree, left: dict[str, _Left]
) -> list[SetAside]:
    """Remove the files that documents have left by a deletion or a move, and their empty folders.

    The journal had the operation, but the process ended before the file was removed, or the power
    failed before the directory was on the disk. Only what one of the documents once held is ours;
    anything else at such a path was put there by somebody and stays.
    """
    removed: list[FileUpdate] = []
    emptied: list[FileUpdate] = []
    for path, leaving in left.items():
        if path in state.by_path:
            continue
        try:
            content = tree.read(path)
        except (InvalidPath, TooLarge):
            # A link, or what else can not be a document's file: nothing that we ever wrote.
            continue
        if content is None:
            if leaving.time_ms >= state.time_ms - UNSYNCED_MS:
                # The process may have ended between the removal of a file and that of its folder,
                # which would then be in the way of a document with the folder's name.
                emptied.append(FileUpdate(path, None))
            continue
        ours = _ours(state, index, leaving.documents, leaving.time_ms, content)
        # An expectation that nothing meets: the file is remembered as ours if it is an older state.
        tree.compare([ExpectedFile(path, -1, b"", ours)])
        if content_digest(content) in ours:
            removed.append(FileUpdate(path, None))
    if removed:
        _log.info("removed %d files that documents have left", len(removed))
    return tree.apply(removed + emptied)


def _read(tree: WorkTree, path: str) -> bytes | None:
    """Return what lies at a path, None if it can not be a document's file."""
    try:
        return tree.read(path)
    except (InvalidPath, TooLarge):
        return None


def _ours(
    state: State, index: Index, documents: set[int], time_ms: int, content: bytes | None
) -> frozenset[bytes]:
    """Return the digests of what we ourselves may have left at the path of these documents.

    `time_ms` is the time of the last operation at the path, `content` what lies there.
    """
    ours = frozenset[bytes]().union(*(index.digests(document) for document in documents))
    if content is not None and time_ms >= state.time_ms - UNSYNCED_MS and not content.strip(b"\0"):
        # When the power fails, a file can have its name, or also its size, but not its bytes: then
        # it is empty (XFS, ext4) or zeros (ext4).
        ours |= {content_digest(content)}
    return ours


def _update(state: State, index: Index, path: str) -> FileUpdate:
    document: DocumentState = state.documents[state.by_path[path]]
    return FileUpdate(path, index.content(document.content_key, document.digest))
