"""Every kind of record comes back from its commit, byte for byte: what `repair` rebuilds from git.

Whoever adds a kind of record, or a field to one, adds it here and to the trailers.
"""

from __future__ import annotations

from typing import Final, cast, get_args

import msgspec
import pytest

from agent_trace_coordinator.core.records import (
    Annotation,
    BasedOn,
    Change,
    Changed,
    Discarded,
    Drafted,
    Kept,
    LeaseExtended,
    LeaseGranted,
    LeaseReleased,
    Locked,
    Record,
    RecordBody,
    Repeated,
    SessionClosed,
    SessionEnded,
    SessionOpened,
    Steered,
    SteeringDropped,
    Unlocked,
    Violated,
    content_digest,
    encode_record,
)
from agent_trace_coordinator.storage.base import Entry
from agent_trace_coordinator.storage.commit import render_commit
from agent_trace_coordinator.storage.trailers import parse_trailers
from agent_trace_protocol import (
    Action,
    Actor,
    ConflictInfo,
    DocumentType,
    ErrorCode,
    LeaseRefusal,
    SessionKind,
)

HOSTILE: Final = "a\nSeq: 1\\n \u2028é "
DIGEST: Final = content_digest(b"text\n")

EXAMPLES: Final[dict[type, RecordBody]] = {
    type(body): body
    for body in (
        Changed(
            (
                Change(
                    document=64,
                    action=Action.MOVE,
                    path=HOSTILE,
                    previous_path="a b.md",
                    type=DocumentType.PLAN,
                    revision=3,
                    content_key=448,
                    digest=DIGEST,
                    size=5,
                    added=12,
                    removed=4,
                    summary=HOSTILE,
                ),
                Change(
                    document=65,
                    action=Action.ANNOTATE,
                    path=HOSTILE,
                    previous_path="no annotation has one",
                    type=DocumentType.PLAN,
                    revision=4,
                    content_key=449,
                    digest=DIGEST,
                    size=5,
                    added=1,
                    removed=1,
                    summary=HOSTILE,
                ),
            ),
            HOSTILE,
            6,
            "type lock",
            5,
            "file",
            (BasedOn(64, 2, HOSTILE),),
            (Annotation(65, 4, ("a:b", "c"), HOSTILE),),
        ),
        Drafted(
            ErrorCode.STALE_LEASE,
            ConflictInfo(HOSTILE, 2, 3, "ben", 17, "@@ -1 +1 @@\n-a\n+b \n ", "draft-7", True),
            bytes(range(16)),
            (Kept(Action.PUT, HOSTILE, DocumentType.SCRATCH, 64, 2, 448, DIGEST, 5),),
            LeaseRefusal("other.md", "ben", "b" * 26, 41, 2.125, "draft-7", "a waits for b"),
        ),
        SessionOpened(
            SessionKind.MCP, HOSTILE, "model", "host", 7, 8, "b" * 26, True, "tcp", HOSTILE
        ),
        SessionClosed(HOSTILE, (BasedOn(64, 2, HOSTILE),), 17),
        SessionEnded(HOSTILE, (BasedOn(64, 2, HOSTILE),), 17, 18),
        Violated(
            "agents-plan",
            ErrorCode.PERMISSION_DENIED,
            HOSTILE,
            Action.PUT,
            HOSTILE,
            bytes(range(16)),
            (Kept(Action.PUT, HOSTILE, DocumentType.REFERENCE, 64, 3, 448, DIGEST, 5),),
            "file",
        ),
        Repeated(5, 4),
        Discarded(5, 6),
        Unlocked(64, HOSTILE, "planner", 600),
        Locked((5, 6), HOSTILE, HOSTILE),
        LeaseGranted("notes/**", True, 10_000, 5),
        LeaseExtended(5, "notes/a.md", 20_000),
        LeaseReleased(5, "notes/a.md", HOSTILE),
        Steered(HOSTILE, 5),
        SteeringDropped(5),
    )
}


def unset_fields(value: object) -> list[str]:
    """Return the fields that have their default value, in which a missing trailer is not seen."""
    if isinstance(value, tuple):
        members = cast("tuple[object, ...]", value)
        return [name for each in members for name in unset_fields(each)]
    if not isinstance(value, msgspec.Struct):
        return []
    found: list[str] = []
    for field in msgspec.structs.fields(type(value)):
        own = getattr(value, field.name)
        if own == field.default or own in ("", 0, b"", ()):
            found.append(f"{type(value).__name__}.{field.name}")
        found += unset_fields(own)
    return found


def test_every_kind_of_record_has_an_example_with_every_field_set() -> None:
    assert EXAMPLES.keys() == set(get_args(RecordBody))
    assert [name for body in EXAMPLES.values() for name in unset_fields(body)] == []


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
def test_a_record_comes_back_from_its_commit_byte_for_byte(kind: type) -> None:
    record = Record(
        7, 2, 1_700_000_000_123, Actor.USER, "mia", "s" * 26, 9, b"\1\2\3", EXAMPLES[kind]
    )
    contents = ((448, b"text\n"),)
    command = render_commit(Entry(record, b"", bytes(range(32)), contents), "main", None)
    size, rest = command.split(b"\ndata ", 1)[1].split(b"\n", 1)
    trailers = parse_trailers(rest[: int(size)].decode())

    assert trailers.record == record
    assert encode_record(trailers.record) == encode_record(record)
