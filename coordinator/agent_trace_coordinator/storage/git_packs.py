"""Packs and their indexes, read without git.

git says that an object is missing when it is gone, and says the same when it gets no descriptor, no
memory or no answer of the disk to look for it. The bytes of a pack tell the two apart: an index
names its objects, and both files end in a checksum. The format is git's (gitformat-pack).
"""

from __future__ import annotations

import hashlib
import os
import struct
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

__all__ = ["PackIndex", "WholePacks", "names_listed", "read_index"]

_MAGIC: Final = b"\xfftOc\0\0\0\2"
_FANOUT: Final = 8
_NAMES: Final = _FANOUT + 256 * 4
_CHECKSUM_BYTES: Final = 20
_PIECE_BYTES: Final = 1024 * 1024


class PackIndex(msgspec.Struct, frozen=True):
    """An index whose own checksum is right."""

    data: bytes

    @property
    def count(self) -> int:
        """How many objects the pack has."""
        (count,) = struct.unpack_from(">I", self.data, _NAMES - 4)
        return int(count)

    @property
    def pack_checksum(self) -> bytes:
        """The last 20 bytes of the pack."""
        return self.data[-2 * _CHECKSUM_BYTES : -_CHECKSUM_BYTES]

    @property
    def last_offset(self) -> int:
        """Where the last object begins in a pack of less than 2 GiB."""
        start = _NAMES + 24 * self.count
        offsets = struct.unpack_from(f">{self.count}I", self.data, start)
        return max((each for each in offsets if each < 2**31), default=0)

    def __contains__(self, name: str) -> bool:
        wanted = bytes.fromhex(name)
        first = wanted[0]
        low = 0
        if first:
            (low,) = struct.unpack_from(">I", self.data, _FANOUT + 4 * (first - 1))
        (high,) = struct.unpack_from(">I", self.data, _FANOUT + 4 * first)
        at = bisect_left(range(high), wanted, low, key=self._name)
        return at < high and self._name(at) == wanted

    def _name(self, at: int) -> bytes:
        return self.data[_NAMES + 20 * at : _NAMES + 20 * (at + 1)]


def names_listed(data: bytes) -> Iterator[str]:
    """Yield the names an index lists, also one that is damaged further on."""
    if data[:8] != _MAGIC or len(data) < _NAMES:
        return
    (count,) = struct.unpack_from(">I", data, _NAMES - 4)
    for at in range(_NAMES, min(_NAMES + 20 * count, len(data) - 19), 20):
        yield data[at : at + 20].hex()


def read_index(path: Path) -> PackIndex | None:
    """Return an index; None if it is damaged or not there.

    Raises:
        OSError: it can not be read now, which says nothing about what is there.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(data) < _NAMES + 2 * _CHECKSUM_BYTES or data[:8] != _MAGIC:
        return None
    body = memoryview(data)[:-_CHECKSUM_BYTES]
    digest = hashlib.sha1(body, usedforsecurity=False).digest()
    return PackIndex(data) if digest == data[-_CHECKSUM_BYTES:] else None


class WholePacks:
    """Which objects the packs of a directory hold. Looks once, and only if it is asked."""

    def __init__(self, pack_directory: Path) -> None:
        self._directory = pack_directory
        self._indexes: dict[str, PackIndex] | None = None
        self._whole: dict[str, bool] = {}

    def holding(self, name: str) -> str:
        """Return a pack that holds the object and is whole to its last byte; empty if none does.

        Reads all of a pack that lists the object: about a second for each GiB.

        Raises:
            OSError: something can not be read now, so nothing can be said about the object.
        """
        if self._indexes is None:
            self._indexes = {}
            # Not `glob`, which finds nothing in a directory that it may not read.
            for name_there in sorted(os.listdir(self._directory)):
                stem, suffix = os.path.splitext(name_there)
                index = read_index(self._directory / name_there) if suffix == ".idx" else None
                if index is not None:
                    self._indexes[stem] = index
        for stem, index in self._indexes.items():
            if name in index and self._is_whole(stem, index):
                return f"{stem}.pack"
        return ""

    def _is_whole(self, stem: str, index: PackIndex) -> bool:
        if stem not in self._whole:
            self._whole[stem] = _checksum(self._directory / f"{stem}.pack") == index.pack_checksum
        return self._whole[stem]


def _checksum(pack: Path) -> bytes:
    """Return the checksum of a pack if it is the one it ends in; empty if not."""
    digest = hashlib.sha1(usedforsecurity=False)
    try:
        with pack.open("rb") as file:
            left = os.fstat(file.fileno()).st_size - _CHECKSUM_BYTES
            while left > 0 and (piece := file.read(min(left, _PIECE_BYTES))):
                digest.update(piece)
                left -= len(piece)
            written = file.read()
    except FileNotFoundError:
        return b""
    return written if written == digest.digest() else b""
