"""Noticing files that were changed past the coordinator.

The kernel's notices make it fast, a periodic look at every file makes it certain: a notice that was
missed or could not be ordered costs time, never a change. Either way a path only becomes a suspect
here. It is looked at until it has been the same for a moment, so that an editor that saves by
deleting and renaming, or a program that writes in pieces, is seen once and whole; then it is read
and handed to the core. What we wrote ourselves is known by its signature and is no suspect.

Only directories in which documents lie are watched, and only documents are ever looked at: the
sources, dependencies and secrets that lie beside them are none of our business.
"""

from __future__ import annotations

import bisect
import logging
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import msgspec
import watchfiles

from agent_trace_coordinator.core.inputs import Now
from agent_trace_coordinator.core.records import Changed, Entry
from agent_trace_coordinator.storage.base import CapturedFile, Signature, WatchedTree
from agent_trace_protocol.layout import STORE_DIRECTORY

from .adoption import Outcome

__all__ = ["Watcher"]

_log = logging.getLogger("agent_trace.coordinator.watcher")

LOOK_SECONDS: Final = 0.1
"""Between two looks at the suspects."""

SETTLE_SECONDS: Final = 0.2
"""How long a file must have been the same before it is read."""

SETTLE_MISSING_SECONDS: Final = 0.5
"""How long a file must have been gone before it counts as deleted: some editors delete, then
write, and a checkout of many files takes its time."""

HOLD_SECONDS: Final = 0.3
"""How long a path is left alone after it was handed over, until the files show the outcome."""

HOLD_SECONDS_MAX: Final = 30.0
"""The same, at most, for a path that is put back again and again."""

PUT_BACKS_FREE: Final = 10
"""How often a path is put back without delay, which is more often than a person tries; each time
after these is left alone for twice as long as the one before."""

FORGIVEN_SECONDS: Final = 30.0
"""How long it takes until one of the times that a path was put back does not count any more."""

CAPTURED_FILES_MAX: Final = 64
"""Files read at a time: what makes one transaction, and bounds the contents in memory."""

NOTICE_QUIET_MS: Final = 50
NOTICE_GATHER_MS: Final = 200
"""How long the kernel's notices are gathered: until none came for the first, at most the second."""

STRANGERS_MAX: Final = 1000
"""Names that came lately and are remembered; files that are renamed are found among them."""

RESTART_SECONDS: Final = 0.3
"""How long new directories are gathered before they are watched as well."""

START_SECONDS: Final = 0.3
"""How long after notices were ordered they surely come."""

RETRY_SECONDS: Final = 5.0
"""Pause before watching is tried again after it failed."""


@dataclass(slots=True)
class _Hold:
    """A path that was handed over."""

    at: float
    seconds: float
    """How long it is left alone from then on."""
    put_backs: float
    """How often it was put back, less what was forgiven until then."""

    def counted(self, now: float) -> float:
        """Return how many of the times that it was put back still count."""
        return max(0.0, self.put_backs - (now - self.at) / FORGIVEN_SECONDS)


