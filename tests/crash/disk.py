"""A disk of our own whose power can be cut: an image file on a loop device.

The cut is the file system's own shutdown call without a flush of its log (ext4 and XFS know it):
from then on nothing more reaches the disk, and what was not synced is gone at the next mount.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final

from crash.loop import MNT_DETACH, mount_image, unmount_now

__all__ = ["KINDS", "MEMORY", "Disk", "run", "unmount", "why_unavailable"]

MEMORY: Final = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Where images are kept: what is synced to them costs no real disk anything."""

KINDS: Final = {"ext4": "e2fsprogs", "xfs": "xfsprogs"}
"""The file systems that can be cut, and the package that makes each."""

IMAGE_BYTES: Final = 4 << 30
"""Size of the image; it is sparse, so it costs only what is written."""

UNMOUNT_SECONDS: Final = 20.0
"""How long what used the disk may take to be gone."""

# FS_IOC_SHUTDOWN and FS_SHUTDOWN_FLAGS_NOLOGFLUSH of the kernel's headers.
_SHUTDOWN: Final = 0x8004587D
_NO_LOG_FLUSH: Final = 2


def why_unavailable() -> str:
    """Return why no disk can be made here; empty if one can."""
    if os.geteuid() != 0:
        return "cutting the power needs root, to mount a file system: run the tests as root"
    for tool in ("losetup", "mount"):
        if shutil.which(tool) is None:
            return f"cutting the power needs {tool}: install it with `apt-get install mount`"
    with tempfile.NamedTemporaryFile() as image:
        image.truncate(1 << 20)
        found = subprocess.run(
            ["losetup", "--find", "--show", image.name], capture_output=True, text=True, check=False
        )
        if found.returncode:
            return (
                "cutting the power needs a loop device, and there is none "
                f"({found.stderr.strip()}); in a container, start it with --privileged"
            )
        subprocess.run(["losetup", "--detach", found.stdout.strip()], check=True)
    return ""


class Disk:
    """Owns an image and its mount until `close`, or the end of the `with` block."""

    def __init__(self, directory: Path, kind: str) -> None:
        """The mount point is made in `directory`, the image in memory if there is room."""
        self.kind = kind
        self._held = tempfile.TemporaryDirectory(prefix="crash-", dir=MEMORY or directory)
        self.image = Path(self._held.name) / f"{kind}.img"
        self.root = directory / kind
        self._lever: int | None = None
        self._mounted = False

    def __enter__(self) -> Disk:
        maker = f"mkfs.{self.kind}"
        if shutil.which(maker) is None:
            self.close()
            raise RuntimeError(
                f"{maker} is not installed; get it with `apt-get install {KINDS[self.kind]}`"
            )
        try:
            self.root.mkdir()
            with self.image.open("xb") as image:
                image.truncate(IMAGE_BYTES)
            run(maker, "-q", str(self.image))
            self.mount()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def mount(self) -> None:
        """Give it power: the file system replays its log."""
        mount_image(self.image, self.kind, self.root)
        self._mounted = True
        self._lever = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)

    def cut(self) -> float:
        """Cut the power; return the time at which the cutting began."""
        assert self._lever is not None
        argument = struct.pack("I", _NO_LOG_FLUSH)
        began = time.monotonic()
        fcntl.ioctl(self._lever, _SHUTDOWN, argument)
        return began

    def unmount(self) -> None:
        """Take the disk out; what still uses it and was started by us is killed."""
        if self._lever is not None:
            os.close(self._lever)
            self._lever = None
        unmount(self.root)
        self._mounted = False

    def close(self) -> None:
        """Unmount, come what may, and remove the image. Doing it twice is harmless."""
        try:
            if self._mounted:
                self.unmount()
        except RuntimeError:
            # It leaves the tree at once and the device when its last user is gone.
            unmount_now(self.root, MNT_DETACH)
            self._mounted = False
            raise
        finally:
            self._held.cleanup()


def unmount(root: Path) -> None:
    """Unmount; what still uses it and was started by us is killed.

    Raises:
        RuntimeError: something else holds it.
    """
    deadline = time.monotonic() + UNMOUNT_SECONDS
    while True:
        if unmount_now(root):
            break
        if time.monotonic() > deadline:
            raise RuntimeError(f"{root} can not be unmounted: somebody uses it")
        # A git whose coordinator was killed goes on with what is in its pipe.
        for user in _users(root):
            with contextlib.suppress(ProcessLookupError):
                os.kill(user, signal.SIGKILL)
        time.sleep(0.01)


def run(*command: str) -> None:
    """Run a command; raises `RuntimeError` with what it says if it fails."""
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        said = (done.stderr + done.stdout).decode("utf-8", "replace").strip()
        raise RuntimeError(f"{' '.join(command)} failed: {said}")


def _users(root: Path) -> list[int]:
    """Return the git processes that work below our own mount."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                at = Path(os.readlink(entry / "cwd"))
                name = (entry / "comm").read_text(encoding="utf-8").strip()
            except OSError:
                continue
            if at.is_relative_to(root) and name.startswith("git"):
                found.append(int(entry.name))
    return found
