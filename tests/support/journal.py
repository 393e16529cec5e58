"""Journals made by hand, for what follows one."""

from __future__ import annotations

from agent_trace_coordinator.core.records import (
    CHAIN_START,
    Change,
    Changed,
    Record,
    RecordBody,
    chain_hash,
    content_digest,
    content_key,
    encode_record,
)
from agent_trace_coordinator.storage.base import Entry
from agent_trace_protocol import Action, Actor, DocumentType

__all__ = ["entries", "puts"]


def entries(bodies: list[list[tuple[Action, str, str, bytes]] | RecordBody]) -> list[Entry]:
    """Return the journal whose operations do this: (action, path, previous path, content)."""
    made: list[Entry] = []
    chain = CHAIN_START
    for seq, body in enumerate(bodies, 1):
        contents: list[tuple[int, bytes]] = []
        if isinstance(body, list):
            changes: list[Change] = []
            for index, (action, path, previous, content) in enumerate(body):
                key = content_key(seq, index)
                if action not in {Action.MOVE, Action.DELETE}:
                    contents.append((key, content))
                digest, size = content_digest(content), len(content)
                kind = DocumentType.PLAN
                changes.append(
                    Change(key, action, path, previous, kind, seq, key, digest, size, 1, 0)
                )
            body = Changed(tuple(changes), "Seq: 99\nnot a trailer")
        time_ms = 1_700_000_000_000 + seq
        record = Record(seq, 1, time_ms, Actor.AGENT, "planner", "sess", seq, b"", body)
        encoded = encode_record(record)
        chain = chain_hash(chain, encoded)
        made.append(Entry(record, encoded, chain, tuple(contents)))
    return made


def puts(count: int) -> list[Entry]:
    return entries(
        [
            [(Action.PUT, f"d/{seq % 7}.md", "", f"text {seq}\n".encode())]
            for seq in range(1, count + 1)
        ]
    )
