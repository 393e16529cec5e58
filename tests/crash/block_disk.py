"""A disk whose every write is logged, and the disks that a power cut could have left of it.

What a flush came after is on the disk. Of what was written since the last flush, any part may be
there, in any order and torn between two sectors: that is all a disk promises (and more than an
honest one does wrong).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Final

from crash.block_log import BlockEvent, read_events
from crash.disk import KINDS, run, unmount, why_unavailable
from crash.loop import MNT_DETACH, mount_image, unmount_now

__all__ = [
    "FATES",
    "Crash",
    "LoggedDisk",
    "Remains",
    "Replay",
    "copy_sparse",
    "mounted",
    "why_no_log",
]

IMAGE_BYTES: Final = {"ext4": 96 << 20, "xfs": 320 << 20}
"""Small, because one is copied for each state; XFS takes no less than 300 MB."""

_OPTIONS: Final = {"ext4": ("-b", "4096", "-J", "size=8"), "xfs": ()}

SECTOR_BYTES: Final = 512
"""What a disk writes whole or not at all."""

RELEASE_SECONDS: Final = 10.0
"""How long a loop device may hold its file after the file system on it was unmounted."""


def why_no_log() -> str:
    """Return why no disk can be logged here; empty if one can."""
    if reason := why_unavailable():
        return reason
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return (
            f"logging a disk's writes needs /dev/fuse ({error.strerror}); in a container, start it "
            "with --device /dev/fuse --privileged"
        )
    return ""


class LoggedDisk:
    """Owns a mounted file system on a logged device until the end of the `with` block."""

    def __init__(self, directory: Path, kind: str) -> None:
        """Everything is made in `directory`."""
        self.kind = kind
        self.root = directory / "logged"
        self.base = directory / "base.img"
        """The disk as it was before the first event."""
        self.log = directory / "blocks.log"
        self._image = directory / "disk.img"
        self._point = directory / "device"
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> LoggedDisk:
        maker = f"mkfs.{self.kind}"
        if shutil.which(maker) is None:
            raise RuntimeError(
                f"{maker} is not installed; get it with `apt-get install {KINDS[self.kind]}`"
            )
        self.root.mkdir()
        self._point.touch()
        with self.base.open("xb") as image:
            image.truncate(IMAGE_BYTES[self.kind])
        run(maker, "-q", *_OPTIONS[self.kind], str(self.base))
        copy_sparse(self.base, self._image)
        self._server = subprocess.Popen(
            [
                *(sys.executable, "-m", "crash.block_log"),
                *(str(self._image), str(self.log), str(self._point)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
        )
        assert self._server.stdout is not None
        if not self._server.stdout.readline():
            raise RuntimeError("the block log does not start; it says why above")
        try:
            run("mount", "-o", "loop", "-t", self.kind, str(self._point), str(self.root))
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            unmount(self.root)
        finally:
            self._release()

    def _release(self) -> None:
        """End the server; the kernel gives the loop device back a moment after the unmounting."""
        assert self._server is not None
        deadline = time.monotonic() + RELEASE_SECONDS
        while not unmount_now(self._point):
            if time.monotonic() > deadline:
                unmount_now(self._point, MNT_DETACH)
                break
            time.sleep(0.01)
        try:
            self._server.wait(RELEASE_SECONDS)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
        assert self._server.stdout is not None
        self._server.stdout.close()


@dataclass(frozen=True, slots=True)
class Crash:
    """A power cut at one moment of a recording."""

    at: int
    """Events before this one had reached the disk."""
    fate: str
    """What became of what had not been flushed: nothing, all, torn, some."""
    seed: int

    def __str__(self) -> str:
        return f"before event {self.at}, {self.fate} of what was not flushed, drawn by {self.seed}"


@dataclass(frozen=True, slots=True)
class Remains:
    """What is on the disk after a crash; two crashes that leave the same make the same disk."""

    flushed: int
    """All events before this one are whole."""
    parts: tuple[tuple[int, int, int], ...]
    """And of these later ones what lies between two offsets."""


FATES: Final = ("nothing", "all", "torn", "some")


class Replay:
    """Makes disks from a recording; crashes have to be asked for in the order of time."""

    def __init__(self, base: Path, log: Path) -> None:
        """`base` becomes the disk as it surely was at the last crash that was asked for."""
        self.events: Sequence[BlockEvent] = tuple(read_events(log))
        self._times = [event.time for event in self.events]
        self._flushes = [index for index, event in enumerate(self.events) if event.is_flush]
        self._base = base
        self._applied = 0

    @property
    def flush_count(self) -> int:
        """How often the disk was told to flush."""
        return len(self._flushes)

    def index_at(self, time: float) -> int:
        """Return the first event that came at this time or later."""
        return bisect_left(self._times, time)

    def time_of(self, crash: Crash) -> float:
        """Return the moment of a crash: whatever was told before it had to last."""
        if crash.at == len(self.events):
            return float("inf")
        return self.events[crash.at].time

    def draw(
        self,
        random: Random,
        first: int,
        made: int,
        told: Sequence[float],
        named: Sequence[float] = (),
    ) -> Crash:
        """Return a crash at any event from `first` on, or right after one of the times `told`.

        Now and then it is one up to `made`: that is soon over, and a time of its own. Or one right
        after a time at which a commit was `named`, with all lost that was not flushed: whatever git
        has not synced by then is gone, were it only the name of a file.
        """
        if random.random() < 0.05:
            at = random.randint(first, made)
        elif named and random.random() < 0.2:
            at = max(first, self.index_at(random.choice(named)))
            return Crash(at, "nothing", 0)
        elif told and random.random() < 0.5:
            at = max(first, self.index_at(random.choice(told)))
        else:
            at = random.randint(first, len(self.events))
        (fate,) = random.choices(FATES, weights=(35, 15, 20, 30))
        return Crash(at, fate, random.getrandbits(32))

    def left_by(self, crash: Crash) -> Remains:
        """Return what a crash leaves of what had not been flushed."""
        # A crash is drawn anywhere, but the last flush before it is what counts.
        number = bisect_left(self._flushes, crash.at)
        flushed = self._flushes[number - 1] + 1 if number else 0
        random = Random(crash.seed)
        pending = range(flushed, crash.at)
        if crash.fate == "nothing":
            pending = range(0)
        elif crash.fate == "torn":
            # In order up to one that did not come to its end.
            pending = pending[: random.randint(0, len(pending))]
        parts: list[tuple[int, int, int]] = []
        for number, index in enumerate(pending):
            if crash.fate == "some" and random.random() < 0.5:
                continue
            torn = crash.fate == "torn" and number == len(pending) - 1
            torn = torn or (crash.fate == "some" and random.random() < 0.2)
            size = len(self.events[index].data)
            if not torn:
                parts.append((index, 0, size))
                continue
            parts += [
                (index, start, min(start + SECTOR_BYTES, size))
                for start in range(0, size, SECTOR_BYTES)
                if random.random() < 0.5
            ]
        return Remains(flushed, tuple(parts))

    def make(self, crash: Crash, target: Path) -> None:
        """Write the disk that a crash left."""
        left = self.left_by(crash)
        with self._base.open("r+b") as base:
            for event in self.events[self._applied : left.flushed]:
                if not event.is_flush:
                    base.seek(event.offset)
                    base.write(event.data)
        self._applied = max(self._applied, left.flushed)
        copy_sparse(self._base, target)
        with target.open("r+b") as disk:
            for index, start, end in left.parts:
                event = self.events[index]
                disk.seek(event.offset + start)
                disk.write(event.data[start:end])


@contextlib.contextmanager
def mounted(image: Path, kind: str, point: Path) -> Generator[None]:
    """Mount an image, by which its file system replays its own log, and unmount it at the end."""
    point.mkdir(exist_ok=True)
    mount_image(image, kind, point)
    try:
        yield
    finally:
        unmount(point)


def copy_sparse(source: Path, target: Path) -> None:
    """Copy a sparse file, its holes left out."""
    with source.open("rb") as old, target.open("wb") as new:
        size = os.fstat(old.fileno()).st_size
        new.truncate(size)
        at = 0
        while True:
            try:
                begin = os.lseek(old.fileno(), at, os.SEEK_DATA)
            except OSError:
                return  # nothing but a hole is left
            at = os.lseek(old.fileno(), begin, os.SEEK_HOLE)
            while begin < at:
                # Not by copy_file_range: the two may be on different file systems.
                data = os.pread(old.fileno(), min(at - begin, 1 << 20), begin)
                begin += os.pwrite(new.fileno(), data, begin)
