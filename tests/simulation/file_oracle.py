"""The part of the oracle that knows files which were edited past the coordinator.

What is adopted was really saved by somebody, where a user may write; what is refused is kept; and
what somebody saved last at a path is in the end in a revision, on record, set aside, or there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from agent_trace_coordinator.core.records import Change, Changed, Record, Violated
from agent_trace_protocol import Action, Actor

from .model import WRITERS, Model, ModelDocument, Snapshot

__all__ = ["FileOracle"]


@dataclass
class FileOracle:
    """Watches what becomes of files that a person saves."""

    fail: Callable[[str], Exception]
    foreign: frozenset[bytes] = frozenset()
    """What lay in the directory from the start. A file of it that is added, deleted and written
    anew before the files have followed is taken for a change of the new document's file, and kept
    once more than need be."""
    saved: set[bytes] = field(default_factory=set[bytes])
    lines: set[bytes] = field(default_factory=set[bytes])
    last: dict[str, bytes | None] = field(default_factory=dict[str, bytes | None])
    """What the person did last at each path."""
    kept: list[bytes] = field(default_factory=list[bytes])
    adopted_count: int = 0
    refused_count: int = 0

    def edited(self, path: str, content: bytes | None) -> None:
        """A person has saved a file, or deleted it."""
        self.last[path] = content
        if content is not None:
            self.saved.add(content)
            self.lines.update(content.splitlines())

    def adopted(
        self,
        model: Model,
        last: Snapshot,
        record: Record,
        body: Changed,
        contents: dict[int, bytes],
    ) -> Snapshot:
        """Return the store after files were adopted."""
        if (record.session, record.actor, record.author) != ("", Actor.USER, "user"):
            raise self.fail(f"record {record.seq} says that {record.author} changed files")
        if "by whom is not proven" not in body.message:
            raise self.fail(f"record {record.seq} does not say that nobody proved it")
        documents = dict(last.documents)
        for change in body.changes:
            before = documents.get(change.document)
            if before is None or before.deleted or change.revision != before.revision + 1:
                raise self.fail(f"record {record.seq} adopts {change} for {before}")
            if "user" not in WRITERS[before.type.value].split():
                raise self.fail(f"record {record.seq} adopts a change of a {before.type}")
            after = replace(
                before,
                revision=change.revision,
                content=self._content(record, change, before, contents),
                seq=record.seq,
                time_ms=record.time_ms,
                author=record.author,
                deleted=change.action is Action.DELETE,
            )
            documents[after.id] = after
            model.made[after.id, after.revision] = after
            self.adopted_count += 1
        return replace(last, seq=record.seq, documents=documents)

    def _content(
        self,
        record: Record,
        change: Change,
        before: ModelDocument,
        contents: dict[int, bytes],
    ) -> bytes:
        if change.action is Action.DELETE:
            if self.last.get(change.path, b"") is not None and None not in self.last.values():
                raise self.fail(f"record {record.seq} deletes {change.path}; nobody did")
            return b""
        content = contents[change.content_key]
        known = self.lines | set(before.content.splitlines())
        if change.action is Action.PUT and content not in self.saved:
            raise self.fail(f"record {record.seq} adopts {content!r}, which nobody saved")
        if change.action is Action.MERGE and not set(content.splitlines()) <= known:
            raise self.fail(f"record {record.seq} joins {content!r}, with lines of nobody")
        if change.action not in (Action.PUT, Action.MERGE) or change.path != before.path:
            raise self.fail(f"record {record.seq} adopts {change} for {before}")
        return content

    def refused(
        self, last: Snapshot, record: Record, body: Violated, contents: dict[int, bytes]
    ) -> Snapshot:
        """Return the store after a change of a file was refused."""
        if (record.session, record.actor) != ("", Actor.UNKNOWN):
            raise self.fail(f"record {record.seq} blames {record.author} for a file")
        for text in body.kept:
            content = contents.get(text.content_key, b"")
            if text.size and content not in self.saved and content not in self.foreign:
                raise self.fail(f"record {record.seq} keeps {content!r}, which nobody saved")
            self.kept.append(content)
        self.refused_count += 1
        return replace(last, seq=record.seq, violations=last.violations | {record.seq})

    def check_end(self, model: Model, set_aside: list[bytes], files: dict[str, bytes]) -> None:
        """Nothing that somebody saved is gone, unless the same hand wrote over it."""
        everywhere = [
            *(made.content for made in model.made.values()),
            *self.kept,
            *set_aside,
            *files.values(),
        ]
        for path, content in self.last.items():
            if content is None:
                continue
            own = [line for line in content.splitlines() if line.startswith(b"person ")]
            newest = max(own, key=lambda line: int(line.split()[1]))
            if not any(newest in each.splitlines() for each in everywhere):
                raise self.fail(f"{newest!r}, saved at {path}, is nowhere")
