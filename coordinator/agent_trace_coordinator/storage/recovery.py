"""Start-up after any end, clean or not: git gets what it lacks, files get what they lack.

The journal is the truth here; its own integrity was checked when it was loaded. Running this twice
does what running it once does.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from agent_trace_coordinator.core.state import DocumentState, State
from agent_trace_coordinator.errors import CorruptStore

from .base import ExpectedFile, FileUpdate, History, SetAside, WorkTree
from .index import Index

__all__ = ["check_not_behind", "replay_to_git", "restore_files"]

_log = logging.getLogger("agent_trace.coordinator.recovery")

REPLAY_RECORDS: Final = 256
"""Records streamed to git at a time."""

RESTORE_FILES: Final = 256
"""Files written at a time, which bounds the contents in memory."""


def check_not_behind(state: State, git_seq: int) -> None:
    """Refuse a journal that lacks what git has: it is damaged, not merely old.

    Raises:
        CorruptStore: git holds later operations than the journal.
    """
    if git_seq > state.seq:
        raise CorruptStore(
            f"the journal ends at operation {state.seq}, but git has operation {git_seq}: "
            "state.db was damaged or replaced by an older copy; run agent-trace repair"
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


def restore_files(state: State, index: Index, tree: WorkTree) -> list[SetAside]:
    """Bring missing and outdated files up to date; return foreign content that was set aside."""
    documents = [state.documents[id] for id in state.by_path.values()]
    behind = tree.compare(
        ExpectedFile(document.path, document.size, document.digest) for document in documents
    )
    if behind:
        # Asked again with what each document ever held: an older state is behind, not foreign.
        by_path = {document.path: document for document in documents}
        behind = tree.compare(
            ExpectedFile(path, document.size, document.digest, index.digests(document.id))
            for path in behind
            for document in (by_path[path],)
        )
    kept: list[SetAside] = []
    for start in range(0, len(behind), RESTORE_FILES):
        batch = behind[start : start + RESTORE_FILES]
        kept += tree.apply([_update(state, index, path) for path in batch])
    if behind:
        _log.info("brought %d files up to date", len(behind))
    return kept


def _update(state: State, index: Index, path: str) -> FileUpdate:
    document: DocumentState = state.documents[state.by_path[path]]
    return FileUpdate(path, index.content(document.content_key, document.digest))
