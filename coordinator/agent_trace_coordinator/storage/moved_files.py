"""Finding again what was renamed: by what a rename does not change of a file.

Only names and `lstat` are looked at, never a content: what is not a document is not read. No
symlink is followed.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterable
from typing import Final

from agent_trace_protocol.layout import STORE_DIRECTORY

from .base import Signature

__all__ = ["ENTRIES_MAX", "find_files", "signature_of"]

ENTRIES_MAX: Final = 20_000
"""Names that are looked at for one answer: what was moved into a larger tree is not found."""

_NEVER: Final = frozenset({STORE_DIRECTORY, ".git"})

_DIRECTORY_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def signature_of(status: os.stat_result) -> Signature:
    """Return by what a file is known again."""
    return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)


def find_files(root: int, wanted: set[Signature], among: Iterable[str]) -> dict[Signature, str]:
    """Return the paths of regular files by their signature; `root` is the store's directory.

    A path in `among` is a file, or a directory of which everything below is looked at; what was
    named first comes first, and what lies deep comes last. What is found under two names is left
    out.
    """
    found: dict[Signature, str] = {}
    twice: set[Signature] = set()
    left = ENTRIES_MAX
    waiting = deque(among)
    seen: set[str] = set()
    while waiting and left > 0:
        path = waiting.popleft()
        # No document can be below these.
        if path in seen or not _NEVER.isdisjoint(path.lower().split("/")):
            continue
        seen.add(path)
        left -= 1
        try:
            status = _look(root, path)
        except OSError:
            # It is gone by now, or not for us to see.
            continue
        if stat.S_ISDIR(status.st_mode):
            waiting += _names_below(root, path)
        elif stat.S_ISREG(status.st_mode):
            signature = signature_of(status)
            if signature in found:
                twice.add(signature)
            elif signature in wanted:
                found[signature] = path
    return {signature: path for signature, path in found.items() if signature not in twice}


def _open_parent(root: int, path: str) -> tuple[int, str]:
    """Open the directory above a path, one name after the other; the caller closes it."""
    *parents, name = path.split("/")
    directory = os.dup(root)
    for parent in parents:
        try:
            below = os.open(parent, _DIRECTORY_FLAGS, dir_fd=directory)
        finally:
            os.close(directory)
        directory = below
    return directory, name


def _look(root: int, path: str) -> os.stat_result:
    directory, name = _open_parent(root, path)
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    finally:
        os.close(directory)


def _names_below(root: int, path: str) -> list[str]:
    directory, name = _open_parent(root, path)
    try:
        below = os.open(name, _DIRECTORY_FLAGS, dir_fd=directory)
    except OSError:
        return []
    finally:
        os.close(directory)
    try:
        return [f"{path}/{each}" for each in sorted(os.listdir(below))[:ENTRIES_MAX]]
    finally:
        os.close(below)
