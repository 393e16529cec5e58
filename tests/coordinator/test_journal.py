"""The journal on a real disk: what it gives back, and what it refuses to."""

from __future__ import annotations

import errno
import os
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_trace_coordinator.core.apply import apply_record
from agent_trace_coordinator.core.invariants import check
from agent_trace_coordinator.core.records import Changed, Entry
from agent_trace_coordinator.core.state import Rules, State
from agent_trace_coordinator.errors import CorruptStore, JournalFailed, JournalFull, StoreInvalid
from agent_trace_coordinator.repair.settle import settle
from agent_trace_coordinator.storage.index import Index
from agent_trace_coordinator.storage.journal import Journal
from agent_trace_protocol import (
    AcceptDraft,
    AcquireLease,
    Action,
    Actor,
    Annotate,
    Append,
    ApplyViolation,
    Close,
    Committed,
    Delete,
    DiscardViolation,
    DocumentType,
    Leased,
    Lock,
    Log,
    Move,
    Opened,
    Operation,
    Put,
    Reclassify,
    Refused,
    ReleaseLease,
    RenewLease,
    Restore,
    Transact,
    Unlock,
    Untrack,
)
from support.core import Desk, Member


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    journal = Journal(path)
    yield journal
    journal.close()


def load(path: Path) -> State:
    """Return the state a new coordinator starts with."""
    journal = Journal(path)
    try:
        return journal.load(epoch=1, store="test", rules=Rules(), now=0.0)
    finally:
        journal.close()


def replay(entries: list[Entry]) -> State:
    """Return the state the slow way: by applying every record from the first."""
    state = State(epoch=1, store="test", rules=Rules())
    for entry in entries:
        apply_record(state, entry.record, entry.chain, 0.0)
    return state


def some_entries() -> list[Entry]:
    desk = Desk()
    agent = desk.member()
    agent.put("a.md", "one\n")
    agent.put("b.md", "two\n")
    agent.put("a.md", "three\n")
    return desk.entries


def lease_something(
    draw: random.Random, desk: Desk, members: list[Member], member: Member, tokens: list[int]
) -> list[int]:
    """Ask for a lease, change or end one, or take a session over; return the new tokens."""
    choice = draw.random()
    if tokens and choice < 0.2:
        member.ask(ReleaseLease(draw.choice(tokens)))
    elif tokens and choice < 0.4:
        member.ask(RenewLease(draw.choice(tokens), draw.choice([0.0, 20.0])))
    elif choice < 0.5:
        successor = Member(desk, member.name, Actor.AGENT)
        opened = successor.open(takeover=True)
        assert isinstance(opened, Opened)
        members[[each.name for each in members].index(member.name)] = successor
        return [lease.token for lease in opened.leases]
    else:
        path = draw.choice(["a.md", "b.md", "e.md", "c/*", "*.md", "F.md"])
        wait = draw.choice([0.0, 5.0])
        reply = member.ask(AcquireLease(path, draw.random() < 0.5, 100.0, wait))
        if isinstance(reply, Leased):
            return [reply.lease.token]
    return []


def random_history(seed: int) -> list[Entry]:
    """Return the records of a random life of a store: documents, drafts, sessions."""
    draw = random.Random(seed)
    desk = Desk()
    members = [desk.member(name) for name in ("ann", "ben", "cam")]
    tokens: list[int] = []
    drafts: list[tuple[Member, str]] = []
    violations: list[str] = []
    user = desk.member("dan", Actor.USER)
    user.do(Put("api.md", b"one\n", type=DocumentType.REFERENCE))
    for _ in range(60):
        member = draw.choice(members)
        path = draw.choice(["a.md", "b.md", "c/d.md", "e.md"])
        text = f"{draw.random()}\n".encode()
        guard = draw.choice([None, None, 0, 1, 2, 3])
        operations: tuple[Operation, ...] = draw.choice(
            [
                (Put(path, text, guard),),
                (Append(path, text, guard),),
                (Delete(path),),
                (Move(path, draw.choice(["a.md", "f.md"])),),
                (Restore(path, draw.randint(1, 3)),),
                (Put(path, text), Append(path, text)),
                (
                    Annotate(path, (draw.choice("xyz"),)),
                    Annotate(path, description=text[:9].decode()),
                ),
                (Untrack(path),),
            ]
        )
        if drafts and draw.random() < 0.3:
            member, draft = drafts.pop()
            operations = (AcceptDraft(draft),)
        if draw.random() < 0.1:
            refused = member.ask(Transact((Put("api.md", draw.choice([text, b"same\n"])),)))
            if isinstance(refused, Refused):
                violations.append(refused.error.violation)
            continue
        if violations and draw.random() < 0.1:
            waiting = violations.pop()
            user.ask(Transact((ApplyViolation(waiting),)))
            continue
        if draw.random() < 0.1:
            rights: list[Unlock | Lock] = [Unlock("api.md", "ann", 60), Lock("api.md")]
            user.ask(draw.choice([*rights, Unlock("api.md")]))
            user.ask(Transact((Reclassify("a.md", draw.choice(list(DocumentType))),)))
            desk.tick(draw.choice([0, 1]))
            continue
        if draw.random() < 0.1 and "b.md" in desk.state.by_path:
            desk.change_files(desk.found("b.md", draw.choice([text, b"nul\0"])))
            continue
        if draw.random() < 0.05:
            member.ask(Close())
            members[members.index(member)] = desk.member(member.name)
            continue
        if draw.random() < 0.3:
            tokens += lease_something(draw, desk, members, member, tokens)
            continue
        leases = tuple(draw.sample(tokens, 1)) if tokens and draw.random() < 0.2 else ()
        reply = member.ask(Transact(operations, leases=leases))
        if isinstance(reply, Refused) and reply.error.conflict and reply.error.conflict.draft:
            drafts.append((member, reply.error.conflict.draft))
        else:
            assert isinstance(reply, (Committed, Refused))
    return desk.entries


