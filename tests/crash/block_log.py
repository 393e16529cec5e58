"""A block device that remembers every write and every flush: what device-mapper's log-writes does.

The device is a loop device on a file, and the file is served by this process through `/dev/fuse`,
which needs no module and no library. All that reaches it is noted in the order in which it came,
with the time on the clock that all processes share.

    python -m crash.block_log IMAGE LOG FILE

`IMAGE` holds the bytes, `LOG` gets the events, `FILE` becomes the file for the loop device. It ends
when that is unmounted. A write is noted before it is answered: nothing that anybody was told after
it can have been told before it was noted.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import stat
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

__all__ = ["BlockEvent", "read_events", "write_event"]

_EVENT: Final = struct.Struct("<dqI")
"""Time, offset and length; the bytes follow. A flush has the offset -1."""

# What the kernel asks, from linux/fuse.h.
_FORGET, _GETATTR, _SETATTR, _OPEN, _READ, _WRITE, _STATFS, _RELEASE, _FSYNC = (
    *(2, 3, 4, 14, 15, 16, 17, 18, 20),
)
_FLUSH, _INIT, _INTERRUPT, _DESTROY, _BATCH_FORGET = 25, 26, 36, 38, 42

_IN: Final = struct.Struct("<IIQQIIIHH")
_OUT: Final = struct.Struct("<IiQ")
_ATTRIBUTES: Final = struct.Struct("<QII6Q3I7I")
_INIT_IN: Final = struct.Struct("<IIII")
_INIT_OUT: Final = struct.Struct("<IIIIHHIIHHI7I")
_TRANSFER: Final = struct.Struct("<QQIIQII")
"""What a read and a write say: handle, offset, size; the rest is of no concern."""

_BIG_WRITES: Final = 1 << 5
_MAX_PAGES: Final = 1 << 22
_WRITE_BYTES_MAX: Final = 1 << 20
_PAGE_BYTES: Final = 4096

_MS_NOSUID_NODEV: Final = 2 | 4


@dataclass(frozen=True, slots=True)
class BlockEvent:
    """Something that reached the device."""

    time: float
    offset: int
    """Where bytes were written; -1 for a flush: what was written before it is on the disk."""
    data: bytes | memoryview

    @property
    def is_flush(self) -> bool:
        """Whether this makes durable what was written before."""
        return self.offset < 0


def read_events(log: Path) -> Iterator[BlockEvent]:
    """Yield what a log holds, in order; the bytes stay in the file until somebody wants them, so
    that a process with a long log is forked in no time."""
    if not log.stat().st_size:
        return
    with log.open("rb") as file:
        view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    at = 0
    while at < len(view):
        moment, offset, size = _EVENT.unpack_from(view, at)
        at += _EVENT.size
        yield BlockEvent(moment, offset, view[at : at + size])
        at += size


def write_event(log: IO[bytes], event: BlockEvent) -> None:
    """Append an event to a log."""
    log.write(_EVENT.pack(event.time, event.offset, len(event.data)) + event.data)


def serve(image: Path, log: Path, point: Path) -> None:
    """Serve `image` as the file `point` until that is unmounted."""
    bytes_count = image.stat().st_size
    device = os.open("/dev/fuse", os.O_RDWR)
    disk = os.open(image, os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    # The mount's root is a regular file, so there is nothing to look up.
    options = f"fd={device},rootmode={stat.S_IFREG:o},user_id=0,group_id=0,allow_other"
    if libc.mount(b"blocklog", os.fsencode(point), b"fuse", _MS_NOSUID_NODEV, options.encode()):
        number = ctypes.get_errno()
        raise OSError(number, f"{point} can not be mounted: {os.strerror(number)}")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    attributes = _ATTRIBUTES.pack(
        *(3600, 0, 0),
        *(1, bytes_count, bytes_count // 512, 0, 0, 0),
        *(0, 0, 0),
        *(stat.S_IFREG | 0o600, 1, 0, 0, 0, _PAGE_BYTES, 0),
    )
    with log.open("wb") as events:
        while True:
            try:
                request = os.read(device, _WRITE_BYTES_MAX + 2 * _PAGE_BYTES)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT):
                    continue
                if error.errno == errno.ENODEV:  # unmounted
                    return
                raise
            _, code, unique, *_ = _IN.unpack_from(request)
            failure, answer = 0, b""
            if code in (_FORGET, _BATCH_FORGET, _INTERRUPT):
                continue
            if code == _INIT:
                major, minor, readahead, flags = _INIT_IN.unpack_from(request, _IN.size)
                answer = _INIT_OUT.pack(
                    *(major, min(minor, 31), readahead, flags & (_BIG_WRITES | _MAX_PAGES)),
                    *(16, 12, _WRITE_BYTES_MAX, 1, _WRITE_BYTES_MAX // _PAGE_BYTES, 0, 0),
                    *[0] * 7,
                )
            elif code in (_GETATTR, _SETATTR):
                answer = attributes
            elif code == _OPEN:
                answer = struct.pack("<QII", 1, 0, 0)
            elif code == _READ:
                _, offset, size, *_ = _TRANSFER.unpack_from(request, _IN.size)
                answer = os.pread(disk, size, offset)
            elif code == _WRITE:
                _, offset, size, *_ = _TRANSFER.unpack_from(request, _IN.size)
                data = request[_IN.size + _TRANSFER.size :]
                assert len(data) == size
                write_event(events, BlockEvent(time.monotonic(), offset, data))
                os.pwrite(disk, data, offset)
                answer = struct.pack("<II", size, 0)
            elif code == _FSYNC:
                write_event(events, BlockEvent(time.monotonic(), -1, b""))
            elif code == _STATFS:
                answer = bytes(80)
            elif code not in (_FLUSH, _RELEASE, _DESTROY):
                failure = -errno.ENOSYS
            os.write(device, _OUT.pack(_OUT.size + len(answer), failure, unique) + answer)


if __name__ == "__main__":
    serve(*(Path(argument) for argument in sys.argv[1:4]))
