"""Every object of a git directory that can still be read, whatever else of the directory is broken.

Refs, HEAD, configuration and the combined index are not looked at: a repository of our own is made
beside it that borrows packs and loose objects one by one, with an index or a trailer made good
where that is what is broken. Nothing in the damaged directory is changed. What is handed out was
hashed, and is the object that its name says.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from agent_trace_coordinator.errors import GitFailed

from .git_packs import PackIndex, names_listed, read_index
from .git_process import ANSWER_SECONDS, GitRunner, ObjectReader

__all__ = ["ObjectHoard"]

UNPACK_SECONDS: Final = 600.0
"""How long git may be silent over one pack."""

_PACK: Final = re.compile(r"(pack-[0-9a-f]{40})\.pack(?:\.damaged)?", re.ASCII)
_FAN: Final = re.compile(r"[0-9a-f]{2}", re.ASCII)
_LOOSE: Final = re.compile(r"[0-9a-f]{38}", re.ASCII)

_LOG: Final = logging.getLogger("agent_trace.git")


class ObjectHoard:
    """The objects of one or more git directories. A context manager; `scratch` is made and removed.

    Nobody may be writing to the directories.
    """

    def __init__(self, directories: Iterable[Path], scratch: Path) -> None:
        self._directories = [each for each in directories if (each / "objects").is_dir()]
        self._scratch = scratch
        self._runner = GitRunner(scratch / "objects.git")
        self.problems: list[str] = []
        """What is broken about the packs, one line each."""

    def __enter__(self) -> ObjectHoard:
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(parents=True, mode=0o700)
        self._runner.make_repository()
        self._runner.lock()
        for directory in self._directories:
            self._borrow(directory / "objects")
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    # -- reading -------------------------------------------------------------------------------

    def names(self) -> dict[str, str]:
        """Return the names of all objects, with their kinds; empty where that can not be said."""
        arguments = ("cat-file", "--batch-check", "--batch-all-objects", "--unordered")
        found: dict[str, str] = {}
        with contextlib.suppress(GitFailed):
            for line in self._runner.run(arguments, UNPACK_SECONDS).decode("ascii").split("\n"):
                fields = line.split(" ")
                if len(fields) == 3:
                    found[fields[0]] = fields[1]
        # One damaged object can end that listing early; the indexes name the rest.
        for name in self._named_by_indexes():
            found.setdefault(name, "")
        return found

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, bytes, bytes]]:
        """Yield name, kind and bytes of those of the objects that are whole."""
        with ObjectReader(self._runner, ANSWER_SECONDS) as objects:
            for name in names:
                found = objects.read(name)
                if found is not None:
                    yield name, *found

    def _named_by_indexes(self) -> Iterator[str]:
        objects = self._scratch / "objects.git" / "objects"
        for index in (objects / "pack").glob("*.idx"):
            yield from names_listed(index.read_bytes())
        for fan in objects.iterdir():
            if _FAN.fullmatch(fan.name):
                for name in os.listdir(fan):
                    if _LOOSE.fullmatch(name):
                        yield fan.name + name

    # -- borrowing -----------------------------------------------------------------------------

    def _borrow(self, objects: Path) -> None:
        own = self._scratch / "objects.git" / "objects"
        for fan in objects.iterdir():
            if not _FAN.fullmatch(fan.name) or not fan.is_dir():
                continue
            (own / fan.name).mkdir(exist_ok=True)
            for file in fan.iterdir():
                target = own / fan.name / file.name
                if _LOOSE.fullmatch(file.name) and not target.exists():
                    target.symlink_to(file.absolute())
        packs = objects / "pack"
        if not packs.is_dir():
            return
        (own / "pack").mkdir(exist_ok=True)
        for pack in sorted(packs.iterdir()):
            match = _PACK.fullmatch(pack.name)
            if match is None or (own / "pack" / f"{match[1]}.pack").exists():
                continue
            index = pack.with_name(pack.name.replace(".pack", ".idx", 1))
            try:
                problem = self._borrow_pack(pack, index, own / "pack" / match[1])
            except (OSError, GitFailed) as error:
                problem = str(error)
            if problem:
                self.problems.append(f"{pack.name}: {problem}")
                _LOG.warning("%s: %s", pack, problem)

    def _borrow_pack(self, pack: Path, index: Path, target: Path) -> str:
        """Make a pack readable under `target`; return what is broken about it."""
        own_pack, own_index = target.with_suffix(".pack"), target.with_suffix(".idx")
        listed: PackIndex | None = None
        with contextlib.suppress(OSError):
            listed = read_index(index)
        if listed is not None:
            own_index.symlink_to(index.absolute())
            data = pack.read_bytes()
            head = struct.pack(">4sII", b"PACK", 2, listed.count)
            trailer = listed.pack_checksum
            if data[:12] == head and data[-20:] == trailer:
                own_pack.symlink_to(pack.absolute())
                return ""
            # git takes a pack only if its ends are what the index says; what lies between is
            # found by the index, and each object is hashed on its own.
            size = max(len(data), listed.last_offset + 32)
            own_pack.write_bytes(head + data[12:-20].ljust(size - 32, b"\0") + trailer)
            return "its beginning or end is damaged"
        own_pack.symlink_to(pack.absolute())
        place = f"objects/pack/{target.name}"
        try:
            self._runner.run(("index-pack", "-o", f"{place}.idx", f"{place}.pack"), UNPACK_SECONDS)
            return "its index is missing or damaged"
        except GitFailed:
            own_pack.unlink()
            own_index.unlink(missing_ok=True)
        pipe = self._runner.start(("unpack-objects", "-r", "-q"), UNPACK_SECONDS)
        try:
            # What was unpacked before it gave up is there.
            with contextlib.suppress(GitFailed):
                pipe.finish(pack.read_bytes())
        finally:
            pipe.kill()
        return "the pack and its index are damaged"