@pytest.mark.parametrize("seed", range(20))
def test_a_loaded_state_is_the_state_that_its_records_add_up_to(path: Path, seed: int) -> None:
    entries = random_history(seed)
    journal = Journal(path)
    draw = random.Random(seed)
    rest = entries
    while rest:
        count = draw.choice([1, 2, 5, 30])
        journal.append(rest[:count], [])
        rest = rest[count:]
    journal.close()
    loaded, expected = load(path), replay(entries)
    assert loaded == expected
    check(loaded)


def test_entries_come_back_as_they_were_written(journal: Journal, path: Path) -> None:
    entries = random_history(3)
    journal.append(entries, [])
    index = Index(path)
    assert list(index.entries(1)) == entries
    assert list(index.entries(5, 3)) == entries[4:7]
    assert list(index.entries(len(entries) + 1)) == []
    index.close()


def test_a_journal_that_can_not_be_looked_at_ends_the_process(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(name: str, **_: object) -> os.stat_result:
        raise PermissionError(errno.EACCES, "permission denied", name)

    monkeypatch.setattr("agent_trace_coordinator.storage.journal_place.os.stat", denied)
    with pytest.raises(JournalFailed, match="can not be looked at"):
        journal.append(some_entries(), [])


def test_a_batch_of_many_documents_is_kept_whole(journal: Journal, path: Path) -> None:
    desk = Desk()
    agent = desk.member()
    for start in range(0, 320, 64):
        agent.do(*(Put(f"{start + number}.md", b"x") for number in range(64)))
    journal.append(desk.entries, [])
    assert load(path).by_path == desk.state.by_path


@pytest.mark.parametrize("column", ["record", "chain"])
@pytest.mark.parametrize("seq", [1, 3, 4])
def test_a_flipped_bit_in_a_record_is_noticed_at_the_start(
    path: Path, column: str, seq: int
) -> None:
    journal = Journal(path)
    journal.append(some_entries(), [])
    journal.close()
    damage = sqlite3.connect(path)
    (data,) = damage.execute(f"SELECT {column} FROM journal WHERE seq = ?", (seq,)).fetchone()
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    damage.execute(f"UPDATE journal SET {column} = ? WHERE seq = ?", (flipped, seq))
    damage.commit()
    damage.close()
    with pytest.raises(CorruptStore):
        load(path)


def test_a_record_that_is_missing_in_the_middle_is_noticed(path: Path) -> None:
    journal = Journal(path)
    journal.append(some_entries(), [])
    journal.close()
    damage = sqlite3.connect(path)
    damage.execute("DELETE FROM journal WHERE seq = 2")
    damage.commit()
    damage.close()
    with pytest.raises(CorruptStore):
        load(path)


def test_a_damaged_content_is_never_returned(journal: Journal, path: Path) -> None:
    entries = some_entries()
    journal.append(entries, [])
    body = entries[-1].record.body
    assert isinstance(body, Changed)
    change = body.changes[0]
    damage = sqlite3.connect(path)
    damage.execute("UPDATE content SET data = X'00' WHERE key = ?", (change.content_key,))
    damage.commit()
    damage.close()
    index = Index(path)
    with pytest.raises(CorruptStore):
        index.content(change.content_key, change.digest)
    with pytest.raises(CorruptStore):
        list(index.entries(1))
    index.close()


def test_what_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(CorruptStore):
        Journal(path)


def test_a_newer_format_is_refused_and_left_alone(path: Path) -> None:
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    before = path.read_bytes()
    with pytest.raises(StoreInvalid, match="99"):
        Journal(path)
    assert path.read_bytes() == before


def test_a_full_disk_takes_nothing_of_a_batch_and_heals(journal: Journal, path: Path) -> None:
    desk = Desk()
    agent = desk.member()
    agent.put("large.md", "x" * 100_000)
    journal.append(desk.entries[:1], [])
    connection = journal._connection  # pyright: ignore[reportPrivateUsage] - SQLite plays the disk
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JournalFull):
        journal.append(desk.entries[1:], [])
    assert journal.load(epoch=1, store="", rules=Rules(), now=0).seq == 1
    connection.execute("PRAGMA max_page_count = 1000000")
    journal.probe()
    journal.append(desk.entries[1:], [])
    assert load(path).seq == 2


