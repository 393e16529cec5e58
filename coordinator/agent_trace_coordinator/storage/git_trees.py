"""Whether a commit's tree holds what its operation did, read object by object.

Whoever reads the objects has hashed them. Only the trees on the way to the changed paths are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from agent_trace_coordinator.core.records import Changed, content_digest
from agent_trace_protocol import Action

__all__ = ["has_changes"]

_ENTRY: Final = re.compile(rb"([0-7]{5,6}) ([^\0]+)\0(.{20})", re.DOTALL)

_FOLDER: Final = b"40000"

_Read = Callable[[str], tuple[bytes, bytes] | None]


def has_changes(tree: str, body: Changed, read: _Read) -> bool:
    """Return whether the tree has each changed path as the operation left it.

    An object that is missing or damaged counts as not being there.
    """
    expected: dict[str, bytes] = {}
    for change in body.changes:
        if change.previous_path:
            expected[change.previous_path] = b""
        gone = change.action in (Action.DELETE, Action.UNTRACK)
        expected[change.path] = b"" if gone else change.digest
    folders: dict[str, dict[bytes, tuple[bytes, str]]] = {}
    for path, digest in expected.items():
        blob = _find_blob(tree, path.encode(), folders, read)
        if not digest:
            if blob:
                return False
            continue
        found = read(blob) if blob else None
        if found is None or content_digest(found[1]) != digest:
            return False
    return True


def _find_blob(
    tree: str, path: bytes, folders: dict[str, dict[bytes, tuple[bytes, str]]], read: _Read
) -> str:
    """Return the id of the file at a path; empty if there is none."""
    *parents, name = path.split(b"/")
    for parent in parents:
        mode, tree = _entries(tree, folders, read).get(parent, (b"", ""))
        if mode != _FOLDER:
            return ""
    mode, blob = _entries(tree, folders, read).get(name, (b"", ""))
    return "" if mode == _FOLDER else blob


def _entries(
    tree: str, folders: dict[str, dict[bytes, tuple[bytes, str]]], read: _Read
) -> dict[bytes, tuple[bytes, str]]:
    """Return mode and id of each name in a tree; none if it can not be read."""
    if tree not in folders:
        found = read(tree)
        data = found[1] if found is not None and found[0] == b"tree" else b""
        folders[tree] = {
            name: (mode, id.hex())
            for mode, name, id in (match.groups() for match in _ENTRY.finditer(data))
        }
    return folders[tree]
