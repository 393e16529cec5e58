"""How full and how far the parts of a coordinator are, at one moment of the event loop."""

from __future__ import annotations

import time
from dataclasses import dataclass

from agent_trace_coordinator.core.inputs import Now
from agent_trace_coordinator.core.state import State
from agent_trace_coordinator.core.views import read_status

from .file_stage import FileStage
from .git_stage import GitStage
from .journal_stage import JournalStage

__all__ = ["Figures", "Load", "figures_of"]


@dataclass(frozen=True, slots=True)
class Load:
    """What waits in the runtime."""

    queries: int
    """Queries that wait for the index or are answered."""
    waiting_for_git: int
    """Answers that wait for git or the files."""
    read_only: bool


@dataclass(frozen=True, slots=True)
class Figures:
    """One look at everything; counts are of that moment."""

    seq: int
    """The last operation that is durable."""
    documents: int
    sessions_live: int
    sessions_stale: int
    leases: int
    lease_waiters: int
    drafts: int
    violations: int
    pending_operations: int
    """Accepted, and in no batch yet."""
    pending_bytes: int
    git_lag_operations: int
    git_lag_seconds: float
    """How long the oldest operation that git lacks has been durable."""
    files_lag_operations: int
    git_failing: bool
    files_failing: bool
    load: Load


def figures_of(
    state: State, load: Load, now: Now, journal: JournalStage, git: GitStage, files: FileStage
) -> Figures:
    """Return how things are now; takes time in proportion to the open sessions only."""
    status = read_status(state, now)
    return Figures(
        seq=journal.durable_seq,
        documents=status.documents,
        sessions_live=status.sessions_live,
        sessions_stale=status.sessions_stale,
        leases=status.leases,
        lease_waiters=len(state.waiters),
        drafts=status.drafts,
        violations=status.violations,
        pending_operations=journal.pending_count,
        pending_bytes=journal.pending_bytes,
        git_lag_operations=git.lag_count,
        git_lag_seconds=git.lag_seconds(time.monotonic()),
        files_lag_operations=journal.durable_seq - files.written_seq,
        git_failing=bool(git.failure),
        files_failing=bool(files.failure),
        load=load,
    )
