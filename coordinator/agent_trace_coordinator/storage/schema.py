"""The tables of state.db, and how a connection to it is made.

`journal` is the record of everything, append only, hash-chained. `change`, `session` and `note` are
its index: what is asked for often, without decoding records. `content` holds the bytes, under
ascending keys so that inserts always go to the end. `git_commit` says which commit a record became;
it can be rebuilt from git and is written without a sync of its own.
"""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from agent_trace_coordinator.core.records import (
    CHAIN_START,
    Change,
    Changed,
    Record,
    chain_hash,
    decode_record,
)
from agent_trace_coordinator.errors import CorruptStore, JournalFailed, JournalFull

from .versions import FORMAT_VERSION

__all__ = [
    "SCHEMA_VERSION",
    "SQLITE_VERSION",
    "check_records",
    "commit_id",
    "connect",
    "copy_database",
    "create_tables",
    "decode",
    "follows",
    "foreign_objects",
    "indexed_change",
    "prepare_to_write",
    "seal_commit",
    "translate",
]

SCHEMA_VERSION: Final = FORMAT_VERSION

SQLITE_VERSION: Final = sqlite3.sqlite_version

_FULL: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY})

_TABLES: Final = """
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value ANY NOT NULL
) WITHOUT ROWID, STRICT;

CREATE TABLE journal (
    seq INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,     -- session.seq; 0 for what no session did
    request INTEGER,              -- NULL when the coordinator itself decided it
    record BLOB NOT NULL,         -- core.records.Record
    chain BLOB NOT NULL           -- hash over the chain before and this record
) STRICT;
CREATE UNIQUE INDEX journal_request ON journal (session, request) WHERE request IS NOT NULL;

CREATE TABLE content (
    key INTEGER PRIMARY KEY,      -- core.records.content_key
    data BLOB NOT NULL            -- as it is, or of what is generated: packed, see `packing`
) STRICT;

CREATE TABLE change (
    key INTEGER PRIMARY KEY,      -- seq * OPERATIONS_MAX + index
    document INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    session INTEGER NOT NULL,
    author TEXT NOT NULL,
    action TEXT NOT NULL,
    type TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX change_document ON change (document, revision);
CREATE INDEX change_annotated ON change (document, revision) WHERE action = 'annotate';
CREATE INDEX change_own ON change (key) WHERE session = 0;  -- what no session did

CREATE TABLE session (
    seq INTEGER PRIMARY KEY,      -- of the record that opened it
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    actor TEXT NOT NULL,
    ephemeral INTEGER NOT NULL,
    ended INTEGER,                -- seq of the record that closed it
    reason TEXT
) STRICT;
CREATE INDEX session_open ON session (seq) WHERE ended IS NULL;
CREATE INDEX session_ended ON session (ended) WHERE ended IS NOT NULL;
CREATE INDEX session_name ON session (name, seq);

CREATE TABLE draft (              -- drafts that wait
    seq INTEGER PRIMARY KEY
) STRICT;

CREATE TABLE violation (          -- refused writes that wait
    seq INTEGER PRIMARY KEY,
    count INTEGER NOT NULL        -- attempts on record
) STRICT;

CREATE TABLE unlock (             -- unlocks that have not ended
    seq INTEGER PRIMARY KEY
) STRICT;

CREATE TABLE lease (              -- leases that are held
    token INTEGER PRIMARY KEY,    -- seq of the record that granted it
    session INTEGER NOT NULL,     -- session.seq
    path TEXT NOT NULL,           -- path or glob, where it is by now
    folded TEXT,                  -- the folded path; NULL for a glob
    ttl_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX lease_session ON lease (session);
CREATE INDEX lease_folded ON lease (folded) WHERE folded IS NOT NULL;

CREATE TABLE statement (          -- what users said and stands
    seq INTEGER PRIMARY KEY
) STRICT;

CREATE TABLE note (               -- records that changed no document and no session
    seq INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,     -- session.seq; 0 for what no session did
    author TEXT NOT NULL,
    action TEXT NOT NULL,
    path TEXT                     -- of a lease that is granted; NULL for all else
) STRICT;
CREATE INDEX note_session ON note (session, seq);
CREATE INDEX note_lease ON note (path, seq) WHERE path IS NOT NULL;

CREATE TABLE lost (               -- contents that a repair found nowhere
    key INTEGER PRIMARY KEY       -- core.records.content_key
) STRICT;

CREATE TABLE git_commit (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL
) STRICT;
"""


def prepare_to_write(connection: sqlite3.Connection) -> None:
    """Make the settings that the promises rest on.

    WAL with synchronous=FULL syncs every commit; a reader never blocks the writer.
    """
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    # Refused text that was discarded, a password perhaps, must not stay in free pages.
    connection.execute("PRAGMA secure_delete=ON")
    # Checkpoints are the journal's own decision, between batches, never inside one.
    connection.execute("PRAGMA wal_autocheckpoint=0")


def connect(
    path: Path, *, write: bool, still: bool = False, create: bool = True
) -> sqlite3.Connection:
    """Return a connection; nothing is written by making it.

    `create`: one that writes makes the database if there is none.

    `still`: nobody writes to it and it has no write-ahead log, so that not even locks are needed.
    """
    writing = "rwc" if create else "rw"
    mode = writing if write else "ro&immutable=1" if still else "ro"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
    )
    try:
        if not write:
            connection.execute("PRAGMA query_only=ON")
        connection.execute("PRAGMA mmap_size=0")
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA cell_size_check=ON")
    except BaseException:
        connection.close()
        raise
    return connection


