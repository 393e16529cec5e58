"""Making the next record: the one place where something accepted gets its seq."""

from __future__ import annotations

from .apply import apply_record
from .effects import Append
from .inputs import Now
from .records import Entry, Record, RecordBody, chain_hash, encode_record
from .sessions import opened_body
from .state import SessionEntry, State

__all__ = ["append", "introduce"]


def append(
    state: State,
    session: SessionEntry,
    body: RecordBody,
    now: Now,
    *,
    request: int = 0,
    fingerprint: bytes = b"",
    contents: tuple[tuple[int, bytes], ...] = (),
) -> Append:
    """Make the next record, apply it, and return the effect that makes it durable."""
    record = Record(
        seq=state.seq + 1,
        epoch=state.epoch,
        # Recorded times never decrease, whatever the wall clock does.
        time_ms=max(now.wall_ms, state.time_ms),
        actor=session.actor,
        author=session.name,
        session=session.id,
        request=request,
        fingerprint=fingerprint,
        body=body,
    )
    encoded = encode_record(record)
    chain = chain_hash(state.chain, encoded)
    apply_record(state, record, chain, now.monotonic)
    return Append(Entry(record, encoded, chain, contents))


def introduce(state: State, session: SessionEntry, now: Now) -> list[Append]:
    """Record a session that is in no record yet, in front of the first thing that it does."""
    return [] if session.journaled else [append(state, session, opened_body(session), now)]
