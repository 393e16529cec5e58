"""The laws, checked on what is really on the disk: state.db by SQLite, history by plain git.

`Checker.check_new` compares what came since its last call with what the clients know, and is cheap
enough for every crash; `Checker.check_all` looks at everything. Nothing here writes to the store.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent_trace_coordinator.core.generated_names import protecting_type
from agent_trace_coordinator.core.records import (
    Changed,
    Drafted,
    Record,
    Repeated,
    SessionClosed,
    SessionOpened,
    Violated,
    decode_record,
)
from agent_trace_coordinator.core.trace_state import is_generated
from agent_trace_coordinator.storage.escaping import ForeignCommit
from agent_trace_coordinator.storage.packing import unpack
from agent_trace_coordinator.storage.schema import commit_id
from agent_trace_coordinator.storage.trailers import CommitTrailers, parse_trailers
from agent_trace_protocol import Actor, Committed, ErrorCode, Put, Refused
from crash.history import Answer, decode_call
from crash.ledger import Ledger, Session
from crash.model import Effect, Impossible, Model
from crash.repository import (
    GitBroken,
    blob_id,
    changes_of,
    clone_files,
    commit_ids,
    find_fsck_errors,
    is_on_branch,
    missing_commits,
    read_commits,
    read_files,
)

__all__ = ["Checker", "Snapshot", "find_left_over", "take_snapshot"]

STORE_DIRECTORY: Final = ".agent-trace"

VIOLATIONS_MAX: Final = 40
"""Violations that are told: one broken thing tends to show in many places."""

_CHAIN_START: Final = bytes(32)

_TEMPORARY: Final = re.compile(
    r".+\.(?:lock|tmp|rewriting|new|keep)|(?:tmp_|\.tmp-).*|fast_import_crash_.*"
)

_LASTING: Final = frozenset({"coordinator.lock"})
"""Names that look like something temporary and are not."""


@dataclass(slots=True)
class Line:
    """One record of the journal, and what it must have done to the tree."""

    record: Record
    chain: bytes
    tree: dict[str, str] = field(default_factory=dict[str, str])
    """The blob that a path became; empty for a removal."""


class Checker:
    """Follows one store through its crashes."""

    def __init__(self, root: Path, ledger: Ledger, *, disk_may_fail: bool = False) -> None:
        """Where files could not be written or read, what lies there may look like an edit to the
        coordinator, which then says so in records of its own and keeps it."""
        self._disk_may_fail = disk_may_fail
        self.root = root
        self.ledger = ledger
        self.lines: list[Line] = []
        self.documents = Model()
        self._violations: list[str] = []
        self._silenced = 0
        self._by_request: dict[tuple[str, int], int] = {}
        self._open: dict[str, Session] = {}
        self._ended: set[str] = set()
        self._modelled = True
        self._generated: dict[str, bytes] = {}
        """What the coordinator wrote by itself, by path."""
        self._named: dict[str, int] = {}
        """Seqs of the commit ids that were handed out and not looked for in git yet."""

    @property
    def violations(self) -> list[str]:
        """Return what is wrong, as sentences."""
        found = self.ledger.violations + self._violations
        left = len(found) + self._silenced - VIOLATIONS_MAX
        return found[:VIOLATIONS_MAX] + ([f"and {left} more"] if left > 0 else [])

    def accuse(self, text: str) -> None:
        """Note that something is wrong."""
        if len(self._violations) < VIOLATIONS_MAX:
            self._violations.append(text)
        else:
            self._silenced += 1

    # -- after every crash -----------------------------------------------------------------

    def check_new(self) -> None:
        """Compare new records with what the clients called, new answers with the records."""
        self.ledger.read()
        fresh, self.ledger.fresh = self.ledger.fresh, []
        rows = self._read_journal()
        # Calls are noted before they are sent: all that is in the journal is noted by now.
        self.ledger.read()
        for seq, encoded, chain in rows:
            self._take(seq, encoded, chain)
        for session, answer in fresh:
            self._check_answer(session, answer)

    def _read_journal(self) -> list[tuple[int, bytes, bytes]]:
        path = self.root / STORE_DIRECTORY / "state.db"
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            if self.lines:
                last = self.lines[-1]
                found = connection.execute(
                    "SELECT chain FROM journal WHERE seq = ?", (last.record.seq,)
                ).fetchone()
                if found is None or found[0] != last.chain:
                    self.accuse(
                        f"operation {last.record.seq} was in the journal for everybody to read, "
                        f"and {'is gone' if found is None else 'is another one'} after a crash"
                    )
            return connection.execute(
                "SELECT seq, record, chain FROM journal WHERE seq > ? ORDER BY seq",
                (len(self.lines),),
            ).fetchall()

    def _take(self, seq: int, encoded: bytes, chain: bytes) -> None:
        if seq != len(self.lines) + 1:
            self.accuse(f"the journal goes from operation {len(self.lines)} to {seq}")
            return
        before = self.lines[-1] if self.lines else None
        previous = _CHAIN_START if before is None else before.chain
        if hashlib.blake2b(previous + encoded, digest_size=32).digest() != chain:
            self.accuse(f"operation {seq} does not match its hash chain")
        record = decode_record(encoded)
        line = Line(record, chain)
        self.lines.append(line)
        if record.seq != seq:
            self.accuse(f"the record of operation {seq} says it is {record.seq}")
        if before is not None and (
            record.time_ms < before.record.time_ms or record.epoch < before.record.epoch
        ):
            self.accuse(f"operation {seq} has an earlier time or epoch than the one before")
        if is_generated(record):
            self._take_generated(line)
            return
        session = self._check_session(record)
        if session is not None and record.request:
            self._check_request(session, line)

    def _take_generated(self, line: Line) -> None:
        """The coordinator wrote documents of its own: nobody asked, and nobody else's change."""
        record, body = line.record, line.record.body
        assert isinstance(body, Changed)
        if record.session or record.request or record.author != "system":
            self.accuse(f"operation {record.seq} is generated, and has an author or a session")
        path = self.root / STORE_DIRECTORY / "state.db"
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            for change in body.changes:
                if protecting_type(change.path) is None:
                    self.accuse(f"operation {record.seq} writes {change.path}, which is not ours")
                (packed,) = connection.execute(
                    "SELECT data FROM content WHERE key = ?", (change.content_key,)
                ).fetchone()
                data = unpack(packed, change.digest)
                if data is None:
                    self.accuse(f"content {change.content_key} is not what any record says")
                    continue
                log = change.path.startswith("logs/")
                if log and not data.startswith(self._generated.get(change.path, b"")):
                    self.accuse(f"operation {record.seq} changes what {change.path} had said")
                self._generated[change.path] = data
                line.tree[change.path] = blob_id(data)

    def _check_logs(self) -> None:
        """Each change of a session stands in its log once, in order."""
        told: dict[str, list[int]] = {}
        for path in sorted(self._generated, key=_part):
            name = re.sub(r"(?:\.[0-9]+)?\.md$", "", path)
            seqs = re.findall(rb"^- ([0-9]+) ", self._generated[path], re.MULTILINE)
            if path.startswith("logs/"):
                told.setdefault(name, []).extend(map(int, seqs))
        wanted: dict[str, list[int]] = {}
        for line in self.lines:
            record = line.record
            if isinstance(record.body, Changed) and record.session:
                wanted.setdefault(f"logs/{record.author}-{record.session}", []).extend(
                    [record.seq] * len(record.body.changes)
                )
        for name, seqs in wanted.items():
            changes = set(seqs)
            if [seq for seq in told.get(name, []) if seq in changes] != seqs:
                self.accuse(f"{name}.md does not have each change of its session once, in order")

    def _check_session(self, record: Record) -> Session | None:
        session = self.ledger.sessions.get(record.session)
        if session is None and not record.session and self._disk_may_fail:
            return None
        if session is None and not record.session:
            self.accuse(
                f"operation {record.seq} is the coordinator's own, though nobody changed a file "
                f"behind its back: {str(record.body)[:300]}"
            )
            return None
        if session is None:
            self.accuse(f"operation {record.seq} is of session {record.session}, which nobody has")
            return None
        if (record.author, record.actor) != (session.name, session.actor):
            self.accuse(
                f"operation {record.seq} is attributed to {record.actor} {record.author}; session "
                f"{session.id} is {session.actor} {session.name}"
            )
        if isinstance(record.body, SessionOpened):
            if record.session in self._open or record.session in self._ended:
                self.accuse(f"operation {record.seq} opens session {record.session} again")
            self._open[record.session] = session
        elif record.session not in self._open:
            self.accuse(f"operation {record.seq} is of session {record.session}, which is not open")
        if isinstance(record.body, SessionClosed):
            self._open.pop(record.session, None)
            self._ended.add(record.session)
        return session

    def _check_request(self, session: Session, line: Line) -> None:
        record = line.record
        who = f"operation {record.seq} (request {record.request} of {session.name}, {session.id})"
        other = self._by_request.setdefault((session.id, record.request), record.seq)
        if other != record.seq:
            self.accuse(f"{who} was carried out before, as operation {other}")
            return
        call = session.calls.get(record.request)
        if call is None:
            self.accuse(f"{who} was never sent")
            return
        request = decode_call(call)
        if hashlib.blake2b(call.body, digest_size=8).digest() != record.fingerprint:
            self.accuse(f"{who} has another fingerprint than what was sent")
        body = record.body
        if isinstance(body, Drafted):
            guarded = [each for each in request.operations if isinstance(each, Put)]
            if not any(each.if_revision is not None for each in guarded):
                self.accuse(f"{who} is kept as a draft, but asked for no revision")
            return
        if not isinstance(body, Changed) or not self._modelled:
            return
        touched = {path for each in body.changes for path in (each.path, each.previous_path)} - {""}
        held = {path: self.documents.documents.get(path) for path in touched}
        try:
            expected = self.documents.apply(record.seq, request.operations)
        except Impossible as error:
            self.accuse(f"{who} can not be: {error}; what follows is not compared any more")
            self._modelled = False
            return
        found = [
            Effect(
                change.document,
                change.action.value,
                change.path,
                change.previous_path,
                change.revision,
                change.digest,
                change.size,
            )
            for change in body.changes
        ]
        if found != expected or body.message != request.message:
            self.accuse(f"{who} is recorded as {found}, but was {expected}")
        for path, before in held.items():
            after = self.documents.documents.get(path)
            if after is None:
                if before is not None:
                    line.tree[path] = ""
            elif before is None or before.content != after.content:
                line.tree[path] = blob_id(after.content)

    def _keeps_draft(self, reply: Refused) -> bool:
        """Return whether the draft that a refusal names is on record: the same text that is
        refused again is the same draft."""
        assert reply.error.conflict is not None
        number = int(reply.error.conflict.draft.removeprefix("draft-"))
        if not 0 < number <= len(self.lines):
            return False
        return isinstance(self.lines[number - 1].record.body, Drafted)

    def _check_answer(self, session: Session, answer: Answer) -> None:
        doubted = self.ledger.cuts.doubts_answer(answer)
        who = (
            f"request {answer.number} of {session.name} ({session.id}), answered at "
            f"{answer.received:.3f} in epoch {answer.epoch},"
        )
        seq = self._by_request.get((session.id, answer.number), 0)
        reply = answer.reply
        if isinstance(reply, Refused):
            body = self.lines[seq - 1].record.body if seq else None
            drafted = isinstance(body, Drafted)
            kept = reply.error.conflict is not None and bool(reply.error.conflict.draft)
            # A refusal that counts as a violation leaves a record, and changes nothing.
            # Repeated while the disk could not be read, it is told that, not what it had come to.
            # A disk without power can not be read either.
            unread = (self._disk_may_fail or doubted) and reply.error.code is ErrorCode.CORRUPT
            if seq and not drafted and not unread and not isinstance(body, (Violated, Repeated)):
                self.accuse(f"{who} was refused ({reply.error}), but is operation {seq}")
            elif kept and not seq and not doubted and not self._keeps_draft(reply):
                self.accuse(f"{who} was told its text is kept as a draft, but it is nowhere")
            return
        if not isinstance(reply, Committed):
            self.accuse(f"{who} was answered with {reply!r}")
            return
        if not seq:
            if not doubted:
                self.accuse(f"{who} was acknowledged as operation {reply.seq} and is LOST")
            return
        if reply.seq != seq:
            self.accuse(f"{who} was acknowledged as operation {reply.seq}, but is {seq}")
        body = self.lines[seq - 1].record.body
        if isinstance(body, Changed):
            told = [(each.path, each.revision, each.action) for each in reply.results]
            if told != [(each.path, each.revision, each.action) for each in body.changes]:
                self.accuse(f"{who} was told {told}, but the journal has {body.changes}")
        if reply.commit and not doubted:
            self._named[reply.commit] = seq

    def check_commits_survived(self) -> None:
        """Look for the commits that were handed out, in git as a crash has left it.

        Call it while no coordinator runs: this is about what waiting for git is worth by itself.
        """
        self.ledger.read()
        # They are compared with the journal later; here only their commits count.
        for _, answer in self.ledger.fresh:
            reply = answer.reply
            if isinstance(reply, Committed) and reply.commit:
                if not self.ledger.cuts.doubts_answer(answer):
                    self._named[reply.commit] = reply.seq
        named, self._named = self._named, {}
        if not named:
            return
        repo = self.root / STORE_DIRECTORY / "repo"
        missing = missing_commits(repo, list(named))
        for id in missing[:3]:
            self.accuse(
                f"commit {id} of operation {named[id]} was handed out, and git does not have it "
                f"after a crash ({len(missing)} of {len(named)} are missing)"
            )
        newest = max(named, key=lambda id: named[id])
        if not missing and not is_on_branch(repo, newest):
            self.accuse(
                f"commit {newest} of operation {named[newest]} was handed out, and is not on the "
                "branch after a crash"
            )

    # -- at the end ------------------------------------------------------------------------

    def check_all(self, scratch: Path) -> None:
        """Check everything, on a store that nobody serves; `scratch` takes a clone."""
        self.check_new()
        self._check_real_time()
        self._check_state_db()
        try:
            self._check_git(scratch)
        except GitBroken as error:
            self.accuse(str(error))
        self._check_files()
        if self._generated:
            self._check_logs()

    def _check_real_time(self) -> None:
        """An answer that came before another call was made belongs to an earlier operation."""
        earliest, holder = float("inf"), 0
        for line in reversed(self.lines):
            record = line.record
            session = self.ledger.sessions.get(record.session)
            call = session.calls.get(record.request) if session is not None else None
            if session is None or call is None:
                continue
            if earliest < call.sent:
                self.accuse(
                    f"operation {record.seq} was called at {call.sent:.6f}, after operation "
                    f"{holder} had been answered at {earliest:.6f}"
                )
            answer = session.answers.get(record.request)
            if answer is not None and answer.received < earliest:
                earliest, holder = answer.received, record.seq

    def _check_state_db(self) -> None:
        path = self.root / STORE_DIRECTORY / "state.db"
        digests: dict[int, bytes] = {}
        changes = 0
        for line in self.lines:
            body = line.record.body
            if isinstance(body, Changed):
                changes += len(body.changes)
                digests |= {each.content_key: each.digest for each in body.changes if each.digest}
            elif isinstance(body, Drafted):
                digests |= {kept.content_key: kept.digest for kept in body.kept}
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            (verdict,) = connection.execute("PRAGMA integrity_check(5)").fetchone()
            if verdict != "ok":
                self.accuse(f"SQLite finds state.db damaged: {verdict}")
            (indexed,) = connection.execute("SELECT COUNT(*) FROM change").fetchone()
            if indexed != changes:
                self.accuse(f"{indexed} changes are indexed, the records have {changes}")
            for key, data in connection.execute("SELECT key, data FROM content"):
                digest = digests.pop(key, None)
                if digest is None and self._disk_may_fail:
                    continue  # of a file that the coordinator kept
                if digest is None or unpack(data, digest) is None:
                    self.accuse(f"content {key} is not what any record says")
        for key in list(digests)[:3]:
            self.accuse(f"content {key} is gone")

    def _check_git(self, scratch: Path) -> None:
        repo = self.root / STORE_DIRECTORY / "repo"
        for error in find_fsck_errors(repo)[:5]:
            self.accuse(f"git fsck: {error}")
        ids = commit_ids(repo)
        if len(ids) != len(self.lines):
            self.accuse(f"{len(ids)} commits are on the branch, for {len(self.lines)} operations")
        parents: list[str] = []
        trees = changes_of(repo) if ids else {}
        for line, commit in zip(self.lines, read_commits(repo, ids), strict=False):
            seq = line.record.seq
            if commit.parents != parents:
                self.accuse(f"the commit of operation {seq} has parents {commit.parents}")
            parents = [commit.id]
            problem = _compare_commit(line, commit.author, commit.message)
            if problem:
                self.accuse(f"the commit of operation {seq} ({commit.id}): {problem}")
            if self._modelled and trees[commit.id] != line.tree:
                self.accuse(
                    f"the commit of operation {seq} changes {trees[commit.id]}, not {line.tree}"
                )
        self._check_named_commits(ids)
        files = clone_files(repo, scratch / "clone")
        if self._modelled and files != self._contents():
            self.accuse(f"a clone does not hold the documents: {self._differences(files)}")

    def _check_named_commits(self, ids: list[str]) -> None:
        for session in self.ledger.sessions.values():
            for number, answer in session.answers.items():
                reply = answer.reply
                seq = self._by_request.get((session.id, number), 0)
                if not isinstance(reply, Committed) or not reply.commit or not 0 < seq <= len(ids):
                    continue
                if ids[seq - 1] != reply.commit:
                    self.accuse(
                        f"operation {seq} was acknowledged as commit {reply.commit}, and is "
                        f"{ids[seq - 1]}"
                    )
        path = self.root / STORE_DIRECTORY / "state.db"
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            for seq, id in connection.execute("SELECT seq, id FROM git_commit ORDER BY seq"):
                if seq > len(ids) or ids[seq - 1] != commit_id(seq, id):
                    self.accuse(
                        f"state.db has commit {id.hex()[:40]} for operation {seq}; git has not"
                    )
                    break

    def _check_files(self) -> None:
        if self._modelled:
            files = read_files(self.root, STORE_DIRECTORY)
            if files != self._contents():
                self.accuse(f"the working tree is behind: {self._differences(files)}")
        for left in find_left_over(self.root):
            self.accuse(f"{left} is left over")
        quarantine = os.listdir(self.root / STORE_DIRECTORY / "quarantine")
        if quarantine and not self._disk_may_fail:
            self.accuse(
                f"{len(quarantine)} files were taken for foreign ones and set aside: "
                f"{sorted(quarantine)[:3]}"
            )

    def _contents(self) -> dict[str, bytes]:
        theirs = {path: held.content for path, held in self.documents.documents.items()}
        return theirs | self._generated

    def _differences(self, files: dict[str, bytes]) -> str:
        contents = self._contents()
        return (
            f"missing {sorted(contents.keys() - files.keys())[:3]}, "
            f"too many {sorted(files.keys() - contents.keys())[:3]}, different "
            f"{sorted(p for p in files.keys() & contents if files[p] != contents[p])[:3]}"
        )

    @property
    def unresolved(self) -> Counter[str]:
        """Return what became of the calls that nobody was answered."""
        counts: Counter[str] = Counter()
        for session in self.ledger.sessions.values():
            for number in session.calls.keys() - session.answers.keys():
                there = (session.id, number) in self._by_request
                counts["carried out" if there else "not carried out"] += 1
        return counts


