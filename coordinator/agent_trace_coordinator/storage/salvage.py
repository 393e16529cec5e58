"""Rows out of a state.db that SQLite can not or should not read: page by page, believing nothing.

A reader of SQLite's file format (tables' leaf pages, overflow chains, the write-ahead log) that
needs neither the header, nor the schema, nor any inner page: a damaged page costs what is on it
and nothing else. What it finds are *candidates*. A record counts only when the hash chain proves
it, a content only when its digest does, so that a stale or flipped page can never become an answer.

The file is only read, and never locked; nobody may be writing to it.
"""

from __future__ import annotations

import contextlib
import mmap
import struct
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from agent_trace_coordinator.core.records import split_key

from .packing import unpack

__all__ = ["Salvage", "is_log_cut"]

PAGE_BYTES_DEFAULT: Final = 4096
"""The size of a page where the header does not say: SQLite's default, which we never change."""

CELL_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bytes of one row that are believed: larger than any that we write."""

_TABLE_LEAF: Final = 0x0D
_INDEX_LEAF: Final = 0x0A
_MAGIC: Final = b"SQLite format 3\0"
_WAL_MAGICS: Final = (0x377F0682, 0x377F0683)
_INTEGER_BYTES: Final = (0, 1, 2, 3, 4, 6, 8)

_Value = int | bytes | None
_View = Callable[[int], bytes | None]
"""Returns a page by its number, from 1 on."""


class Salvage:
    """What can be found in a state.db and its write-ahead log."""

    def __init__(self, path: Path, progress: Callable[[int, int], None] | None = None) -> None:
        """Read all pages; a file that is missing holds nothing. `progress` gets (done, of)."""
        self.journal: dict[int, list[tuple[bytes, bytes]]] = defaultdict(list)
        """By seq: pairs of an encoded record and a chain hash."""
        self.meta: dict[str, int | str] = {}
        self.named: set[int] = set()
        """Operations that derived rows name."""
        self._contents: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
        self._closing = contextlib.ExitStack()
        self._file = self._map(path)
        log = self._map(path.with_name(f"{path.name}-wal"))
        self.log_missing = is_log_cut(path)
        self._page_bytes = _page_bytes(self._file)
        self._log, self._frames = log, _frames(log, self._page_bytes)
        self._views: tuple[_View, ...] = (self._newest, self._base)
        pages = len(self._file) // self._page_bytes
        last = max(pages, max(self._frames, default=0))
        for number in range(1, last + 1):
            self._scan(number)
            if progress is not None and number % 256 == 0:
                progress(number, last)
        if progress is not None:
            progress(last, last)

    def close(self) -> None:
        """Close the files."""
        self._file = self._log = b""
        self._closing.close()

    def __enter__(self) -> Salvage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def content(self, key: int, digest: bytes) -> bytes | None:
        """Return the content under a key if some copy of it has this digest."""
        for view, number, offset in self._contents.get(key, ()):
            row = self._row(self._views[view], number, offset)
            if row is not None and len(row[1]) == 2:
                data = row[1][1]
                content = unpack(data, digest)
                if content is not None:
                    return content
        return None

    def content_keys(self) -> frozenset[int]:
        """Return the keys under which something lies that may be a content."""
        return frozenset(self._contents)

    # -- files ---------------------------------------------------------------------------------

    def _map(self, path: Path) -> mmap.mmap | bytes:
        try:
            file = self._closing.enter_context(path.open("rb"))
            # An empty file can not be mapped.
            return self._closing.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError):
            return b""

    def _newest(self, number: int) -> bytes | None:
        offset = self._frames.get(number)
        if offset is None:
            return self._base(number)
        return self._log[offset : offset + self._page_bytes]

    def _base(self, number: int) -> bytes | None:
        start = (number - 1) * self._page_bytes
        page = self._file[start : start + self._page_bytes] if number > 0 else b""
        # A file that was cut off ends inside a page; what is left of that page still counts.
        return page.ljust(self._page_bytes, b"\0") if page else None

    # -- pages ---------------------------------------------------------------------------------

    def _scan(self, number: int) -> None:
        for view, read in enumerate(self._views):
            if view and number not in self._frames:
                return
            page = read(number)
            if page is None:
                continue
            # The file's first page begins with the header of the file.
            start = 100 if number == 1 else 0
            kind = page[start]
            if kind == _TABLE_LEAF:
                for offset in _cells(page, start):
                    self._take(view, number, offset)
            elif kind == _INDEX_LEAF:
                for offset in _cells(page, start):
                    self._take_meta(read, page, offset)

    def _take(self, view: int, number: int, offset: int) -> None:
        read = self._views[view]
        page = read(number)
        assert page is not None
        try:
            size, at = _varint(page, offset)
            key, at = _varint(page, at)
            _, types = _header(page, at)
        except (IndexError, ValueError):
            return
        if not 0 < key < 2**63 or size > CELL_BYTES_MAX:
            return
        if len(types) == 2 and types[0] == 0 and types[1] >= 12 and types[1] % 2 == 0:
            self._contents[key].append((view, number, offset))
        elif len(types) == 5 and types[0] == 0 and types[4] == 12 + 2 * 32:
            row = self._row(read, number, offset)
            if row is None:
                return
            record, chain = row[1][3], row[1][4]
            if isinstance(record, bytes) and isinstance(chain, bytes):
                pair = (record, chain)
                if pair not in self.journal[key]:
                    self.journal[key].append(pair)
        elif len(types) == 6 and types[0] == 0 and min(types[4:]) >= 13:
            self.named.add(split_key(key)[0])
        elif len(types) == 4 and types[0] == 0 and min(types[2:]) >= 13:
            self.named.add(key)

    def _take_meta(self, read: _View, page: bytes, offset: int) -> None:
        try:
            size, at = _varint(page, offset)
            if size > 200:
                return
            start, types = _header(page, at)
            if len(types) != 2 or types[0] < 13 or types[0] % 2 == 0:
                return
            name_bytes = (types[0] - 13) // 2
            name = page[start : start + name_bytes].decode("ascii")
            at = start + name_bytes
            if name == "epoch" and 1 <= types[1] <= 6:
                value = int.from_bytes(page[at : at + _INTEGER_BYTES[types[1]]], "big")
                self.meta.setdefault("epoch", value)
            elif name == "epoch" and types[1] in (8, 9):
                self.meta.setdefault("epoch", types[1] - 8)
            elif name == "store" and types[1] == 13 + 2 * 32:
                self.meta.setdefault("store", page[at : at + 32].decode("ascii"))
        except (IndexError, ValueError):
            return

    # -- rows ----------------------------------------------------------------------------------

    def _row(self, read: _View, number: int, offset: int) -> tuple[int, list[_Value]] | None:
        """Return key and columns of a cell of a table; None if it is not whole."""
        page = read(number)
        if page is None:
            return None
        try:
            size, at = _varint(page, offset)
            key, at = _varint(page, at)
            payload = self._payload(read, page, at, size)
            start, types = _header(payload, 0)
            return key, list(_columns(payload, start, types))
        except (IndexError, ValueError, struct.error):
            return None

    def _payload(self, read: _View, page: bytes, at: int, size: int) -> bytes:
        usable = self._page_bytes
        local = size
        if size > usable - 35:
            least = (usable - 12) * 32 // 255 - 23
            local = least + (size - least) % (usable - 4)
            if local > usable - 35:
                local = least
        parts = [page[at : at + local]]
        if local < size:
            (following,) = struct.unpack_from(">I", page, at + local)
            rest = size - local
            while rest > 0:
                overflow = read(following) if following else None
                if overflow is None:
                    raise ValueError("a page of the row is gone")
                (following,) = struct.unpack_from(">I", overflow, 0)
                part = overflow[4 : 4 + min(rest, usable - 4)]
                parts.append(part)
                rest -= len(part)
        payload = b"".join(parts)
        if len(payload) != size:
            raise ValueError("the row is cut off")
        return payload


def _page_bytes(file: mmap.mmap | bytes) -> int:
    if len(file) >= 100 and file[:16] == _MAGIC:
        (size,) = struct.unpack_from(">H", file, 16)
        size = 65536 if size == 1 else size
        if 512 <= size <= 65536 and size & (size - 1) == 0:
            return int(size)
    return PAGE_BYTES_DEFAULT


def _frames(log: mmap.mmap | bytes, page_bytes: int) -> dict[int, int]:
    """Return the pages in the log, by number: where the newest committed version of each begins.

    Checksums are passed over, because one flipped bit makes everything behind it invalid to
    SQLite, and what is taken is proven otherwise. Frames behind the last mark of a commit were
    never acknowledged to anybody.
    """
    if len(log) < 32:
        return {}
    magic, _, _, _, salt1, salt2 = struct.unpack_from(">6I", log, 0)
    size = 24 + page_bytes
    frames: list[tuple[int, int]] = []
    committed = 0
    for start in range(32, len(log) - size + 1, size):
        number, pages, own1, own2 = struct.unpack_from(">4I", log, start)
        # The log starts over from its beginning; older frames behind have another salt.
        if magic in _WAL_MAGICS and (own1, own2) != (salt1, salt2):
            continue
        frames.append((number, start + 24))
        if pages:
            committed = len(frames)
    return dict(frames[:committed])


def is_log_cut(path: Path) -> bool:
    """Return whether a database's write-ahead log has less than it had when a process was killed.

    What counts the log's frames is its index in shared memory, which SQLite makes anew at the next
    opening, and which means nothing after a restart of the machine.
    """
    try:
        shared = path.with_name(f"{path.name}-shm")
        status, data = shared.stat(), shared.read_bytes()[:96]
        with path.open("rb") as file:
            page_bytes = _page_bytes(file.read(100))
    except OSError:
        return False
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    if status.st_mtime < booted or len(data) < 96 or data[:48] != data[48:]:
        return False
    # In the machine's own byte order.
    (frames,) = struct.unpack_from("=I", data, 16)
    try:
        log = path.with_name(f"{path.name}-wal").read_bytes()
    except OSError:
        log = b""
    return _valid_frames(log, page_bytes) < int(frames)


def _valid_frames(log: bytes, page_bytes: int) -> int:
    """Return how many frames SQLite would take: each checksum goes on from the one before."""
    if len(log) < 32 or struct.unpack_from(">I", log)[0] not in _WAL_MAGICS:
        return 0
    words = "<" if struct.unpack_from(">I", log)[0] == _WAL_MAGICS[0] else ">"
    one, two = _checksum(words, log[:24], 0, 0)
    count = 0
    size = 24 + page_bytes
    for start in range(32, len(log) - size + 1, size):
        one, two = _checksum(words, log[start : start + 8], one, two)
        one, two = _checksum(words, log[start + 24 : start + size], one, two)
        if struct.unpack_from(">2I", log, start + 16) != (one, two):
            break
        count += 1
    return count


def _checksum(words: str, data: bytes, one: int, two: int) -> tuple[int, int]:
    values = struct.unpack(f"{words}{len(data) // 4}I", data)
    for index in range(0, len(values), 2):
        one = (one + values[index] + two) & 0xFFFFFFFF
        two = (two + values[index + 1] + one) & 0xFFFFFFFF
    return one, two


def _cells(page: bytes, start: int) -> Iterator[int]:
    """Yield where the cells of a leaf page begin."""
    (count,) = struct.unpack_from(">H", page, start + 3)
    for index in range(min(count, (len(page) - start - 8) // 2)):
        (offset,) = struct.unpack_from(">H", page, start + 8 + 2 * index)
        if start + 8 <= offset < len(page):
            yield offset


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(8):
        byte = data[at + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    return value << 8 | data[at + 8], at + 9


def _header(data: bytes, at: int) -> tuple[int, list[int]]:
    """Return where the values of a row begin, and their types; raises `ValueError`."""
    size, position = _varint(data, at)
    end = at + size
    if not 2 <= size <= 64:
        raise ValueError("no row of ours has that many columns")
    types: list[int] = []
    while position < end:
        kind, position = _varint(data, position)
        types.append(kind)
    return end, types


def _columns(payload: bytes, at: int, types: list[int]) -> Iterator[_Value]:
    for kind in types:
        if kind == 0:
            yield None
        elif kind <= 6:
            size = _INTEGER_BYTES[kind]
            yield int.from_bytes(payload[at : at + size], "big", signed=True)
            at += size
        elif kind in (8, 9):
            yield kind - 8
        elif kind >= 12:
            size = (kind - 12) // 2
            if at + size > len(payload):
                raise ValueError("the row is cut off")
            yield payload[at : at + size]
            at += size
        else:
            raise ValueError(f"no row of ours has a value of type {kind}")
