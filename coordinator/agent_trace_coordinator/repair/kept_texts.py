"""The files that keep texts nobody accepted, of refused writes and of drafts: what each has to be.

state.db has their texts, and they are its second copy: one file each in `quarantine` and `drafts`.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent_trace_coordinator.core.records import Drafted, Violated
from agent_trace_coordinator.core.state import State
from agent_trace_coordinator.errors import CorruptStore
from agent_trace_coordinator.storage.drafts import DraftFiles, draft_name, draft_text
from agent_trace_coordinator.storage.index import Index
from agent_trace_coordinator.storage.quarantine import (
    Quarantine,
    QuarantinedText,
    quarantine_name,
    quarantine_text,
)
from agent_trace_coordinator.storage.store import Store

__all__ = ["write_draft_files", "write_refused_files", "wrong_draft_files", "wrong_refused_files"]

WRITING_MS: Final = 10_000
"""How long a coordinator that runs may take to write the file of a record."""


def wrong_refused_files(
    store: Store, state: State, index: Index, *, served: bool = False
) -> Iterator[tuple[str, bytes]]:
    """Yield name and contents of files of refused writes that are not there, whole and private."""
    for seq in state.violations:
        record = index.record(seq)
        if record is None or not isinstance(record.body, Violated):
            raise CorruptStore(f"journal record {seq} is indexed as a violation and is none")
        body = record.body
        texts = _texts(index, body)
        name = quarantine_name(seq, body.path)
        if texts is None:
            continue
        data = quarantine_text(record, body, texts)
        if _is(store.quarantine / name, data):
            continue
        if not served or (_is_old(record.time_ms) and index.waits_as_violation(seq)):
            yield name, data


def wrong_draft_files(
    store: Store, state: State, index: Index, *, served: bool = False
) -> Iterator[tuple[str, bytes]]:
    """Yield name and contents of files of drafts that are not there, whole and private."""
    for seq in state.drafts:
        record = index.record(seq)
        if record is None or not isinstance(record.body, Drafted):
            raise CorruptStore(f"journal record {seq} is indexed as a draft and is none")
        body = record.body
        texts = _texts(index, body)
        name = draft_name(seq, body.conflict.path)
        if texts is None:
            continue
        data = draft_text(record, body, texts)
        if _is(store.drafts / name, data):
            continue
        if not served or (_is_old(record.time_ms) and index.waits_as_draft(seq)):
            yield name, data


def write_refused_files(store: Store, state: State, index: Index) -> int:
    """Write the files of refused writes that are wrong; return how many were."""
    files = Quarantine(store.quarantine)
    written = 0
    for name, data in wrong_refused_files(store, state, index):
        files.write_bytes(name, data)
        written += 1
    return written


def write_draft_files(store: Store, state: State, index: Index) -> int:
    """Write the files of drafts that are wrong, durably; return how many were."""
    files = DraftFiles(store.drafts)
    written = 0
    for name, data in wrong_draft_files(store, state, index):
        files.write_bytes(name, data)
        written += 1
    return written


def _texts(index: Index, body: Violated | Drafted) -> list[QuarantinedText] | None:
    """Return the texts of a record; None if one of them was lost."""
    try:
        return [
            QuarantinedText(kept.path, index.content(kept.content_key, kept.digest))
            for kept in body.kept
            if kept.content_key
        ]
    except CorruptStore:
        return None


def _is(file: Path, data: bytes) -> bool:
    try:
        status = file.lstat()
        private = stat.S_ISREG(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o600
        return private and file.read_bytes() == data
    except OSError:
        return False


def _is_old(time_ms: int) -> bool:
    return time.time() * 1000 - time_ms > WRITING_MS
