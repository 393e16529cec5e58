"""The store that is damaged: every kind of record, made by a real coordinator in three lives."""

from __future__ import annotations

import hashlib
import shutil
import signal
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from agent_trace_coordinator.core.records import Record, decode_record, record_digests
from agent_trace_coordinator.storage.packing import unpack
from agent_trace_protocol import (
    AcceptDraft,
    AcquireLease,
    Actor,
    Append,
    Delete,
    DiscardViolation,
    DocumentType,
    Durability,
    Edit,
    Lock,
    Move,
    Put,
    Reclassify,
    ReleaseLease,
    Transact,
    Unlock,
)
from crash.repository import commit_ids
from support.coordinator import Coordinator, Peer

__all__ = ["Original", "Snapshot", "copy_store", "make_original", "take_snapshot"]

STORE: Final = ".agent-trace"


@dataclass
class Snapshot:
    """Everything that a store says, as plain data."""

    records: list[tuple[bytes, bytes]]
    """Encoded record and chain hash, from the first on."""
    contents: dict[int, bytes]
    tables: dict[str, list[tuple[object, ...]]]
    """All other tables, row by row."""
    commits: list[str]
    files: dict[str, bytes]
    quarantine: dict[str, bytes]
    drafts: dict[str, bytes]

    @property
    def decoded(self) -> list[Record]:
        return [decode_record(encoded) for encoded, _ in self.records]


@dataclass
class Original:
    """A store to be copied, with an older copy of its journal."""

    root: Path
    snapshot: Snapshot
    killed: Path
    """The same a little earlier, as a SIGKILL has left it, with a write-ahead log."""
    killed_snapshot: Snapshot
    older: Path
    """Its state.db at an earlier time."""


def take_snapshot(root: Path) -> Snapshot:
    """Return what a store says that nobody serves."""
    own = root / STORE
    with closing(sqlite3.connect(f"{(own / 'state.db').as_uri()}?mode=ro", uri=True)) as database:
        records = database.execute("SELECT record, chain FROM journal ORDER BY seq").fetchall()
        digests = {
            key: digest
            for record, _ in records
            for key, digest in record_digests(decode_record(record).body).items()
        }
        # A rebuilt journal packs nothing: what counts is what the rows say.
        contents = {
            key: unpack(data, digests.get(key, b"")) or data
            for key, data in database.execute("SELECT key, data FROM content")
        }
        names = [
            name
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if name not in ("journal", "content", "meta", "git_commit")
        ]
        tables = {
            name: database.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall() for name in names
        }
    files = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and STORE not in path.parts
    }
    quarantine = {path.name: path.read_bytes() for path in (own / "quarantine").iterdir()}
    drafts = {path.name: path.read_bytes() for path in (own / "drafts").iterdir()}
    return Snapshot(records, contents, tables, commit_ids(own / "repo"), files, quarantine, drafts)


def copy_store(root: Path, target: Path) -> None:
    """Copy a store that nobody serves, less its sockets and pipes."""
    shutil.copytree(root, target, symlinks=True, ignore=shutil.ignore_patterns("*.sock", "spool"))


def make_original(place: Path, seed: int) -> Original:
    """Make the store in `place`; a small one, with some of everything."""
    random = Random(seed)
    root = place / "store"
    root.mkdir(parents=True)
    coordinator = Coordinator(root)
    try:
        _first_life(coordinator, random)
        assert coordinator.end() == 0
        shutil.copyfile(root / STORE / "state.db", place / "older.db")
        coordinator.start()
        with Peer(coordinator.endpoint, "ben") as ben:
            _second_life(coordinator, ben.opened(), random)
            coordinator.end(signal.SIGKILL)
        copy_store(root, place / "killed")
        coordinator.start()
        with Peer(coordinator.endpoint, "dora").opened() as dora:
            dora.do(Put("after.md", b"after the kill\n"), durability=Durability.GIT)
        assert coordinator.end() == 0
    finally:
        coordinator.end(signal.SIGKILL)
    snapshot = take_snapshot(root)
    kinds = {type(record.body).__name__ for record in snapshot.decoded}
    assert len(kinds) >= 11, f"the store lacks kinds of records; it has {sorted(kinds)}"
    assert snapshot.drafts, "no draft waits in the store"
    # Reading a log that was left makes files beside it.
    copy_store(place / "killed", place / "read")
    killed = take_snapshot(place / "read")
    return Original(root, snapshot, place / "killed", killed, place / "older.db")