class Watcher:
    """Watches the files of a store's documents."""

    def __init__(
        self,
        root: Path,
        tree: WatchedTree,
        *,
        paths: Callable[[], list[str]],
        files_seq: Callable[[], int],
        hand_over: Callable[[list[CapturedFile]], Outcome],
        clock: Callable[[], Now],
        scan_seconds: float,
    ) -> None:
        """`paths` returns the documents' paths, sorted; `files_seq` the last operation that the
        files show; `hand_over` judges files."""
        self._root = root
        self._tree = tree
        self._paths = paths
        self._files_seq = files_seq
        self._hand_over = hand_over
        self._clock = clock
        self._scan_seconds = scan_seconds
        self._suspects: dict[str, tuple[Signature, float] | None] = {}
        """What was seen at a path last, and since when it has been that."""
        self._holds: dict[str, _Hold] = {}
        self._strangers: dict[str, None] = {}
        """Names that came lately and are no documents: files that were renamed may be there."""
        self._wake = anyio.Event()
        self._restart = anyio.Event()
        self._watched: set[str] = set()
        """Directories, by their path from the root; the root is the empty one."""

    async def run(self) -> None:
        """Watch until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch)
            tasks.start_soon(self._scan)
            while True:
                if not self._suspects:
                    await self._wake.wait()
                self._wake = anyio.Event()
                await anyio.sleep(LOOK_SECONDS)
                await self._look()

    def suspect(self, paths: Iterable[str]) -> None:
        """Look at these documents' files soon."""
        for path in paths:
            self._suspects.setdefault(path, None)
        if self._suspects:
            self._wake.set()

    def note(self, batch: list[Entry]) -> None:
        """Take durable operations: documents may lie in directories that are not watched yet."""
        for entry in batch:
            body = entry.record.body
            if isinstance(body, Changed):
                for change in body.changes:
                    if change.path.rpartition("/")[0] not in self._watched:
                        self._restart.set()

    # -- from suspicion to certainty ---------------------------------------------------------

    async def _look(self) -> None:
        now = self._clock().monotonic
        due = sorted(
            path
            for path in self._suspects
            if path not in self._holds or now - self._holds[path].at >= self._holds[path].seconds
        )
        if not due:
            return
        try:
            foreign = await anyio.to_thread.run_sync(self._tree.foreign, due)
        except OSError as error:
            _log.warning("files can not be looked at: %s", error)
            return
        settled: list[str] = []
        for path in due:
            signature = foreign.get(path)
            if signature is None:
                self._suspects.pop(path, None)
                continue
            seen = self._suspects.get(path)
            if seen is None or seen[0] != signature:
                self._suspects[path] = (signature, now)
                continue
            # A signature without an inode says that there is nothing, or nothing to be read.
            wait = SETTLE_SECONDS if signature[1] else SETTLE_MISSING_SECONDS
            if now - seen[1] >= wait:
                settled.append(path)
        for start in range(0, len(settled), CAPTURED_FILES_MAX):
            await self._capture(settled[start : start + CAPTURED_FILES_MAX])

    async def _capture(self, paths: list[str]) -> None:
        shown = self._files_seq()
        try:
            found = await anyio.to_thread.run_sync(self._tree.capture, paths)
        except OSError as error:
            _log.warning("files can not be read: %s", error)
            return
        moved = await self._find_moved(found)
        found = [
            msgspec.structs.replace(each, files_seq=shown, moved_to=moved.get(each.path, ""))
            for each in found
        ]
        outcome = self._hand_over(found)
        now = self._clock().monotonic
        for each in found:
            path = each.path
            if path in outcome.current:
                self._tree.accept(path, each.signature)
            self._suspects.pop(path, None)
            self._hold(path, now, put_back=path in outcome.put_back)
        # Whether it is as it should be now is looked at once more, after the pause.
        self.suspect(each.path for each in found)

    async def _find_moved(self, found: list[CapturedFile]) -> dict[str, str]:
        """Return where the files lie now that are gone from their documents' paths."""
        gone = [each.path for each in found if each.content is None and not each.problem]
        if not gone:
            return {}
        documents = set(self._paths())
        among = dict.fromkeys(reversed(self._strangers))
        for directory in self._watched:
            try:
                names = await anyio.to_thread.run_sync(os.listdir, self._root / directory)
            except OSError:
                continue
            among.update(
                (f"{directory}/{name}" if directory else name, None) for name in sorted(names)
            )
        names = [name for name in among if name not in documents and name not in self._watched]
        try:
            moved = await anyio.to_thread.run_sync(self._tree.find_moved, gone, names)
        except OSError as error:
            _log.warning("renamed files can not be looked for: %s", error)
            return {}
        return {old: new for old, new in moved.items() if new not in documents}

    def _hold(self, path: str, now: float, *, put_back: bool) -> None:
        hold = self._holds.get(path)
        counted = 0.0 if hold is None else hold.counted(now)
        seconds = HOLD_SECONDS
        if put_back:
            counted += 1
            # A program that insists is answered more and more slowly, so that it costs next to
            # nothing; a person who saves once more is not kept waiting.
            doubled = max(0, math.ceil(counted) - PUT_BACKS_FREE)
            seconds = min(HOLD_SECONDS * 2.0**doubled, HOLD_SECONDS_MAX)
        self._holds[path] = _Hold(now, seconds, counted)

    # -- what raises suspicion ---------------------------------------------------------------

    async def _scan(self) -> None:
        while True:
            now = self._clock().monotonic
            self._holds = {
                path: hold
                for path, hold in self._holds.items()
                if now - hold.at < hold.seconds or hold.counted(now)
            }
            await self._look_at_all()
            await anyio.sleep(self._scan_seconds)

    async def _look_at_all(self) -> None:
        try:
            foreign = await anyio.to_thread.run_sync(self._tree.foreign, self._paths())
        except OSError as error:
            _log.warning("files can not be looked at: %s", error)
        else:
            self.suspect(foreign)

    async def _look_after_start(self) -> None:
        """Look for what happened between two orders for notices: nobody was told of it."""
        await anyio.sleep(START_SECONDS)
        await self._look_at_all()

    async def _watch(self) -> None:
        while True:
            self._restart = anyio.Event()
            wanted = _directories(self._paths())
            there = await anyio.to_thread.run_sync(self._existing, wanted)
            # A directory that is not there yet is tried again when the next document comes into it.
            self._watched = there
            # The thread that takes the notices can not be cancelled, but looks at the event often.
            stop = anyio.Event()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._take_notices, there, stop)
                tasks.start_soon(self._look_after_start)
                try:
                    await self._restart.wait()
                    await anyio.sleep(RESTART_SECONDS)
                finally:
                    stop.set()
                tasks.cancel_scope.cancel()

    def _existing(self, directories: set[str]) -> set[str]:
        return {each for each in directories if os.path.isdir(self._root / each)}

    async def _take_notices(self, directories: set[str], stop: anyio.Event) -> None:
        prefix = f"{self._root}{os.sep}"
        try:
            async for changes in watchfiles.awatch(
                *(self._root / each for each in directories),
                watch_filter=None,
                recursive=False,
                stop_event=stop,
                step=NOTICE_QUIET_MS,
                debounce=NOTICE_GATHER_MS,
                ignore_permission_denied=True,
            ):
                self._suspect_below(
                    {path.removeprefix(prefix) for _, path in changes if path.startswith(prefix)}
                )
        except (OSError, RuntimeError) as error:
            # Too many watches, or a directory that is gone: the periodic look still finds it.
            _log.warning("directories can not be watched, trying again: %s", error)
            await anyio.sleep(RETRY_SECONDS)
        self._restart.set()

    def _suspect_below(self, names: set[str]) -> None:
        paths = self._paths()
        for name in names:
            if name == STORE_DIRECTORY:
                continue
            start = bisect.bisect_left(paths, name)
            if start < len(paths) and paths[start] == name:
                self.suspect((name,))
            else:
                self._strangers.pop(name, None)
                self._strangers[name] = None
                if len(self._strangers) > STRANGERS_MAX:
                    del self._strangers[next(iter(self._strangers))]
            # A directory that came or went takes its documents with it.
            below = f"{name}{os.sep}"
            start = bisect.bisect_left(paths, below)
            while start < len(paths) and paths[start].startswith(below):
                self.suspect((paths[start],))
                start += 1


def _directories(paths: list[str]) -> set[str]:
    """Return the directories that documents lie in, and those above them."""
    directories = {""}
    for path in paths:
        parent = path.rpartition("/")[0]
        while parent and parent not in directories:
            directories.add(parent)
            parent = parent.rpartition("/")[0]
    return directories
