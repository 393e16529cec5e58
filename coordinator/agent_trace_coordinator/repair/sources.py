"""Everything of a store that may still hold a record or a content, damaged or not.

state.db page by page, git object by object, the documents' files, the quarantine. Nothing that is
found here is believed: records are proven by the hash chain, contents by their digests.
"""

from __future__ import annotations

import contextlib
import re
import stat
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

from agent_trace_coordinator.core.records import content_digest, encode_record, split_key
from agent_trace_coordinator.storage.escaping import ForeignCommit
from agent_trace_coordinator.storage.git_process import BRANCH
from agent_trace_coordinator.storage.git_recovery import read_ref
from agent_trace_coordinator.storage.object_hoard import ObjectHoard
from agent_trace_coordinator.storage.quarantine import quarantined_contents
from agent_trace_coordinator.storage.salvage import Salvage
from agent_trace_coordinator.storage.store import Store
from agent_trace_coordinator.storage.trailers import parse_trailers

from .examine import REPAIRING, Tell

__all__ = ["Sources"]

_BRANCH_REF: Final = f"refs/heads/{BRANCH}"

SIGNS_MAX: Final = 10_000
"""How far behind the last operation a number is believed: beyond, it comes from a flipped bit."""

FILE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes of a file that may be a document's."""

_HEADER: Final = re.compile(
    rb"tree [0-9a-f]{40}\n(?:parent [0-9a-f]{40}\n)?author [^\n]+\ncommitter [^\n]+\n\n"
)


class Sources:
    """Opened copies of one store's records and contents. A context manager."""

    def __init__(self, store: Store, kept: Path | None, tell: Tell) -> None:
        """`kept` is where a repair that was killed put the originals, if there was one."""
        self._store = store
        self._tell = tell
        self._closing = contextlib.ExitStack()
        databases = [store.state_db] + ([kept / "state.db"] if kept is not None else [])
        repositories = [store.repo] + ([kept / "repo"] if kept is not None else [])
        self._databases = [
            self._closing.enter_context(
                Salvage(path, lambda done, of: tell("reading state.db", done, of))
            )
            for path in databases
        ]
        self._hoard = self._closing.enter_context(
            ObjectHoard(repositories, store.directory / REPAIRING / "objects")
        )
        self._blobs: list[str] = []
        self.commits: dict[str, int] = {}
        """The commits of ours that can be read, with their operations."""
        self._tips = [tip for each in repositories if (tip := read_ref(each, _BRANCH_REF))]
        self.git: dict[int, list[tuple[bytes, bytes]]] = defaultdict(list)
        """By seq: pairs of a record, encoded, and a chain hash, from the commits."""
        self._read_commits()

    def __enter__(self) -> Sources:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    @property
    def journal(self) -> dict[int, list[tuple[bytes, bytes]]]:
        """Return by seq the pairs of a record, encoded, and a chain hash, from state.db."""
        found: dict[int, list[tuple[bytes, bytes]]] = defaultdict(list)
        for database in self._databases:
            for seq, pairs in database.journal.items():
                found[seq] += pairs
        return found

    @property
    def epoch(self) -> int:
        """Return how many lives the coordinator had, as far as state.db tells."""
        return max((int(each.meta.get("epoch", 0)) for each in self._databases), default=0)

    @property
    def store_id(self) -> str:
        """Return the store's id; empty if state.db does not tell."""
        return next(
            (str(each.meta["store"]) for each in self._databases if "store" in each.meta), ""
        )

    def _read_commits(self) -> None:
        names = self._hoard.names()
        commits = [name for name, kind in names.items() if kind in ("commit", "")]
        self._blobs = [name for name, kind in names.items() if kind in ("blob", "")]
        for done, (name, kind, data) in enumerate(self._hoard.read(commits)):
            header = _HEADER.match(data) if kind == b"commit" else None
            if header is None:
                continue
            try:
                trailers = parse_trailers(data[header.end() :].decode("utf-8"))
            except (ForeignCommit, UnicodeDecodeError):
                continue
            self.commits[name] = trailers.record.seq
            pair = (encode_record(trailers.record), trailers.chain)
            if pair not in self.git[trailers.record.seq]:
                self.git[trailers.record.seq].append(pair)
            if done % 1024 == 0:
                self._tell("reading commits", done, len(commits))
        self._tell("reading commits", len(commits), len(commits))

    def signs_after(self, last: int, commits: Collection[str]) -> list[str]:
        """Return what tells of operations after the last one that is proven; `commits` are the ids
        of the proven ones."""
        signs = [
            f"the branch stood at commit {tip}, which can not be read"
            for tip in self._tips
            if tip not in self.commits and tip not in commits
        ]
        named = {
            seq
            for each in self._databases
            for seq in (*each.named, *(split_key(key)[0] for key in each.content_keys()))
        }
        near = [seq for seq in named if last < seq <= last + SIGNS_MAX]
        if near:
            signs.append(f"state.db has rows of operation {max(near)}")
        if any(each.log_missing for each in self._databases):
            signs.append("a part of state.db's write-ahead log is missing or damaged")
        return signs

    def contents(
        self, wanted: Mapping[int, bytes], paths: Mapping[bytes, str]
    ) -> Iterator[tuple[int, bytes]]:
        """Yield the contents that are found anywhere, under their keys, each once.

        `wanted` are digests by key; `paths` says at which path a content may lie as a file.
        """
        missing: dict[bytes, list[int]] = {}
        for done, (key, digest) in enumerate(wanted.items()):
            data = next(
                (
                    found
                    for each in self._databases
                    if (found := each.content(key, digest)) is not None
                ),
                None,
            )
            if data is None:
                missing.setdefault(digest, []).append(key)
            else:
                yield key, data
            if done % 1024 == 0:
                self._tell("reading contents", done, len(wanted))
        for data in self._elsewhere(missing, paths):
            for key in missing.pop(content_digest(data), ()):
                yield key, data
            if not missing:
                break
        self._tell("reading contents", len(wanted), len(wanted))

    def _elsewhere(
        self, missing: Mapping[bytes, list[int]], paths: Mapping[bytes, str]
    ) -> Iterator[bytes]:
        if not missing:
            return
        for done, (_, kind, data) in enumerate(self._hoard.read(self._blobs)):
            if kind == b"blob":
                yield data
            if done % 1024 == 0:
                self._tell("reading blobs", done, len(self._blobs))
        for digest in list(missing):
            if digest in paths:
                yield from _file(self._store.root / paths[digest])
        for directory, names in (
            (self._store.quarantine, "violation-*"),
            (self._store.drafts, "draft-*"),
        ):
            for file in sorted(directory.glob(names)) if directory.is_dir() else ():
                for data in _file(file):
                    yield from quarantined_contents(data)


def _file(path: Path) -> Iterator[bytes]:
    with contextlib.suppress(OSError):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and status.st_size <= FILE_BYTES_MAX:
            yield path.read_bytes()
