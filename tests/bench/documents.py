"""The documents of the bench: the same paths and texts for both sides of every comparison."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Final

__all__ = ["CONTENT_BYTES", "FOLDER_DOCUMENTS", "content_of", "path_of"]

CONTENT_BYTES: Final = 2048
"""Bytes of each write."""

FOLDER_DOCUMENTS: Final = 100
"""Documents of a folder. git rewrites the tree of each folder on the way to a changed file, so
10,000 documents in one folder would measure the folder, not the store."""

_WORDS: Final = (
    "agent plan step task open done review test build fix note risk why because next later found "
    "file module function error retry lock lease journal commit branch merge store read write "
    "decision question answer owner deadline blocked waiting ready draft final measure figure"
).split()
_POOL_BYTES: Final = 256 * 1024


@lru_cache(maxsize=1)
def _pool() -> bytes:
    draw = random.Random(20_26)
    lines: list[str] = []
    size = 0
    while size < _POOL_BYTES + CONTENT_BYTES:
        line = " ".join(draw.choice(_WORDS) for _ in range(draw.randint(6, 14)))
        number = draw.randrange(1_000_000)
        lines.append(f"- [{'x' if number % 2 else ' '}] {line} {number}")
        size += len(lines[-1]) + 1
    return "\n".join(lines).encode("ascii")


def path_of(index: int) -> str:
    """Return the path of a document: folders of a hundred."""
    return f"notes-{index // FOLDER_DOCUMENTS:03d}/note-{index % FOLDER_DOCUMENTS:03d}.md"


def content_of(index: int, number: int, writer: str) -> bytes:
    """Return a document's text for the writer's n-th write of it: all of it differs each time.

    A text of which most stays the same would be kinder to git, which stores differences.
    """
    head = f"# Document {index}\n\nWritten by {writer}, write {number}.\n\n".encode("ascii")
    start = (index * 7919 + number * 104_729) % _POOL_BYTES
    return head + _pool()[start : start + CONTENT_BYTES - len(head) - 1] + b"\n"
