"""Whether a store whose state.db has nothing is a new one, or one that has lost what it had.

A coordinator makes state.db where there is none, so whatever is left of an earlier life has to be
looked for before: beginning anew there would tell everybody that nothing had ever been written.
"""

from __future__ import annotations

from pathlib import Path

from agent_trace_coordinator.core.manifest import listed_paths
from agent_trace_coordinator.errors import CorruptStore

from .git_check import branch_tip
from .store import Store

__all__ = ["check_beginning", "has_journal", "listed_documents", "signs_in_git", "signs_of_life"]


def has_journal(state_db: Path) -> bool:
    """Return whether there is a state.db with something in it.

    Its write-ahead log alone does not count: SQLite deletes one that it finds beside nothing.
    """
    try:
        return state_db.stat().st_size > 0
    except FileNotFoundError:
        return False


def listed_documents(store: Store) -> list[str]:
    """Return the documents that the readable mirror of the document table names."""
    try:
        return listed_paths(store.manifest.read_bytes().decode("utf-8", "replace"))
    except OSError:
        return []


def signs_in_git(store: Store) -> str:
    """Return what in git shows that operations were accepted once; empty for nothing."""
    if tip := branch_tip(store.repo):
        return f"git has a history, which ends at commit {tip[:10]}"
    if any((store.repo / "objects").glob("*/*")):
        # Somebody took the branch, not what it pointed at.
        return "git has objects, though no branch that leads to them"
    return ""


def signs_of_life(store: Store) -> str:
    """Return what shows that operations were accepted once; empty for nothing."""
    if signs := signs_in_git(store):
        return signs
    log = store.state_db.with_name(f"{store.state_db.name}-wal")
    if log.exists() and log.stat().st_size:
        return "its write-ahead log is there"
    if listed := listed_documents(store):
        noun = "document" if len(listed) == 1 else "documents"
        return f"manifest.toml lists {len(listed)} {noun}, and git has no history either"
    for directory in (store.drafts, store.quarantine):
        if directory.is_dir() and any(directory.iterdir()):
            return f"{directory.name}/ holds texts"
    return ""


def check_beginning(store: Store) -> None:
    """Refuse to begin anew where something was; called before state.db is made.

    Raises:
        CorruptStore: state.db is missing or empty, and the store is not new.
    """
    if not has_journal(store.state_db) and (signs := signs_of_life(store)):
        how = "empty" if store.state_db.exists() else "missing"
        raise CorruptStore(f"state.db is {how}, but {signs}")