_DOMAINS: Final = {
    Actor.USER: "users.invalid",
    Actor.AGENT: "agents.invalid",
    Actor.UNKNOWN: "unknown.invalid",
}
"""What follows the author's name in a commit, by who acted."""


def _compare_commit(line: Line, author: str, message: str) -> str:
    """Return how a commit differs from its record; empty if it does not."""
    record = line.record
    seconds = record.time_ms // 1000
    if record.actor is Actor.SYSTEM:
        who = "agent-trace <coordinator@agent-trace.invalid>"
    else:
        who = f"{record.author} <{record.author}@{_DOMAINS[record.actor]}>"
    if author != f"{who} {seconds} +0000":
        return f"its author is {author}"
    try:
        trailers = parse_trailers(message)
    except ForeignCommit as error:
        return str(error)
    if trailers != CommitTrailers(record, line.chain):
        return f"its trailers do not say what the record says: {record}"
    return ""


def find_left_over(root: Path) -> list[str]:
    """Return the temporary files in a store that nobody serves: there must be none."""
    found: list[str] = []
    top = str(root)
    for directory, _, names in os.walk(top):
        inside = directory[len(top) + 1 :]
        found += [
            f"{inside}/{name}" if inside else name
            for name in names
            if inside == f"{STORE_DIRECTORY}/run/tmp"
            or (name not in _LASTING and _TEMPORARY.fullmatch(name))
        ]
    return found


def _part(path: str) -> tuple[str, int]:
    """Return by what the parts of a log come in their order."""
    found = re.fullmatch(r"(.*?)(?:\.([0-9]+))?\.md", path)
    return (path, 1) if found is None else (found[1], int(found[2] or 1))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What must not change when a store is only started and stopped."""

    head: str
    seq: int
    chain: bytes
    files: dict[str, bytes]


def take_snapshot(root: Path) -> Snapshot:
    """Return the state of a store that nobody serves."""
    ids = commit_ids(root / STORE_DIRECTORY / "repo")
    path = root / STORE_DIRECTORY / "state.db"
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        row: tuple[int, bytes] | None = connection.execute(
            "SELECT seq, chain FROM journal ORDER BY seq DESC LIMIT 1"
        ).fetchone()
    seq, chain = row or (0, b"")
    return Snapshot(ids[-1] if ids else "", seq, chain, read_files(root, STORE_DIRECTORY))
