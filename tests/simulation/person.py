"""Somebody who edits documents' files with whatever is at hand, and asks nobody."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from .disk import Disk

__all__ = ["Person"]


class Person:
    """Saves a file now and then, as an editor does: whole."""

    def __init__(
        self,
        disk: Disk,
        random: Random,
        documents: Callable[[], list[str]],
        on_edit: Callable[[str, bytes | None], None],
    ) -> None:
        """`documents` returns the paths at which documents are; `on_edit` is told of each edit."""
        self._disk = disk
        self._random = random
        self._documents = documents
        self._on_edit = on_edit
        self._count = 0

    def edit(self) -> None:
        """Change, rewrite or delete a file."""
        paths = self._documents()
        if not paths:
            return
        path = self._random.choice(paths)
        before = self._disk.files.get(path)
        if before is None:
            # A file where no document is any more is left alone, and a question of its own.
            return
        if self._random.random() < 0.12:
            self._disk.place(path, None)
            self._on_edit(path, None)
            return
        self._count += 1
        line = b"person %d\n" % self._count
        kept = before if before.endswith(b"\n") else b""
        draw = self._random.random()
        content = line if draw < 0.3 else kept + line if draw < 0.65 else line + kept
        self._disk.place(path, content)
        self._on_edit(path, content)
