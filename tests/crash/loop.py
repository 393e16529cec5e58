"""Images mounted and unmounted by the system calls themselves.

mount(8), losetup(8) and umount(8) do the same, and take a process each: as long as the file system
needs to look through its log. Whoever tries thousands of disks does without.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import struct
from pathlib import Path
from typing import Final

__all__ = ["MNT_DETACH", "mount_image", "unmount_now"]

MNT_DETACH: Final = 2
"""Of umount2: leave the tree at once, and end when the last user is gone."""

_TRIES: Final = 50
"""Loop devices that others may snatch away before one is ours."""

# linux/loop.h: what asks for a device, and what binds it to a file in one step.
_GET_FREE: Final = 0x4C82
_CONFIGURE: Final = 0x4C0A
_AUTOCLEAR: Final = 4
_CONFIG: Final = struct.Struct("<II52xI176x64x")
"""Descriptor, size of a block, and the flags amid the rest of `loop_config`."""

_libc: Final = ctypes.CDLL(None, use_errno=True)


def mount_image(image: Path, kind: str, point: Path) -> None:
    """Mount an image; its loop device vanishes with the mount, however this process ends.

    Raises:
        RuntimeError: the kernel takes it for no file system of this kind, or there is no device.
    """
    device, name = _bind(image)
    try:
        done = _libc.mount(name.encode(), os.fsencode(point), kind.encode(), 0, b"")
        number = ctypes.get_errno()
    finally:
        os.close(device)
    if done:
        raise RuntimeError(f"{image} can not be mounted as {kind}: {os.strerror(number)}")


def unmount_now(point: Path, flags: int = 0) -> bool:
    """Unmount; return whether it could be done, which it can not while somebody uses it.

    Raises:
        OSError: it can not be done for another reason.
    """
    if not _libc.umount2(os.fsencode(point), flags):
        return True
    number = ctypes.get_errno()
    if number == errno.EBUSY:
        return False
    raise OSError(number, os.strerror(number), str(point))


def _bind(image: Path) -> tuple[int, str]:
    """Return an open loop device that shows a file, and its name."""
    with contextlib.ExitStack() as stack:
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
        stack.callback(os.close, control)
        file = os.open(image, os.O_RDWR | os.O_CLOEXEC)
        stack.callback(os.close, file)
        for _ in range(_TRIES):
            name = f"/dev/loop{fcntl.ioctl(control, _GET_FREE)}"
            device = os.open(name, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _CONFIGURE, _CONFIG.pack(file, 0, _AUTOCLEAR))
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:
                    raise
            else:
                return device, name
    raise RuntimeError("there is no free loop device")
