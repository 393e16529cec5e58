"""What somebody took away from a git directory that is in use: noticed, and how deep it goes.

git itself notices only what it reads, and a running fast-import has its packs open, so commits
would go on for hours on top of a history that nobody can read any more. Looking is a listing of one
directory. Only what is gone makes a walk over the history worth its time.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from agent_trace_coordinator.errors import GitFailed

from .git_process import GitRunner
from .git_recovery import sync_directory

__all__ = ["forget_derived", "gone_packs", "is_connected"]

_DERIVED: Final = (
    "objects/info/commit-graph",
    "objects/info/commit-graphs",
    "objects/pack/multi-pack-index",
)
"""What git made from its objects, and believes also of those that are gone."""

_WALK: Final = ("rev-list", "--objects", "--quiet")


def gone_packs(pack_directory: Path, known: Iterable[str]) -> list[str]:
    """Return the packs and indexes among `known` that are not there, by name."""
    try:
        there = set(os.listdir(pack_directory))
    except (FileNotFoundError, NotADirectoryError):
        there = set[str]()
    return sorted(name for name in known if name.endswith((".pack", ".idx")) and name not in there)


def forget_derived(git_directory: Path) -> None:
    """Remove what names objects that may be gone; the next maintenance makes it again."""
    for name in _DERIVED:
        path = git_directory / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        if path.parent.is_dir():
            sync_directory(path.parent)


def is_connected(runner: GitRunner, commit: str, silence_seconds: float) -> bool:
    """Return whether everything is there that a commit stands on: some seconds for each 100,000
    operations. Without derived files, which would be believed."""
    try:
        runner.run((*_WALK, commit), silence_seconds)
    except GitFailed:
        return False
    return True
