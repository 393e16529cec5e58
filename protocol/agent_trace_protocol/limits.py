"""Every maximum of the wire, each with its unit and its reason.

These are the hard bounds of the protocol. A store may be configured below them, never above.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "AGENT_NAME_LENGTH_MAX",
    "BODY_BYTES_MAX",
    "DESCRIPTION_LENGTH_MAX",
    "BRIEFING_BYTES_DEFAULT",
    "BRIEFING_BYTES_MAX",
    "BRIEFING_BYTES_MIN",
    "DOCUMENT_BYTES_DEFAULT",
    "DOCUMENT_BYTES_MAX",
    "DURATION_SECONDS_MAX",
    "ENVELOPE_BYTES_MAX",
    "ERROR_MESSAGE_LENGTH_MAX",
    "EVENTS_WAIT_SECONDS_MAX",
    "IN_FLIGHT_BYTES_MAX",
    "IN_FLIGHT_REQUESTS_MAX",
    "INTEGER_MAX",
    "LEASES_MAX",
    "LEASES_OF_SESSION_MAX",
    "LEASE_SECONDS_DEFAULT",
    "LEASE_SECONDS_MAX",
    "LEASE_SECONDS_MIN",
    "LEASE_WAITERS_MAX",
    "LEASE_WAIT_SECONDS_MAX",
    "OPERATIONS_MAX",
    "PAGE_ENTRIES_MAX",
    "PATH_BYTES_MAX",
    "PATH_DEPTH_MAX",
    "PATH_SEGMENT_BYTES_MAX",
    "REASON_LENGTH_MAX",
    "SEARCH_HITS_MAX",
    "SESSION_KEY_BYTES",
    "TAGS_MAX",
    "TAG_LENGTH_MAX",
    "STATEMENT_LENGTH_MAX",
    "TEXT_FIELD_LENGTH_MAX",
    "UNLOCK_SECONDS_MAX",
]

KIB: Final = 1024
MIB: Final = 1024 * KIB

INTEGER_MAX: Final = 2**63 - 1
"""The largest integer in a message: what SQLite and most languages hold."""

DURATION_SECONDS_MAX: Final = 1e9
"""Seconds of the longest duration in a message, some 30 years: it refuses infinity."""

DOCUMENT_BYTES_MAX: Final = 8 * MIB
"""Bytes of one document. Plans and notes are kilobytes; this bounds what one write may cost."""

DOCUMENT_BYTES_DEFAULT: Final = 1 * MIB
"""Bytes of one document unless the store's configuration says otherwise."""

ENVELOPE_BYTES_MAX: Final = 1 * KIB
"""Bytes of the first frame. It holds five short fields; anything larger is not one of ours."""

BODY_BYTES_MAX: Final = DOCUMENT_BYTES_MAX + 64 * KIB
"""Bytes of the second frame: one largest document and its metadata. Checked before decoding."""

BRIEFING_BYTES_DEFAULT: Final = 6000
"""Bytes of a briefing unless its asker says otherwise: some 1,500 to 2,000 tokens."""

BRIEFING_BYTES_MIN: Final = 500
"""Bytes of the shortest briefing: room for who is asked, what is left out, and a few lines."""

BRIEFING_BYTES_MAX: Final = 64 * KIB
"""Bytes of the longest briefing; whoever wants more reads the documents and the log."""

OPERATIONS_MAX: Final = 64
"""Operations in one transaction. They are one journal record and one commit, decided as a whole."""

PATH_BYTES_MAX: Final = 512
"""UTF-8 bytes of a document path: portable to every file system the store may be copied to."""

PATH_SEGMENT_BYTES_MAX: Final = 200
"""UTF-8 bytes of one path segment: 255 on most file systems, less the room for temporary names."""

PATH_DEPTH_MAX: Final = 16
"""Segments of a path: bounds the directory walk of every write."""

AGENT_NAME_LENGTH_MAX: Final = 64
"""Characters of an agent's name: it becomes a git author and part of file names."""

TEXT_FIELD_LENGTH_MAX: Final = 200
"""Characters of a free text field that describes a session (program, host, model)."""

TAG_LENGTH_MAX: Final = 40
"""Characters of one tag."""

TAGS_MAX: Final = 32
"""Tags of one document: they are shown with it in every listing."""

DESCRIPTION_LENGTH_MAX: Final = 300
"""Characters of a document's description: what it is for, not what it says."""

REASON_LENGTH_MAX: Final = 200
"""Characters of foreign text that an error message quotes: it goes to terminals and logs."""

ERROR_MESSAGE_LENGTH_MAX: Final = 2000
"""Characters of an error's message on the wire, for one may quote what the client sent."""

IN_FLIGHT_REQUESTS_MAX: Final = 64
"""Requests one client may have unanswered; beyond it the client library waits."""

IN_FLIGHT_BYTES_MAX: Final = 4 * MIB
"""Payload bytes one client may have unanswered, unless a single request is larger."""

PAGE_ENTRIES_MAX: Final = 1000
"""Entries of one page of a listing or a log: a page stays far below BODY_BYTES_MAX."""

UNLOCK_SECONDS_MAX: Final = 86_400
"""Seconds of one unlock. It is an exception; what should hold for longer is another type."""

SESSION_KEY_BYTES: Final = 16
"""Bytes of the secret a client makes for its session: 128 bits are not guessed."""

STATEMENT_LENGTH_MAX: Final = 1000
"""Characters of a steering statement: one line that every agent reads each time."""

SEARCH_HITS_MAX: Final = 100
"""Hits of one search; who wants more says more of what they are looking for."""

LEASE_SECONDS_MIN: Final = 1.0
"""Seconds of the shortest lease: shorter than what a busy machine may keep a process waiting, a
lease would end by itself all the time."""

LEASE_SECONDS_DEFAULT: Final = 10.0
"""Seconds of a lease unless its holder asks for others: some heartbeats, and no more than a person
waits for an agent that died."""

LEASE_SECONDS_MAX: Final = 86_400.0
"""Seconds of the longest lease. It is renewed for as long as its session lives; a day without a
sign of life is long enough for anybody."""

LEASES_MAX: Final = 10_000
"""Leases of one store: each is looked at when another one is asked for."""

LEASES_OF_SESSION_MAX: Final = 1000
"""Leases of one session, so that one agent can not take all there are."""

LEASE_WAITERS_MAX: Final = 1000
"""Requests that wait for a lease, in one store: they are gone through whenever one becomes free."""

LEASE_WAIT_SECONDS_MAX: Final = 3600.0
"""Seconds that a request may wait for a lease; who wants it still then asks again."""

EVENTS_WAIT_SECONDS_MAX: Final = 300.0
"""Seconds that a request for events may wait for the next one, so that nobody waits for a client
that is gone."""