def test_each_life_has_a_higher_epoch_and_the_same_store_id(path: Path) -> None:
    lives: list[tuple[int, str]] = []
    for _ in range(3):
        journal = Journal(path)
        lives.append(journal.begin_life())
        journal.close()
    assert [epoch for epoch, _ in lives] == [1, 2, 3]
    assert len({store for _, store in lives}) == 1


def test_commit_ids_are_remembered_newest_first(journal: Journal, path: Path) -> None:
    journal.append(some_entries(), [(1, "aa" * 20)])
    journal.append([], [(2, "bb" * 20), (3, "cc" * 20)])
    assert list(journal.known_commits()) == [(3, "cc" * 20), (2, "bb" * 20), (1, "aa" * 20)]
    assert journal.last_commit_seq() == 3
    index = Index(path)
    assert (index.commit(2), index.commit(4)) == ("bb" * 20, "")
    index.close()


def test_a_git_that_starts_again_while_batches_are_written_is_in_nobodys_way(
    journal: Journal,
) -> None:
    journal.append(some_entries(), [(1, "aa" * 20), (2, "bb" * 20)])
    known = journal.known_commits()
    assert next(known) == (2, "bb" * 20)
    journal.append([], [(3, "cc" * 20)])
    journal.tidy()
    assert next(known) == (1, "aa" * 20)


def test_the_log_is_filtered_before_it_is_cut(journal: Journal, path: Path) -> None:
    desk = Desk()
    ann, ben = desk.member("ann"), desk.member("ben")
    for number in range(5):
        ann.put("a.md", f"{number}\n")
        ben.put("b.md", f"{number}\n")
    ann.do(Move("a.md", "c.md"))
    ann.ask(Close())
    journal.append(desk.entries, [])
    index = Index(path)
    document = desk.state.by_path["c.md"]

    def seqs(document: int = 0, **filters: object) -> tuple[list[int], bool]:
        entries, more = index.log(Log(**filters), document)  # type: ignore[arg-type]
        return [entry.seq for entry in entries], more

    assert seqs(limit=3) == ([14, 13, 12], True)
    assert seqs(limit=50) == (list(range(14, 0, -1)), False)
    assert seqs(document, limit=2) == ([13, 11], True)
    assert seqs(document, limit=50, author="ben") == ([], False)
    assert seqs(author="ben", limit=2) == ([12, 10], True)
    assert seqs(action=Action.OPEN, limit=50) == ([2, 1], False)
    assert seqs(action=Action.CLOSE, limit=50) == ([14], False)
    assert seqs(before=4, limit=50) == ([3, 2, 1], False)
    assert seqs(session=ann.session, limit=3) == ([14, 13, 11], True)
    index.close()


def test_the_record_of_a_request_is_found_after_the_session_has_ended(
    journal: Journal, path: Path
) -> None:
    desk = Desk()
    agent = desk.member("ann", Actor.USER)
    agent.put("a.md", "one\n")
    agent.ask(Close())
    journal.append(desk.entries, [])
    index = Index(path)
    assert index.request(agent.session, 1) == desk.entries[1].record
    assert index.request(agent.session, 2) is None
    assert index.session_ended(agent.session) == "closed"
    index.close()


def test_a_discarded_text_is_gone_from_the_database_and_everything_else_still_verifies(
    path: Path,
) -> None:
    desk = Desk()
    user, agent = desk.member("ann", Actor.USER), desk.member()
    user.do(Put("api.md", b"one\n", type=DocumentType.REFERENCE))
    kept = agent.fail(Put("api.md", b"kept " * 100)).violation
    gone = agent.fail(Put("api.md", b"not to be kept " * 100)).violation
    user.ask(DiscardViolation(gone))
    journal = Journal(path)
    journal.append(desk.entries, [])
    journal.close()
    assert b"not to be kept" not in path.read_bytes()
    assert b"kept kept" in path.read_bytes()
    index = Index(path)
    assert [entry.record for entry in index.entries(1)] == [entry.record for entry in desk.entries]
    index.close()
    loaded = load(path)
    assert [f"violation-{seq}" for seq in loaded.violations] == [kept]


def test_the_place_of_a_lost_record_has_its_line_in_the_log(journal: Journal, path: Path) -> None:
    entries = some_entries()
    kept = {entry.record.seq: [(entry.encoded, entry.chain)] for entry in entries}
    del kept[entries[-2].record.seq]
    lost = entries[-2].record.seq
    settled = settle(kept, kept)
    assert settled.lost == (lost,)
    journal.append([Entry(*proven, ()) for proven in settled.records], [])

    index = Index(path)
    found, more = index.log(Log(action=Action.REPAIR), 0)
    everything, _ = index.log(Log(), 0)
    index.close()

    assert [(each.seq, each.summary, more) for each in found] == [
        (lost, f"operation {lost} was lost: repair found it nowhere", False)
    ]
    assert sorted(each.seq for each in everything) == [entry.record.seq for entry in entries]
