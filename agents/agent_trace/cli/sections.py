"""The sections of `agent-trace --help`: by what a person wants to do, in the order of a day's work.

A command that is in no section stands in the last one, with those of plugins.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = ["sections_of"]

_SECTIONS: Final[dict[str, tuple[str, ...]]] = {
    "Begin": ("init", "setup", "mcp", "connect", "disconnect", "completion"),
    "Write": (
        *("write", "append", "edit", "section", "replace", "add", "rm", "mv", "restore"),
        *("untrack", "tag", "describe"),
    ),
    "Read": (*("read", "ls", "search", "info", "log", "diff", "show", "blame", "why", "export"),),
    "Go on with work": ("resume", "context", "drafts", "accept"),
    "See what happens": ("open", "web", "status", "sessions", "events", "wait"),
    "Work side by side": (*("lease", "permissions", "unlock", "lock", "reclassify", "violations"),),
    "Look after the store": (
        *("config", "keys", "serve", "stop", "doctor", "repair", "backup", "restore-backup"),
        *("mirror", "selftest"),
    ),
}

_REST: Final = "More"


def sections_of(names: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Return the sections that have any of these commands, and which."""
    left = dict.fromkeys(names)
    found: list[tuple[str, list[str]]] = []
    for title, commands in _SECTIONS.items():
        there = [name for name in commands if name in left]
        for name in there:
            del left[name]
        if there:
            found.append((title, there))
    return [*found, (_REST, list(left))] if left else found
