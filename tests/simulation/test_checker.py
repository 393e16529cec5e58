"""The checker on histories made by hand: it accepts the good one and rejects each bad one.

The histories are made by the production core and then bent, one fact at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import pytest

from agent_trace_coordinator.core.effects import Answer, Append
from agent_trace_coordinator.core.inputs import Facts, Now, Received
from agent_trace_coordinator.core.machine import step
from agent_trace_coordinator.core.records import (
    Changed,
    Entry,
    Record,
    RecordBody,
    SessionClosed,
    chain_hash,
    encode_record,
    request_fingerprint,
)
from agent_trace_coordinator.core.state import Rules, State
from agent_trace_protocol import (
    Actor,
    Committed,
    Document,
    DocumentType,
    Done,
    ErrorCode,
    ErrorInfo,
    Heartbeat,
    ListDocuments,
    Open,
    Page,
    Put,
    Read,
    Refused,
    Reply,
    ReplyEnvelope,
    Request,
    RequestEnvelope,
    SessionKind,
    Transact,
    encode,
    session_id_of,
)
from simulation.checker import Checker, Violation

FIRST = b"1" * 16
SECOND = b"2" * 16
THIRD = b"3" * 16


def put(path: str, text: bytes, if_revision: int | None = None) -> Transact:
    return Transact((Put(path, text, if_revision),))


@dataclass
class History:
    """A coordinator in slow motion: each of its steps is told to the checker by hand."""

    checker: Checker = field(default_factory=lambda: Checker(Rules(), {}))
    state: State = field(default_factory=lambda: State(epoch=1, store="simulated", rules=Rules()))
    contents: dict[int, bytes] = field(default_factory=dict[int, bytes])
    time: float = 0.0
    wall_ms: int = 1000

    def ask(self, key: bytes, number: int, request: Request) -> tuple[list[Entry], Reply | None]:
        """Let a client send a request and the coordinator decide it; nothing is durable yet."""
        self.send(key, number, request)
        self.checker.on_handled(key, self.frames(key, number, request), self.time)
        body = encode(request)
        facts = Facts(contents=dict(self.contents))
        input = Received(session_id_of(key), number, request_fingerprint(body), request, facts)
        effects = step(self.state, input, Now(self.time, self.wall_ms))
        entries = [effect.entry for effect in effects if isinstance(effect, Append)]
        for entry in entries:
            self.contents.update(entry.contents)
            self.checker.on_submit(entry, self.time)
        answers = [effect.reply for effect in effects if isinstance(effect, Answer)]
        return entries, answers[0] if answers else None

    def frames(self, key: bytes, number: int, request: Request) -> list[bytes]:
        return [encode(RequestEnvelope(1, key, number)), encode(request)]

    def send(self, key: bytes, number: int, request: Request) -> None:
        self.checker.on_sent(key, session_id_of(key), number, encode(request))

    def durable(self, *entries: Entry) -> None:
        self.checker.on_durable(list(entries))

    def reply(self, key: bytes, number: int, reply: Reply | None, seq: int | None = None) -> None:
        assert reply is not None
        seq = self.checker.seq if seq is None else seq
        frames = (encode(ReplyEnvelope(1, number, seq, 1)), encode(reply))
        self.checker.on_reply(key, frames, self.time)

    def hear(self, key: bytes, number: int, request: Request, reply: Reply | None) -> None:
        assert reply is not None
        self.checker.on_answered(session_id_of(key), number, encode(request), reply)

    def do(self, key: bytes, number: int, request: Request) -> Reply:
        """Do all of it, as it should be."""
        entries, reply = self.ask(key, number, request)
        self.durable(*entries)
        assert reply is not None
        self.reply(key, number, reply)
        self.hear(key, number, request, reply)
        return reply

    def open(self, key: bytes, name: str) -> Reply:
        return self.do(key, 0, Open(name, Actor.AGENT, SessionKind.LIBRARY))

    def bent(self, entry: Entry, **facts: object) -> Entry:
        """Return the entry with other facts in its record, whole in itself."""
        record: Record = msgspec.structs.replace(entry.record, **facts)
        encoded = encode_record(record)
        return Entry(record, encoded, chain_hash(self.checker.state.chain, encoded), entry.contents)


@pytest.fixture
def history() -> History:
    """Two agents are there, and the first has written a plan."""
    made = History()
    made.open(FIRST, "planner")
    made.open(SECOND, "coder")
    made.do(FIRST, 1, put("plan.md", b"one\n"))
    return made


def test_a_sound_history_is_accepted(history: History) -> None:
    history.do(SECOND, 1, put("plan.md", b"two\n", 1))
    history.do(SECOND, 2, put("plan.md", b"three\n", 1))
    history.do(FIRST, 2, ListDocuments())
    history.do(FIRST, 3, Heartbeat())
    history.checker.on_state(history.state, read_only=False)
    history.checker.check_end(history.state)


def test_an_acknowledgement_before_its_record_is_durable_is_rejected(history: History) -> None:
    _, reply = history.ask(SECOND, 1, put("b.md", b"b\n"))
    with pytest.raises(Violation, match="not durable"):
        history.reply(SECOND, 1, reply)


def test_a_reply_that_names_what_is_not_durable_is_rejected(history: History) -> None:
    _, _ = history.ask(SECOND, 1, put("b.md", b"b\n"))
    _, reply = history.ask(FIRST, 2, Heartbeat())
    with pytest.raises(Violation, match="3 is durable"):
        history.reply(FIRST, 2, reply, seq=4)


def test_a_gap_in_the_order_is_rejected(history: History) -> None:
    entries, _ = history.ask(SECOND, 1, put("b.md", b"b\n"))
    with pytest.raises(Violation, match="record 5 follows record 3"):
        history.durable(history.bent(entries[0], seq=5))


def test_a_request_that_is_carried_out_twice_is_rejected(history: History) -> None:
    entries, _ = history.ask(SECOND, 1, put("b.md", b"b\n"))
    history.durable(*entries)
    with pytest.raises(Violation, match="carried out twice"):
        history.durable(history.bent(entries[0], seq=5))


def test_a_record_under_another_name_is_rejected(history: History) -> None:
    entries, _ = history.ask(SECOND, 1, put("b.md", b"b\n"))
    with pytest.raises(Violation, match="record 4 of coder says planner"):
        history.durable(history.bent(entries[0], author="planner"))


def test_a_record_in_another_session_is_rejected(history: History) -> None:
    entries, _ = history.ask(SECOND, 1, put("b.md", b"b\n"))
    with pytest.raises(Violation, match=r"says coder|nobody sent|carried out twice"):
        history.durable(history.bent(entries[0], session=session_id_of(FIRST)))


def test_a_record_that_nobody_asked_for_is_rejected(history: History) -> None:
    entries, _ = history.ask(SECOND, 1, put("b.md", b"b\n"))
    with pytest.raises(Violation, match="nobody sent"):
        history.durable(history.bent(entries[0], request=7))


def test_a_session_that_writes_after_its_end_is_rejected(history: History) -> None:
    entries, _ = history.ask(SECOND, 1, put("b.md", b"b\n"))
    takeover = Open("coder", Actor.AGENT, SessionKind.LIBRARY, takeover=True)
    taken, _ = history.ask(THIRD, 0, takeover)
    history.durable(*(history.bent(taken[0], seq=4),))
    history.durable(history.bent(taken[1], seq=5))
    with pytest.raises(Violation, match="not open"):
        history.durable(history.bent(entries[0], seq=6))


def test_two_sessions_that_hold_one_name_are_rejected(history: History) -> None:
    takeover = Open("coder", Actor.AGENT, SessionKind.LIBRARY, takeover=True)
    taken, _ = history.ask(THIRD, 0, takeover)
    with pytest.raises(Violation, match="two sessions hold the name coder"):
        history.durable(history.bent(taken[1], seq=4))


def test_a_live_session_that_is_taken_over_unasked_is_rejected(history: History) -> None:
    history.send(THIRD, 0, Open("coder", Actor.AGENT, SessionKind.LIBRARY))
    closed = SessionClosed(f"superseded by {session_id_of(THIRD)}")
    history.time += 9.0
    with pytest.raises(Violation, match=r"after 9\.0 s of silence, not 10|after 9\.0 s"):
        history.checker.on_submit(entry_of(history, SECOND, closed), history.time)


def test_a_session_that_expires_while_the_coordinator_is_paused_is_rejected(
    history: History,
) -> None:
    history.time += 60.0
    history.checker.on_paused(1.0, 59.0)
    with pytest.raises(Violation, match="of silence"):
        history.checker.on_submit(entry_of(history, SECOND, SessionClosed("expired")), history.time)


def entry_of(history: History, key: bytes, body: RecordBody) -> Entry:
    record = Record(4, 1, 1000, Actor.AGENT, "coder", session_id_of(key), 0, b"", body)
    return Entry(record, encode_record(record), b"", ())


def test_a_session_that_opens_twice_is_rejected(history: History) -> None:
    opened, _ = history.ask(THIRD, 0, Open("reviewer", Actor.AGENT, SessionKind.LIBRARY))
    history.durable(*opened)
    with pytest.raises(Violation, match="opened a second time"):
        history.durable(history.bent(opened[0], seq=5))


def test_a_write_that_passes_an_acknowledged_one_is_rejected(history: History) -> None:
    early, _ = history.ask(SECOND, 1, put("b.md", b"b\n"))
    # As if somebody had been told of record 4 before what becomes record 4 was asked for.
    history.checker._acked = 4  # pyright: ignore[reportPrivateUsage]
    history.send(SECOND, 2, put("c.md", b"c\n"))
    body = put("c.md", b"c\n")
    bent = history.bent(early[0], request=2, fingerprint=request_fingerprint(encode(body)))
    with pytest.raises(Violation, match="asked for after record 4 was acknowledged"):
        history.durable(bent)


def test_a_time_that_goes_back_is_rejected(history: History) -> None:
    entries, _ = history.ask(SECOND, 1, put("b.md", b"b\n"))
    with pytest.raises(Violation, match="older than the one before"):
        history.durable(history.bent(entries[0], time_ms=999))


def test_a_write_over_a_conflict_is_rejected(history: History) -> None:
    entries, _ = history.ask(SECOND, 1, put("plan.md", b"two\n"))
    late = put("plan.md", b"two\n", 0)
    history.send(SECOND, 2, late)
    fingerprint = request_fingerprint(encode(late))
    with pytest.raises(Violation, match="the model says Late"):
        history.durable(history.bent(entries[0], request=2, fingerprint=fingerprint))


def test_a_conflict_without_a_reason_is_rejected(history: History) -> None:
    entries, _ = history.ask(SECOND, 1, put("plan.md", b"two\n", 0))
    good = put("plan.md", b"two\n", 1)
    history.send(SECOND, 2, good)
    fingerprint = request_fingerprint(encode(good))
    with pytest.raises(Violation, match="is a conflict, the model says Accepted"):
        history.durable(history.bent(entries[0], request=2, fingerprint=fingerprint))


def test_a_content_that_is_not_what_was_asked_for_is_rejected(history: History) -> None:
    entries, _ = history.ask(SECOND, 1, put("plan.md", b"two\n"))
    key, _ = entries[0].contents[0]
    with pytest.raises(Violation, match="the model says b'two"):
        history.durable(msgspec.structs.replace(entries[0], contents=((key, b"2"),)))


def test_a_document_that_changes_its_type_is_rejected(history: History) -> None:
    entries, _ = history.ask(SECOND, 1, put("plan.md", b"two\n"))
    body = entries[0].record.body
    assert isinstance(body, Changed)
    change = msgspec.structs.replace(body.changes[0], type=DocumentType.REFERENCE)
    with pytest.raises(Violation, match="the model says Effect"):
        history.durable(history.bent(entries[0], body=Changed((change,))))


def test_a_write_without_permission_is_rejected(history: History) -> None:
    entries, _ = history.ask(SECOND, 1, put("b.md", b"b\n"))
    forbidden = Transact((Put("b.md", b"b\n", None, DocumentType.REFERENCE),))
    history.send(SECOND, 2, forbidden)
    fingerprint = request_fingerprint(encode(forbidden))
    with pytest.raises(Violation, match="permission_denied|PERMISSION_DENIED"):
        history.durable(history.bent(entries[0], request=2, fingerprint=fingerprint))


def test_half_a_transaction_is_rejected(history: History) -> None:
    both = Transact((Put("b.md", b"b\n"), Put("c.md", b"c\n")))
    entries, _ = history.ask(SECOND, 1, both)
    body = entries[0].record.body
    assert isinstance(body, Changed)
    with pytest.raises(Violation, match="record 4 has"):
        history.durable(history.bent(entries[0], body=Changed(body.changes[:1])))


def document(text: bytes, revision: int, seq: int, author: str = "planner") -> Document:
    return Document("plan.md", DocumentType.SCRATCH, revision, text, seq, 1000, author)


def test_a_read_of_what_was_there_is_accepted(history: History) -> None:
    history.send(SECOND, 1, Read("plan.md"))
    history.do(FIRST, 2, put("plan.md", b"two\n"))
    # Asked for before the change and answered after it, a read may see either side.
    history.reply(SECOND, 1, document(b"one\n", 1, 3))
    history.reply(SECOND, 1, document(b"two\n", 2, 4))


def test_a_read_of_what_was_replaced_before_it_was_asked_for_is_rejected(
    history: History,
) -> None:
    history.do(FIRST, 2, put("plan.md", b"two\n"))
    history.send(SECOND, 1, Read("plan.md"))
    with pytest.raises(Violation, match="no state in between has this content"):
        history.reply(SECOND, 1, document(b"one\n", 1, 3))


def test_a_read_of_what_is_not_durable_is_rejected(history: History) -> None:
    history.ask(FIRST, 2, put("plan.md", b"two\n"))
    history.send(SECOND, 1, Read("plan.md"))
    with pytest.raises(Violation, match="no state in between has this content"):
        history.reply(SECOND, 1, document(b"two\n", 2, 4))


def test_a_list_without_a_document_is_rejected(history: History) -> None:
    history.send(SECOND, 1, ListDocuments())
    with pytest.raises(Violation, match="no state in between has these documents"):
        history.reply(SECOND, 1, Page((), False))


def test_a_second_answer_that_differs_is_rejected(history: History) -> None:
    request = Transact((Put("b.md", b"b\n"), Put("c.md", b"c\n")))
    entries, reply = history.ask(SECOND, 1, request)
    history.durable(*entries)
    history.reply(SECOND, 1, reply)
    assert isinstance(reply, Committed)
    added = msgspec.structs.replace(reply.results[0], added=5)
    other = Committed(reply.seq, (added, reply.results[1]))
    with pytest.raises(Violation, match="it was answered Committed"):
        history.reply(SECOND, 1, other)


def test_an_answer_that_goes_to_another_request_is_rejected(history: History) -> None:
    history.send(SECOND, 1, put("b.md", b"b\n"))
    entries, reply = history.ask(SECOND, 2, put("c.md", b"c\n"))
    history.durable(*entries)
    with pytest.raises(Violation, match="is request 2 of"):
        history.reply(SECOND, 1, reply)


def test_a_refusal_of_what_was_carried_out_is_rejected(history: History) -> None:
    entries, _ = history.ask(SECOND, 1, put("b.md", b"b\n"))
    history.durable(*entries)
    history.checker.on_state(history.state, read_only=True)
    refusal = Refused(ErrorInfo(ErrorCode.READ_ONLY, "the disk is full", True))
    with pytest.raises(Violation, match="it was carried out as record 4"):
        history.reply(SECOND, 1, refusal)


@pytest.mark.parametrize(
    "code",
    [
        ErrorCode.CONFLICT,
        ErrorCode.NOT_FOUND,
        ErrorCode.NO_MATCH,
        ErrorCode.PERMISSION_DENIED,
        ErrorCode.SESSION_UNKNOWN,
        ErrorCode.READ_ONLY,
        ErrorCode.INTERNAL,
        ErrorCode.CORRUPT,
    ],
)
def test_a_refusal_without_a_reason_is_rejected(history: History, code: ErrorCode) -> None:
    history.send(SECOND, 1, put("b.md", b"b\n"))
    with pytest.raises(Violation):
        history.reply(SECOND, 1, Refused(ErrorInfo(code, "no")))


def test_a_state_that_differs_from_the_journal_is_rejected(history: History) -> None:
    document = history.state.document_at("plan.md")
    assert document is not None
    history.state.unlink(document)
    with pytest.raises(Violation, match="the journal says"):
        history.checker.on_state(history.state, read_only=False)


def test_an_operation_that_never_becomes_durable_is_rejected(history: History) -> None:
    history.ask(SECOND, 1, put("b.md", b"b\n"))
    with pytest.raises(Violation, match="operation 4 is decided, 3 is durable"):
        history.checker.check_end(history.state)


def test_a_request_that_is_never_answered_is_rejected(history: History) -> None:
    history.ask(SECOND, 1, Heartbeat())
    with pytest.raises(Violation, match="were not answered"):
        history.checker.check_end(history.state)


def test_a_request_that_is_answered_twice_is_rejected(history: History) -> None:
    history.do(SECOND, 1, Heartbeat())
    history.reply(SECOND, 1, Done())
    with pytest.raises(Violation, match="more than once"):
        history.checker.check_end(history.state)