def _text(random: Random, size: int) -> bytes:
    lines = (hashlib.sha256(random.randbytes(8)).hexdigest() for _ in range(size // 65 + 1))
    return "".join(f"{line}\n" for line in lines).encode()[:size] + b"\n"


def _first_life(coordinator: Coordinator, random: Random) -> None:
    with (
        Peer(coordinator.endpoint, "anna").opened() as anna,
        Peer(coordinator.endpoint, "mia", Actor.USER).opened() as mia,
    ):
        for number in range(12):
            anna.do(Put(f"plans/{number % 4}.md", _text(random, 300 + 40 * number)))
        anna.do(Put("big/é ü.md", _text(random, 30_000)), Put("notes.md", b"one\ntwo\nthree\n"))
        anna.do(Put("twice.md", b"first\n"), Append("twice.md", b"second\n"))
        anna.do(Move("plans/3.md", "moved/3.md"))
        anna.do(Delete("plans/2.md"))
        mia.do(Put("rules.md", b"law\n"))
        mia.do(Reclassify("rules.md", DocumentType.REFERENCE))
        # Refused, again and again, and settled in every way.
        for _ in range(3):
            anna.ask(Transact((Put("rules.md", b"mine\n"),)))
        anna.ask(Transact((Put("rules.md", _text(random, 9000)),)))
        refused = anna.ask(Transact((Edit("rules.md", b"law", b"chaos"),)))
        mia.ask(DiscardViolation(refused.error.violation))  # type: ignore[union-attr]
        mia.ask(Unlock("rules.md", "anna", 600))
        anna.do(Put("rules.md", b"law and order\n"))
        mia.ask(Lock("rules.md"))
        anna.do(Put("late.md", b"one\n"))
        mia.do(Put("late.md", b"two\n"))
        anna.ask(Transact((Put("late.md", b"three\n", if_revision=1),)))
        anna.do(Put("join.md", b"a\nb\nc\nd\ne\n"))
        mia.do(Edit("join.md", b"a", b"A"))
        anna.ask(Transact((Put("join.md", b"a\nb\nc\nd\nE\n", if_revision=1),)))
        number = anna_last_draft(coordinator.root)
        anna.do(AcceptDraft(f"draft-{number}"), durability=Durability.GIT)


def anna_last_draft(root: Path) -> int:
    path = root / STORE / "state.db"
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        (seq,) = database.execute("SELECT MAX(seq) FROM draft").fetchone()
    return int(seq)


def _second_life(coordinator: Coordinator, ben: Peer, random: Random) -> None:
    with Peer(coordinator.endpoint, "cleo").opened() as cleo:
        first = cleo.ask(AcquireLease("plans/0.md", ttl_seconds=60.0))
        cleo.ask(AcquireLease("plans/0.md", ttl_seconds=90.0))
        cleo.ask(ReleaseLease(first.lease.token))  # type: ignore[union-attr]
        ben.ask(AcquireLease("big/**", ttl_seconds=3600.0))
        for number in range(10):
            ben.do(Append("plans/1.md", b"line %d\n" % number))
            cleo.do(Put(f"deep/er/{number % 3}.md", _text(random, 500)))
        ben.do(Put("rest.md", b"x"), durability=Durability.GIT)
        cleo.do(Put("tail.md", b"written last\n"))
