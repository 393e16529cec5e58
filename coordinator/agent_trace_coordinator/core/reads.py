"""What a session has read and when it was briefed: remembered here, recorded with what it does.

A read costs no record of its own. The session keeps the revision of each document that it read
last, and its next change, or its end, carries them: so it is known what a change was based on. Of
what it had read and not recorded when the coordinator died, nothing is known.
"""

from __future__ import annotations

from .records import BasedOn
from .state import DocumentState, SessionEntry

__all__ = [
    "READS_MAX",
    "begin_briefing",
    "confirm_briefing",
    "note_process",
    "note_read",
    "take_reads",
]

READS_MAX = 32
"""Documents whose revisions a session remembers between two of its records: the last ones."""


def note_read(session: SessionEntry, document: DocumentState, revision: int) -> None:
    """Remember that a session reads a revision of a document."""
    reads = session.reads
    before = reads.pop(document.id, None)
    if before is not None and before.revision > revision:
        # Who looks an earlier one up still knows the later one.
        revision = before.revision
    reads[document.id] = BasedOn(document.id, revision, document.path)
    if len(reads) > READS_MAX:
        del reads[next(iter(reads))]


def take_reads(session: SessionEntry) -> tuple[BasedOn, ...]:
    """Return what a session has read since this was asked last, the last one last."""
    reads = tuple(session.reads.values())
    session.reads.clear()
    return reads


def begin_briefing(session: SessionEntry, number: int, seq: int) -> int:
    """Note that a session is being briefed as of `seq`; return as of when it was before.

    A request that is repeated is answered as before: its first answer may not have arrived. That it
    did arrive is known when the session asks for something else.
    """
    if session.briefing != number:
        confirm_briefing(session, number)
        session.briefing = number
    session.briefing_seq = seq
    return session.looked


def confirm_briefing(session: SessionEntry, number: int) -> None:
    """Note that a session goes on to another request, so that it has its briefing."""
    if session.briefing and number > session.briefing:
        _confirm(session)


def note_process(session: SessionEntry, pid: int, started: int) -> None:
    """Note which process opens a session: another one than before does not repeat its requests,
    though they may have the same numbers."""
    if session.process != (pid, started):
        session.process = pid, started
        if session.briefing:
            _confirm(session)


def _confirm(session: SessionEntry) -> None:
    session.looked = session.briefing_seq
    session.briefing = 0
