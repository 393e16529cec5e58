"""A store's past as files, as one JSON document, or as records of the Agent Trace format.

Nothing is left half done: a directory appears under its name when it is whole.

The third form is the public draft "Agent Trace" (version 0.1.0, agent-trace.dev). Its unit is a
record that says who contributed which lines of which files. Each operation becomes one record, on a
line of its own.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import anyio.to_thread
import msgspec

from agent_trace.results import Exported
from agent_trace_protocol import (
    Action,
    Actor,
    DocumentInfo,
    InvalidRequest,
    LogEntry,
    SnapshotDocument,
    SnapshotPage,
    Trace,
    TraceFile,
    parse_path,
)

__all__ = ["TRACE_FORMAT_VERSION", "document_object", "export_files", "named", "trace_record"]

TRACE_FORMAT_VERSION: Final = "0.1"
"""The draft's version in the form that its schema asks for, major and minor."""

_CONTRIBUTORS: Final = {Actor.AGENT: "ai", Actor.USER: "human"}


async def export_files(
    pages: AsyncGenerator[SnapshotPage, None],
    directory: Path,
    on_progress: Callable[[int], None] | None = None,
) -> Exported:
    """Write the documents of a snapshot with contents as files below a new directory.

    Interrupted, it leaves nothing behind.

    Args:
        on_progress: is told of how many more documents were written.

    Raises:
        InvalidRequest: something lies at `directory` that is not an empty directory, or it can not
            be written.
    """
    if not await anyio.to_thread.run_sync(_is_free, directory):
        raise InvalidRequest(f"{directory} exists and is not an empty directory; choose another")
    partial = directory.parent / f".{directory.name}.partial-{os.getpid()}"
    seq = time_ms = count = size = 0
    try:
        partial.mkdir(parents=True)
        async with aclosing(pages):
            async for page in pages:
                seq, time_ms = page.seq, page.time_ms
                size += await anyio.to_thread.run_sync(_write_page, partial, page)
                count += len(page.documents)
                if on_progress is not None:
                    on_progress(len(page.documents))
        # An empty directory is replaced at once; anything that came into it meanwhile is not.
        partial.rename(directory)
    except OSError as error:
        raise InvalidRequest(f"{directory} can not be written: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Exported(seq, time_ms, count, size)


def _is_free(directory: Path) -> bool:
    """Return whether there is nothing at a path, or an empty directory."""
    if not os.path.lexists(directory):
        return True
    return directory.is_dir() and not directory.is_symlink() and not any(directory.iterdir())


def _write_page(root: Path, page: SnapshotPage) -> int:
    size = 0
    for document in page.documents:
        # The coordinator keeps to the law of paths; what it sends is checked all the same, for it
        # may be another's machine, and this is where a path becomes a file.
        file = root / parse_path(document.info.path)
        content = document.content or b""
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "xb") as opened:
            opened.write(content)
        size += len(content)
    return size


def named(value: DocumentInfo | LogEntry) -> dict[str, Any]:
    """Return a struct of the wire, where it is an array, as an object with names."""
    fields = {name: getattr(value, name) for name in value.__struct_fields__}
    made: dict[str, Any] = msgspec.to_builtins(fields)
    return made


def document_object(document: SnapshotDocument) -> dict[str, Any]:
    """Return a document as an object of the JSON export."""
    text = (document.content or b"").decode("utf-8", "replace")
    return {**named(document.info), "text": text}


def trace_record(store: str, trace: Trace) -> dict[str, Any] | None:
    """Return an operation as a record of the Agent Trace format; None if it brought no lines."""
    conversation: dict[str, Any] = {"contributor": _contributor(trace)}
    if trace.session:
        # A conversation is what our session is; the urn names it and can be looked up with
        # `agent-trace log --session`.
        urn = f"urn:agent-trace:{store}:session:{trace.session}"
        conversation = {"url": urn, **conversation}
    files = [
        {
            "path": file.path,
            "conversations": [{**conversation, "ranges": _ranges(file)}],
        }
        for file in trace.files
        if file.ranges
    ]
    if not files:
        return None
    record: dict[str, Any] = {
        "version": TRACE_FORMAT_VERSION,
        # The same operation has the same id in every export.
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:agent-trace:{store}:{trace.seq}")),
        "timestamp": datetime.fromtimestamp(trace.time_ms / 1000, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z"),
    }
    if trace.commit:
        record["vcs"] = {"type": "git", "revision": trace.commit}
    name, _, version = trace.program.partition(" ")
    if name:
        record["tool"] = {"name": name, "version": version or "unknown"}
    return {
        **record,
        "files": files,
        "metadata": {
            "dev.agent-trace": {
                "store": store,
                "seq": trace.seq,
                "actor": trace.actor.value,
                "author": trace.author,
                "revisions": {file.path: file.revision for file in trace.files if file.ranges},
            }
        },
    }


def _contributor(trace: Trace) -> dict[str, str]:
    kind = _CONTRIBUTORS.get(trace.actor, "unknown")
    if kind == "human" and any(file.action is Action.MERGE for file in trace.files):
        # A user applied what an agent had brought.
        kind = "mixed"
    model = {"model_id": trace.model} if trace.model and kind == "ai" else {}
    return {"type": kind, **model}


def _ranges(file: TraceFile) -> list[dict[str, Any]]:
    return [
        {
            "start_line": run.first_line,
            "end_line": run.last_line,
            "content_hash": f"sha256:{run.digest.hex()}",
        }
        for run in file.ranges
    ]
