"""Exports: nothing half done on the disk, and records as the Agent Trace draft has them."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

from agent_trace import InvalidPath, InvalidRequest
from agent_trace.exporting import export_files, trace_record
from agent_trace_protocol import (
    Action,
    Actor,
    DocumentInfo,
    DocumentType,
    SnapshotDocument,
    SnapshotPage,
    Trace,
    TraceFile,
    TraceRange,
)

# The draft's schema (agent-trace.dev, version 0.1.0): what must be there, what may, nothing else.


class _Draft(msgspec.Struct, forbid_unknown_fields=True):
    pass


class _Contributor(_Draft):
    type: Literal["human", "ai", "mixed", "unknown"]
    model_id: Annotated[str, msgspec.Meta(max_length=250)] | None = None


class _Range(_Draft):
    start_line: Annotated[int, msgspec.Meta(ge=1)]
    end_line: Annotated[int, msgspec.Meta(ge=1)]
    content_hash: str | None = None
    contributor: _Contributor | None = None


class _Related(_Draft):
    type: str
    url: str


class _Conversation(_Draft):
    ranges: list[_Range]
    url: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9+.-]*:\S+$")] | None = None
    contributor: _Contributor | None = None
    related: list[_Related] | None = None


class _File(_Draft):
    path: str
    conversations: list[_Conversation]


class _Vcs(_Draft):
    type: Literal["git", "jj", "hg", "svn"]
    revision: str


class _Tool(_Draft):
    name: str
    version: str


class _Record(_Draft):
    version: Annotated[str, msgspec.Meta(pattern=r"^[0-9]+\.[0-9]+$")]
    id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    timestamp: Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")]
    files: list[_File]
    vcs: _Vcs | None = None
    tool: _Tool | None = None
    metadata: dict[str, Any] | None = None


def trace(actor: Actor = Actor.AGENT, action: Action = Action.PUT, **changes: Any) -> Trace:
    made = Trace(
        42,
        1_760_000_000_123,
        actor,
        "planner",
        "ft4r64pbqciynbilqrzzeqcnla",
        "example 1.0",
        "anthropic/claude",
        "0123456789abcdef0123456789abcdef01234567",
        (
            TraceFile("plan.md", 3, action, (TraceRange(2, 5, bytes(32)),)),
            TraceFile("moved.md", 2, Action.MOVE, ()),
        ),
    )
    return msgspec.structs.replace(made, **changes)


def test_a_record_is_what_the_draft_s_schema_asks_for() -> None:
    told = trace_record("store", trace())
    record = msgspec.convert(told, _Record)
    assert (record.version, record.timestamp) == ("0.1", "2025-10-09T08:53:20.123Z")
    assert record.vcs == _Vcs("git", "0123456789abcdef0123456789abcdef01234567")
    assert record.tool == _Tool("example", "1.0")
    (file,) = record.files
    (conversation,) = file.conversations
    assert (file.path, conversation.url) == (
        "plan.md",
        "urn:agent-trace:store:session:ft4r64pbqciynbilqrzzeqcnla",
    )
    assert conversation.contributor == _Contributor("ai", "anthropic/claude")
    assert conversation.ranges == [_Range(2, 5, "sha256:" + "00" * 32)]
    assert trace_record("store", trace()) == told, "the same operation has another id"


@pytest.mark.parametrize(
    ("actor", "action", "kind"),
    [
        (Actor.AGENT, Action.MERGE, "ai"),
        (Actor.USER, Action.EDIT, "human"),
        (Actor.USER, Action.MERGE, "mixed"),
        (Actor.SYSTEM, Action.PUT, "unknown"),
        (Actor.UNKNOWN, Action.PUT, "unknown"),
    ],
)
def test_the_contributor_is_who_wrote_it(actor: Actor, action: Action, kind: str) -> None:
    bare = trace(actor, action, session="", program="", model="", commit="")
    record = msgspec.convert(trace_record("store", bare), _Record)
    (conversation,) = record.files[0].conversations
    assert conversation.contributor is not None and conversation.url is None
    assert (conversation.contributor.type, conversation.contributor.model_id) == (kind, None)
    assert record.vcs is None and record.tool is None


def test_an_operation_that_brought_no_lines_has_no_record() -> None:
    assert trace_record("store", trace(files=(TraceFile("a.md", 2, Action.DELETE, ()),))) is None


def document(path: str, text: str) -> SnapshotDocument:
    info = DocumentInfo(1, path, DocumentType.SCRATCH, 1, len(text), 7, 5, "ada")
    return SnapshotDocument(info, text.encode())


async def pages(*documents: SnapshotDocument) -> AsyncGenerator[SnapshotPage, None]:
    for each in documents:
        yield SnapshotPage(7, 5, (each,), 1, True)


async def test_files_appear_together_in_a_new_or_empty_directory(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    counted: list[int] = []
    done = await export_files(
        pages(document("a/b.md", "1\n"), document("c.md", "22\n")), out, counted.append
    )
    assert (done.seq, done.documents, done.size, counted) == (7, 2, 5, [1, 1])
    assert (out / "a/b.md").read_text(encoding="utf-8") == "1\n"
    (tmp_path / "empty").mkdir()
    await export_files(pages(document("c.md", "3\n")), tmp_path / "empty")
    assert [each.name for each in (tmp_path / "empty").iterdir()] == ["c.md"]


async def test_a_failed_export_leaves_nothing_behind(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for path in ("../escape.md", "/absolute.md", ".agent-trace/config.toml"):
        with pytest.raises(InvalidPath):
            await export_files(pages(document("a.md", "1"), document(path, "2")), out)
    assert os.listdir(tmp_path) == []


async def test_what_lies_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.md").write_text("mine", encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("full", "full/mine.md", "link"):
        with pytest.raises(InvalidRequest, match="not an empty directory"):
            await export_files(pages(document("a.md", "1\n")), tmp_path / name)
    assert (tmp_path / "full" / "mine.md").read_text(encoding="utf-8") == "mine"