_CHECKED: Final = """
CREATE TEMP VIEW journal AS SELECT seq, session, request, chain, verified(record, chain,
(SELECT chain FROM main.journal AS before WHERE before.seq = main.journal.seq - 1)) AS record
FROM main.journal
"""


def check_records(connection: sqlite3.Connection) -> None:
    """Let this connection see only records that match their hash: `record` is NULL for others,
    which `decode` takes for what it is.

    It stands in front of the table for all that is asked here, so no question can go past it. Who
    looks for what is left of a damaged journal does without.
    """
    connection.create_function("verified", 3, _verified, deterministic=True)
    connection.execute("PRAGMA temp_store=MEMORY")
    connection.execute("PRAGMA query_only=OFF")
    try:
        connection.execute(_CHECKED)
    except UnicodeDecodeError as error:
        # SQLite quotes the bytes of a damaged schema, and Python can not read the quotation.
        raise sqlite3.DatabaseError("the schema can not be decoded") from error
    connection.execute("PRAGMA query_only=ON")


def _verified(record: object, chain: object, previous: object) -> bytes | None:
    """Return a record if its chain hash says that it is what was written."""
    before = CHAIN_START if previous is None else previous
    return record if isinstance(record, bytes) and follows(before, record, chain) else None


def follows(previous: object, record: object, chain: object) -> bool:
    """Return whether a chain hash is that of a record and the chain before it. Whatever a damaged
    row holds may be asked about: it can be of any kind."""
    if isinstance(previous, bytes) and isinstance(record, bytes):
        return chain_hash(previous, record) == chain
    return False


def indexed_change(record: Record, index: int, document: int, revision: int) -> Change:
    """Return the change that is indexed as a document's revision; raises `CorruptStore` if it is
    that of another one."""
    body = record.body
    if isinstance(body, Changed) and index < len(body.changes):
        change = body.changes[index]
        if (change.document, change.revision) == (document, revision):
            return change
    raise CorruptStore(
        f"journal record {record.seq} is indexed as revision {revision} of document {document} "
        "and is none"
    )


def seal_commit(seq: int, id: str) -> bytes:
    """Return a commit's id as `git_commit` has it: with a check, for nothing else tells a wrong one
    from the right one."""
    raw = bytes.fromhex(id)
    return raw + _commit_check(seq, raw)


def commit_id(seq: int, stored: object) -> str:
    """Return the commit's id in a row; empty if it is not what was stored for this operation.

    Rows of earlier formats have no check, and are believed.
    """
    if not isinstance(stored, bytes):
        return ""
    if len(stored) == _ID_BYTES:
        return stored.hex()
    raw, check = stored[:-_CHECK_BYTES], stored[-_CHECK_BYTES:]
    return raw.hex() if check == _commit_check(seq, raw) else ""


_ID_BYTES: Final = 20

_CHECK_BYTES: Final = 4


def _commit_check(seq: int, raw: bytes) -> bytes:
    return hashlib.blake2b(b"%d %b" % (seq, raw), digest_size=_CHECK_BYTES).digest()


def create_tables(connection: sqlite3.Connection) -> None:
    """Make the tables of an empty database, all or none."""
    connection.executescript(
        f"BEGIN IMMEDIATE;{_TABLES}PRAGMA user_version={SCHEMA_VERSION};COMMIT;"
    )


def foreign_objects(connection: sqlite3.Connection) -> list[str]:
    """Return what is in a database that is not exactly as `create_tables` makes it, by name.

    A trigger that somebody put there would run with each write, and could undo it.
    """
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as own:
        create_tables(own)
        due, found = (
            set(each.execute("SELECT name, type, tbl_name, sql FROM sqlite_schema"))
            for each in (own, connection)
        )
    return sorted({str(name) for name, *_ in due ^ found})


def copy_database(path: Path, target: Path) -> None:
    """Copy a database as it is at one moment, also while it is written; nobody waits for it.

    Raises:
        CorruptStore, JournalFull, JournalFailed: what `translate` makes of SQLite's error.
    """
    try:
        with (
            closing(connect(path, write=False)) as source,
            closing(connect(target, write=True)) as copy,
        ):
            # In one step, so in one read transaction.
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE").fetchone()
    except sqlite3.Error as error:
        raise translate(error) from error


def translate(error: sqlite3.Error) -> JournalFull | JournalFailed | CorruptStore:
    """Return what an error of SQLite means for the store."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    # A text that is none has no code: it is Python that can not decode it.
    undecodable = not code and "decode" in str(error)
    if code in _FULL:
        return JournalFull(f"the disk takes no writes: {error}")
    if undecodable or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return CorruptStore(
            f"state.db is damaged or can not be read: {error}; see what is wrong with "
            "`agent-trace doctor`, and put it right with `agent-trace repair` (what can be "
            "verified can still be read, and the git history is a second copy)"
        )
    return JournalFailed(f"the journal failed: {error}")


def decode(seq: int, encoded: bytes | None) -> Record:
    """Return the record in a row of the journal; raises `CorruptStore` if it is not one."""
    if encoded is None:
        raise CorruptStore(
            f"journal record {seq} does not match its hash chain; what can be verified can still "
            "be read; stop the coordinator and run `agent-trace repair`"
        )
    try:
        record = decode_record(encoded)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptStore(f"journal record {seq} can not be read: {error}") from error
    if record.seq != seq:
        raise CorruptStore(f"journal record {seq} says it is {record.seq}")
    return record
