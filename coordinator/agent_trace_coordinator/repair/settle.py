"""Which records are true: candidates from state.db and from git, decided by the hash chain.

Pure. A record counts if the chain proves it, whichever copy it is from. Where the chain itself has
a hole, only git's copy counts, because its object was hashed as well. What no copy proves is named,
and its place is taken by a record that says so, for operations are counted without gaps; from such
a hole on, the chain and with it the commits are made anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from agent_trace_coordinator.core.records import (
    CHAIN_START,
    Changed,
    Record,
    SessionOpened,
    chain_hash,
    decode_record,
    encode_record,
)
from agent_trace_protocol import Actor, SessionKind

__all__ = ["SYSTEM_NAME", "Candidates", "Proven", "Settled", "settle"]

Candidates = Mapping[int, Sequence[tuple[bytes, bytes]]]
"""By seq: pairs of an encoded record and of a chain hash, none of them believed."""

Proven = tuple[Record, bytes, bytes]
"""A record, its encoding and its chain hash."""

SYSTEM_NAME: Final = "system"


class Settled(msgspec.Struct):
    """The journal as it is to be."""

    records: list[Proven]
    """Each operation, from the first on."""
    lost: tuple[int, ...]
    """Operations that were found nowhere; placeholders are in their places."""
    from_git: tuple[int, ...]
    """Operations that only git had."""


def settle(journal: Candidates, git: Candidates) -> Settled:
    """Return the longest journal that the candidates prove."""
    last = _last(journal, git)
    proven: dict[int, Proven] = {}
    from_git: list[int] = []
    claims: list[bytes] = [CHAIN_START]
    for seq in range(1, last + 1):
        ours, theirs = journal.get(seq, ()), git.get(seq, ())
        found = _proven(seq, claims, ours)
        if found is None:
            found = _proven(seq, claims, theirs) or (None if claims else _decoded(seq, theirs))
            if found is not None:
                from_git.append(seq)
        if found is not None:
            proven[seq] = found
            claims = [found[2]]
        else:
            claims = list(dict.fromkeys(chain for _, chain in (*ours, *theirs)))
    lost = tuple(seq for seq in range(1, last + 1) if seq not in proven)
    return Settled(_filled(proven, last, lost), lost, tuple(from_git))


def _last(journal: Candidates, git: Candidates) -> int:
    """Return the last operation that there was, as far as anything tells.

    A row that can not be read counts if it follows on others: alone, behind a gap, its number may
    come from a flipped bit.
    """
    last = 0
    for seq in sorted({*journal, *git}):
        readable = _decoded(seq, git.get(seq, ())) or _decoded(seq, journal.get(seq, ()))
        if readable or seq == last + 1:
            last = seq
    return last


def _proven(
    seq: int, claims: Iterable[bytes], candidates: Sequence[tuple[bytes, bytes]]
) -> Proven | None:
    for previous in claims:
        for encoded, chain in candidates:
            if chain_hash(previous, encoded) == chain:
                record = _record(seq, encoded)
                if record is not None:
                    return record, encoded, chain
    return None


def _decoded(seq: int, candidates: Iterable[tuple[bytes, bytes]]) -> Proven | None:
    for encoded, chain in candidates:
        record = _record(seq, encoded)
        if record is not None:
            return record, encoded, chain
    return None


def _record(seq: int, encoded: bytes) -> Record | None:
    try:
        record = decode_record(encoded)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return record if record.seq == seq else None


def _filled(proven: Mapping[int, Proven], last: int, lost: Sequence[int]) -> list[Proven]:
    """Return all records in order, with placeholders for those that are lost."""
    if not lost:
        return [proven[seq] for seq in range(1, last + 1)]
    openings = _lost_openings(proven, lost)
    records: list[Proven] = []
    chain = CHAIN_START
    time_ms, epoch = 0, 1
    for seq in range(1, last + 1):
        if seq in proven:
            record, encoded, _ = proven[seq]
        else:
            record = _placeholder(seq, epoch, time_ms, openings.get(seq))
            encoded = encode_record(record)
        chain = chain_hash(chain, encoded)
        records.append((record, encoded, chain))
        time_ms, epoch = record.time_ms, record.epoch
    return records


def _placeholder(seq: int, epoch: int, time_ms: int, of_session: Record | None) -> Record:
    if of_session is None:
        body = Changed((), f"operation {seq} was lost: repair found it nowhere", source="repair")
        return Record(seq, epoch, time_ms, Actor.SYSTEM, SYSTEM_NAME, "", 0, b"", body)
    # Whose session it was stands in its later records, and that it was opened is certain.
    opening = SessionOpened(
        SessionKind.LIBRARY, "unknown: the record of its opening was lost", "", "", 0, 0, ""
    )
    actor, author, session = of_session.actor, of_session.author, of_session.session
    return Record(seq, epoch, time_ms, actor, author, session, 0, b"", opening)


def _lost_openings(proven: Mapping[int, Proven], lost: Sequence[int]) -> dict[int, Record]:
    """Return which lost operations are taken for the openings of sessions that later ones name.

    Each of these sessions was opened by one of the lost operations before the first of its own
    that is left; taken earliest first, there is a place for each.
    """
    known = {""}
    free = list(lost)
    openings: dict[int, Record] = {}
    for seq in sorted(proven):
        record = proven[seq][0]
        if record.session in known:
            continue
        known.add(record.session)
        if not isinstance(record.body, SessionOpened) and free and free[0] < seq:
            openings[free.pop(0)] = record
    return openings
