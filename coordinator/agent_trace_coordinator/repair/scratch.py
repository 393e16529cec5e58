"""A directory for what is made only to be compared with; never in the store, which may be evidence.

Whoever is killed leaves it behind, with megabytes in it. Each holds a lock on its own directory for
as long as it lives, so the next one knows which are nobody's any more, and removes those.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

__all__ = ["scratch_directory"]

_PREFIX: Final = "agent-trace-scratch-"


@contextmanager
def scratch_directory() -> Generator[Path]:
    """Make an empty private directory for a while; what others of this user left is removed."""
    _remove_left()
    path, descriptor = _make()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def _make() -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        descriptor = _lock(path)
        if descriptor is not None:
            return path, descriptor
        # Another one took it for left, between the two.


def _remove_left() -> None:
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if path.lstat().st_uid != os.geteuid():
                continue
            descriptor = _lock(path)
            if descriptor is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(descriptor)


def _lock(path: Path) -> int | None:
    """Return a descriptor that holds the lock of a directory that is there; None if another does.

    The kernel gives it up when its holder dies, however it dies.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink:
            return descriptor
    except BlockingIOError:
        pass
    os.close(descriptor)
    return None
