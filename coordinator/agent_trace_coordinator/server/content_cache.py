"""Contents in memory, bounded by their bytes; what was not asked for longest goes first."""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["ContentCache"]


class ContentCache:
    """Contents by key, of each document that is written the newest only."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._contents: OrderedDict[int, tuple[bytes, int]] = OrderedDict()
        """By key: the content, and the document whose newest it is, if it is known to be that."""
        self._newest: dict[int, int] = {}
        """The key of a document's newest content, as long as that is here."""

    def get(self, key: int) -> bytes | None:
        """Return a content, if it is here."""
        found = self._contents.get(key)
        if found is None:
            return None
        self._contents.move_to_end(key)
        return found[0]

    def keep(self, key: int, content: bytes) -> None:
        """Keep a content that was read."""
        self._enter(key, content, 0)

    def replace(self, document: int, key: int, content: bytes | None) -> None:
        """Put the content that a change gave to a document in the place of the one before it.

        Hardly anybody asks for that again, and a document that is written a thousand times must not
        fill the cache. None: the change brought none; `key` is that of an earlier one, or 0.
        """
        before = self._newest.get(document, 0)
        if before == key:
            return
        if before:
            self._drop(before)
        if content is not None:
            self._newest[document] = key
            self._enter(key, content, document)

    def _enter(self, key: int, content: bytes, document: int) -> None:
        self._drop(key)
        self._contents[key] = content, document
        self._bytes += len(content)
        while self._bytes > self._bytes_max:
            self._drop(next(iter(self._contents)))

    def _drop(self, key: int) -> None:
        content, document = self._contents.pop(key, (b"", 0))
        self._bytes -= len(content)
        if document:
            del self._newest[document]
