"""Named points at which a coordinator kills itself: of the write path, of recovery, of upkeep.

Each is the moment before or after one function of the product. Planted from outside, in the
process that is to die; a function that the product does not have any more is an error.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable
from typing import Any, Final

from agent_trace_coordinator.server import git_stage, service
from agent_trace_coordinator.storage.drafts import DraftFiles
from agent_trace_coordinator.storage.git import GitHistory
from agent_trace_coordinator.storage.git_process import GitRunner
from agent_trace_coordinator.storage.journal import Journal
from agent_trace_coordinator.storage.search import SearchIndex
from agent_trace_coordinator.storage.worktree import FileTree

__all__ = ["POINTS", "die_at"]

_PLACES: Final[dict[str, tuple[Any, str, int]]] = {
    # Where, which function, and how often it is let pass at most.
    "life begins": (Journal, "begin_life", 1),
    "state is loaded": (Journal, "load", 1),
    "batch": (Journal, "append", 60),
    "log is copied": (Journal, "tidy", 3),
    "git is configured": (GitRunner, "configure", 1),
    "history starts": (GitHistory, "start", 1),
    "commits": (GitHistory, "commit", 40),
    "checkpoint": (GitHistory, "checkpoint", 40),
    "repository is synced": (GitHistory, "_sync_repository", 3),
    "import ends": (GitHistory, "_end_import", 3),
    "maintenance": (GitHistory, "maintain", 3),
    "index for people": (GitHistory, "refresh_index", 3),
    "replay": (service, "replay_to_git", 1),
    "files are compared": (service, "restore_files", 1),
    "files are written": (FileTree, "apply", 40),
    "draft is written": (DraftFiles, "write_bytes", 5),
    "full-text index": (SearchIndex, "catch_up", 10),
    "endpoint is told": (service, "announce", 1),
    "endpoint is withdrawn": (service, "withdraw", 1),
    "sync": (os, "fsync", 60),
    "rename": (os, "replace", 40),
    "removal": (os, "unlink", 40),
}

POINTS: Final = {
    f"{when} {name}": most for name, (_, _, most) in _PLACES.items() for when in ("before", "after")
}
"""The points by name, and how often each is let pass at most."""

MAINTENANCE_CHECKPOINTS: Final = 6
"""So that upkeep comes within a short life."""


def die_at(point: str, at: int) -> None:
    """Let this process be killed by itself when it comes to a point for the `at`-th time."""
    when, _, name = point.partition(" ")
    owner, attribute, _ = _PLACES[name]
    if name == "maintenance":
        git_stage.MAINTENANCE_CHECKPOINTS = MAINTENANCE_CHECKPOINTS  # type: ignore[misc]
    function: Callable[..., Any] = getattr(owner, attribute)
    left = at

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **named)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, attribute, call)
