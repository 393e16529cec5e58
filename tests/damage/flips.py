"""One bit flipped after the other, and everything read: what is served is right, or is refused.

    PYTHONPATH=tests python -m damage.flips --flips 10000 --seed 1

A store that a real coordinator has made is changed in one bit, read through the coordinator's own
reading side in this process, and put back: some fifty times a second. What is asked: every record,
every revision with its bytes, the store as it was at any operation, the log, who touched what,
every object of git, the files. A typed error is a good answer, and so is a revision that can not be
found; another text, author, path or number than the true one is not.

A file of SQLite is read as a running coordinator reads it, whose write-ahead log is open, by a new
connection that has cached nothing. Now and then the store with its flipped bit is started by a
whole coordinator and asked through its socket, or repaired and judged as in `damage.case`.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final, cast

import msgspec

from agent_trace_coordinator.core.records import Changed, decode_record, record_digests
from agent_trace_coordinator.errors import GitFailed
from agent_trace_coordinator.repair.mend import repair
from agent_trace_coordinator.storage.base import ExpectedFile
from agent_trace_coordinator.storage.drafts import DraftFiles
from agent_trace_coordinator.storage.git import GitHistory
from agent_trace_coordinator.storage.git_process import GitRunner, ObjectReader
from agent_trace_coordinator.storage.history_index import HistoryIndex, PastDocument
from agent_trace_coordinator.storage.store import Store
from agent_trace_coordinator.storage.worktree import FileTree
from agent_trace_protocol import AgentTraceError, Log, LogEntry, Sessions, TouchInfo
from agent_trace_protocol.limits import DOCUMENT_BYTES_MAX
from crash.disk import MEMORY
from crash.repository import run_git
from damage.case import judge, nothing
from damage.original import Original, copy_store, make_original
from damage.served import ask_a_coordinator
from tally import total_line

__all__ = ["FlipFigures", "Flipper"]

STORE: Final = ".agent-trace"

READ_SECONDS: Final = 20
"""How long reading everything may take: damage must not make it go round in circles."""

WHOLE_EVERY: Final = 400
"""Of so many flips one is met by a whole coordinator, and one by a repair."""

FLIPS_PER_STORE: Final = 20_000
"""Then another store is made."""

Ask = Callable[[HistoryIndex], object]


@dataclass(slots=True)
class FlipFigures:
    """What a run has shown."""

    seed: int
    flips: Counter[str] = field(default_factory=Counter[str])
    """By what was hit."""
    harmless: int = 0
    """After which every answer was as before: an empty place, or one that nobody reads."""
    answers: int = 0
    """That were compared."""
    refused: int = 0
    """Answers that were typed errors."""
    missing: int = 0
    """Answers that there is no such thing."""
    short: int = 0
    """Lists that lack something, of which all that they have is true."""
    coordinators: int = 0
    repairs: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list[str])

    @property
    def signs(self) -> tuple[int, ...]:
        """Whatever changes if a flip changes any answer."""
        return self.refused, self.missing, self.short, len(self.wrong)

    @property
    def counts(self) -> dict[str, int]:
        """What is added up over runs."""
        return {
            **{"flips": self.flips.total(), "answers": self.answers},
            **{"coordinators": self.coordinators, "repairs": self.repairs},
            "violations": len(self.wrong),
        }

    def lines(self) -> Iterator[str]:
        """Yield the figures as text."""
        total = self.flips.total()
        kinds = ", ".join(f"{count} in {kind}" for kind, count in self.flips.most_common())
        rate = total / self.seconds if self.seconds else 0.0
        yield (
            f"seed {self.seed}: {total} bits flipped ({kinds}), {rate:.0f} a second; "
            f"{self.coordinators} met by a whole coordinator, {self.repairs} by a repair"
        )
        yield (
            f"{self.answers} answers compared, {self.refused} refused with a typed error, "
            f"{self.missing} not found, {self.short} lists that lack something and are true "
            f"otherwise; {self.harmless} flips changed no answer"
        )
        yield f"{len(self.wrong)} wrong"


class _Slow(Exception):
    """Reading went on for too long."""


class Flipper:
    """A store whose bits are flipped, one at a time."""

    def __init__(
        self, original: Original, place: Path, random: Random, figures: FlipFigures
    ) -> None:
        """A copy is made in `place`, and put back after each flip."""
        self._original = original
        self._random = random
        self._figures = figures
        self._place = place
        self._clean, self._killed = place / "clean", place / "killed"
        copy_store(original.root, self._clean)
        copy_store(original.killed, self._killed)
        # As in a coordinator that runs: what the log holds is known, and never looked at again.
        self._keepers = [_keep_open(root) for root in (self._clean, self._killed)]
        self._asks = {root: _questions(root) for root in (self._clean, self._killed)}
        self._objects = _objects(self._clean / STORE / "repo")
        self._repository = _bytes_of(self._clean / STORE / "repo")
        with closing(GitHistory(self._clean)) as history:
            self._seq, self._head = history.start(), history.statistics().head
        self._expected = self._expected_files()
        self._drafts = self._draft_digests()

    def close(self) -> None:
        """Let go of the files."""
        for keeper in self._keepers:
            keeper.close()

    # -- one flip -----------------------------------------------------------------------------

    def flip(self) -> None:
        """Flip a bit anywhere, read everything, and put it back."""
        (kind,) = self._random.choices(tuple(_SHARES), weights=tuple(_SHARES.values()))
        path, check = self._aim(kind)
        size = path.stat().st_size
        if not size:
            return
        at, bit = self._random.randrange(size), 1 << self._random.randrange(8)
        figures = self._figures
        where = f"bit {bit:#04x} of byte {at} of {path.relative_to(self._place)}"
        before = figures.signs
        with _flipped(path, at, bit):
            try:
                with _bounded(READ_SECONDS):
                    for wrong in check():
                        figures.wrong.append(f"{where}: {wrong}"[:1500])
            except _Slow:
                figures.wrong.append(f"{where}: reading does not end")
        figures.flips[kind] += 1
        figures.harmless += before == figures.signs

    def flip_whole(self, number: int) -> None:
        """Flip a bit of a copy, and let a coordinator serve it, or a repair mend it."""
        kind = self._random.choice(("state.db", "write-ahead log", "git objects", "git refs"))
        path, _ = self._aim(kind)
        killed = path.is_relative_to(self._killed)
        root = self._place / "whole"
        shutil.rmtree(root, ignore_errors=True)
        original = self._original
        copy_store(original.killed if killed else original.root, root)
        hit = root / path.relative_to(self._killed if killed else self._clean)
        at, bit = self._random.randrange(hit.stat().st_size), 1 << self._random.randrange(8)
        where = f"bit {bit:#04x} of byte {at} of {hit.relative_to(root)}"
        figures = self._figures
        _flip(hit, at, bit)
        snapshot = original.killed_snapshot if killed else original.snapshot
        if number % 2:
            wrong = list(ask_a_coordinator(root, snapshot))
            figures.coordinators += 1
        else:
            outcome = repair(Store(root), nothing, lambda seen, losses: True)
            wrong = list(judge(snapshot, root, outcome, both=False, killed=killed))
            figures.repairs += 1
        figures.wrong += [f"{where}: {each}"[:1500] for each in wrong]
        figures.flips[kind] += 1

    def _aim(self, kind: str) -> tuple[Path, Callable[[], Iterator[str]]]:
        """Return a file of a kind, and what reads it."""
        random, clean, killed = self._random, self._clean, self._killed
        repo = clean / STORE / "repo"
        match kind:
            case "state.db":
                root = random.choice((clean, killed))
                return root / STORE / "state.db", lambda: self._ask_index(root)
            case "write-ahead log":
                return killed / STORE / "state.db-wal", lambda: self._ask_index(killed)
            case "git objects":
                paths = [repo / name for name in self._repository if name.startswith("objects/")]
                weights = [len(self._repository[str(path.relative_to(repo))]) for path in paths]
                (path,) = random.choices(paths, weights)
                started = random.random() < _START_SHARE
                return path, self._start_git if started else self._ask_git
            case "git refs":
                names = [
                    name
                    for name, data in self._repository.items()
                    if data and not name.startswith(("objects/", "hooks/", "info/"))
                ]
                return repo / random.choice(names), self._start_git
            case "files":
                return clean / random.choice(self._expected).path, lambda: self._ask_files("")
            case _:
                found = sorted((clean / STORE / "drafts").iterdir())
                return random.choice(found), self._ask_drafts

    # -- reading ------------------------------------------------------------------------------

    def _ask_index(self, root: Path) -> Iterator[str]:
        figures = self._figures
        asks = self._asks[root]
        try:
            index = HistoryIndex(root / STORE / "state.db")
        except AgentTraceError:
            figures.refused += len(asks)
            return
        with closing(index):
            for name, ask, expected in asks:
                figures.answers += 1
                try:
                    found = ask(index)
                except AgentTraceError:
                    figures.refused += 1
                    continue
                except _Slow:
                    raise
                except Exception as error:  # passed on: an error that has no type is a finding
                    yield f"{name}: untyped {type(error).__name__}: {error}"
                    continue
                if found == expected:
                    continue
                if found in (None, ""):
                    figures.missing += 1
                elif is_part(found, expected):
                    figures.short += 1
                else:
                    yield f"{name}: {found!r}, not {expected!r}"

    def _ask_git(self) -> Iterator[str]:
        """Read each object as a start and a repair do."""
        figures = self._figures
        repo = self._clean / STORE / "repo"
        runner = GitRunner(repo, guarded=False)
        try:
            with ObjectReader(runner, READ_SECONDS) as reader:
                for id, data in self._objects.items():
                    figures.answers += 1
                    found = reader.read(id)
                    if found is None:
                        figures.missing += 1
                    elif found != data:
                        yield f"object {id} is read as {found!r}"
        except GitFailed:
            figures.refused += 1
        finally:
            runner.close()

    def _start_git(self) -> Iterator[str]:
        """Let the history be started, which mends what it finds; then put everything back."""
        figures = self._figures
        figures.answers += 1
        repo = self._clean / STORE / "repo"
        history = GitHistory(self._clean)
        try:
            seq = history.start()
            head = history.statistics().head
            commits = self._original.snapshot.commits
            if head != (commits[seq - 1] if seq else "") or seq > len(commits):
                yield f"git is taken for standing at {head}, operation {seq}"
            figures.missing += seq != self._seq
        except GitFailed:
            figures.refused += 1
        finally:
            with contextlib.suppress(GitFailed):
                history.close()
            _put_back(repo, self._repository)

    def _ask_files(self, hit: str) -> Iterator[str]:
        """Each file that is not what its document says is seen."""
        figures = self._figures
        figures.answers += 1
        own = self._clean / STORE
        tree = FileTree(
            self._clean,
            temporary=own / "run" / "tmp",
            quarantine=own / "quarantine",
            document_bytes_max=DOCUMENT_BYTES_MAX,
        )
        with closing(tree):
            differing = tree.compare(self._expected)
        if len(differing) != 1:
            yield f"the files {differing} are taken for changed"
        figures.refused += bool(differing)

    def _ask_drafts(self) -> Iterator[str]:
        figures = self._figures
        files = DraftFiles(self._clean / STORE / "drafts")
        for seq, texts in self._drafts.items():
            figures.answers += 1
            found = files.texts(seq, frozenset(texts))
            for digest, data in found.items():
                if texts[digest] != data:
                    yield f"the text of draft {seq} is read as {data!r}"
            figures.missing += len(found) < len(texts)

    # -- what is true --------------------------------------------------------------------------

    def _expected_files(self) -> list[ExpectedFile]:
        newest: dict[int, Any] = {}
        for record in self._original.snapshot.decoded:
            if isinstance(record.body, Changed):
                newest |= {change.document: change for change in record.body.changes}
        return [
            ExpectedFile(change.path, change.size, change.digest)
            for change in newest.values()
            if change.content_key and change.size
        ]

    def _draft_digests(self) -> dict[int, dict[bytes, bytes]]:
        contents = self._original.snapshot.contents
        return {
            record.seq: {
                digest: contents[key]
                for key, digest in record_digests(record.body).items()
                if key in contents
            }
            for record in self._original.snapshot.decoded
            if type(record.body).__name__ == "Drafted"
        }


_SHARES: Final = {
    "state.db": 40,
    "write-ahead log": 20,
    "git objects": 25,
    "git refs": 3,
    "files": 8,
    "drafts": 4,
}
"""How often what is hit."""

_START_SHARE: Final = 0.1
"""Of the flips in objects: after which the whole history is started, which checks every pack."""


def _questions(root: Path) -> list[tuple[str, Ask, object]]:
    """Return everything that is asked of a store's index, with the true answer."""
    asks: list[tuple[str, Ask]] = []

    def add(name: str, method: Callable[..., object], *arguments: object) -> None:
        asks.append((name, lambda index: method(index, *arguments)))

    with closing(HistoryIndex(root / STORE / "state.db")) as index:
        last = index.last_seq()
        documents: set[int] = set()
        for seq, encoded in index.rows("SELECT seq, record FROM journal ORDER BY seq"):
            record = decode_record(encoded)
            add(f"record {seq}", HistoryIndex.record, seq)
            add(f"commit of {seq}", HistoryIndex.commit, seq)
            if record.request:
                session, number = record.session, record.request
                add(f"request {number} of {session}", HistoryIndex.request, session, number)
            if isinstance(record.body, Changed):
                for change in record.body.changes:
                    documents.add(change.document)
                    name = f"revision {change.revision} of document {change.document}"
                    add(name, _revision, change.document, change.revision)
        for document in sorted(documents):
            add(f"log of document {document}", HistoryIndex.log, Log(limit=1000), document)
            name = f"revisions of document {document}"
            add(name, HistoryIndex.revisions_before, document, 1000, 1000)
            add(f"who touched document {document}", HistoryIndex.touched_by, document)
        for seq in range(1, last + 1, max(1, last // 4)):
            add(f"documents at {seq}", HistoryIndex.documents_at, seq, 0, 1000)
        add("log", HistoryIndex.log, Log(limit=1000), 0)
        add("all entries", _entries)
        add("sessions", HistoryIndex.ended_sessions, Sessions(), 1000)
        add("left paths", _left_paths)
        return [(name, ask, ask(index)) for name, ask in asks]


def _entries(index: HistoryIndex) -> object:
    return list(index.entries(1))


def _left_paths(index: HistoryIndex) -> object:
    return list(index.vacated())


def is_part(found: object, expected: object) -> bool:
    """Return whether an answer is true as far as it goes: it lacks entries of a list, or says of an
    operation that its commit is not known, and nothing else differs."""
    if isinstance(found, LogEntry) and isinstance(expected, LogEntry):
        return not found.commit and msgspec.structs.replace(expected, commit="") == found
    if isinstance(found, TouchInfo) and isinstance(expected, TouchInfo):
        same = (found.session, found.author) == (expected.session, expected.author)
        return same and found.revisions <= expected.revisions
    if isinstance(found, PastDocument) and isinstance(expected, PastDocument):
        # An older state of it, which a read of that revision compares.
        old = found.state.revision < expected.state.revision
        return old and found.state.id == expected.state.id
    if isinstance(found, (list, tuple)) and isinstance(expected, (list, tuple)):
        rest = iter(cast("Sequence[object]", expected))
        return all(
            any(each == other or is_part(each, other) for other in rest)
            for each in cast("Sequence[object]", found)
        )
    return isinstance(found, bool) and isinstance(expected, bool)


def _revision(index: HistoryIndex, document: int, revision: int) -> object:
    """Return what a document's revision is and holds, as an answer to a read has it."""
    found = index.change(document, revision)
    if found is None:
        return None
    record, change = found
    content = index.content(change.content_key, change.digest) if change.content_key else b""
    return record, change, content


def _objects(repo: Path) -> dict[str, tuple[bytes, bytes]]:
    """Return all objects of a repository as plain git reads them, by id."""
    listed = run_git(f"--git-dir={repo}", "cat-file", "--batch-all-objects", "--batch-check")
    found: dict[str, tuple[bytes, bytes]] = {}
    for line in listed.decode().splitlines():
        id, kind, _ = line.split(" ")
        found[id] = kind.encode(), run_git(f"--git-dir={repo}", "cat-file", kind, id)
    return found


def _keep_open(root: Path) -> sqlite3.Connection:
    path = root / STORE / "state.db"
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    connection.execute("SELECT COUNT(*) FROM journal").fetchone()
    return connection


def _bytes_of(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def _put_back(directory: Path, files: dict[str, bytes]) -> None:
    """Make a directory hold exactly these files."""
    there = _bytes_of(directory)
    for name in there.keys() - files.keys():
        (directory / name).unlink()
    for name, data in files.items():
        if there.get(name) != data:
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.write_bytes(data)


def _flip(path: Path, at: int, bit: int) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        (byte,) = os.pread(descriptor, 1, at)
        os.pwrite(descriptor, bytes([byte ^ bit]), at)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _flipped(path: Path, at: int, bit: int) -> Generator[None]:
    times, mode = path.stat(), path.stat().st_mode
    path.chmod(0o600)  # git's packs are for reading only
    _flip(path, at, bit)
    # A disk that flips a bit tells nobody.
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    inode = times.st_ino
    try:
        yield
    finally:
        # Unless it was mended or put back by whoever read it.
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == inode:
                _flip(path, at, bit)
                path.chmod(mode)


@contextlib.contextmanager
def _bounded(seconds: int) -> Generator[None]:
    def late(*_: object) -> None:
        raise _Slow

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(
    flips: int, seed: int, *, seconds: float = float("inf"), whole_every: int = WHOLE_EVERY
) -> FlipFigures:
    """Flip so many bits of stores that the seed makes, or as many as there are seconds for."""
    figures = FlipFigures(seed)
    random = Random(seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="flips-", dir=MEMORY) as directory:
        while (left := flips - figures.flips.total()) > 0 and time.monotonic() < began + seconds:
            place = Path(directory, str(figures.flips.total()))
            original = make_original(place / "original", random.getrandbits(30))
            flipper = Flipper(original, place, random, figures)
            with closing(flipper):
                for number in range(1, min(left, FLIPS_PER_STORE) + 1):
                    if time.monotonic() >= began + seconds:
                        break
                    if whole_every and not number % whole_every:
                        flipper.flip_whole(number // whole_every)
                    else:
                        flipper.flip()
            shutil.rmtree(place)
    figures.seconds = time.monotonic() - began
    return figures


def main() -> int:
    """Run what the command line asks for; return 0 only if nothing wrong was served."""
    parser = argparse.ArgumentParser(prog="damage.flips", description="Flip bits, and read.")
    parser.add_argument("--flips", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after so long")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    figures = run(options.flips, options.seed, seconds=options.seconds)
    for wrong in figures.wrong[:40]:
        sys.stdout.write(f"seed {figures.seed}: {wrong}\n")
    sys.stdout.write("".join(f"{line}\n" for line in figures.lines()))
    sys.stdout.write(f"{total_line(f'flips seed={figures.seed}', figures.counts)}\n")
    return 1 if figures.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
