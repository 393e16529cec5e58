"""Handing files that were changed past the coordinator to the core, and their way back."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from agent_trace_coordinator.core.records import content_digest
from agent_trace_coordinator.core.state import State
from agent_trace_coordinator.storage.base import CapturedFile, SetAside

__all__ = ["Outcome", "current_files", "read_set_aside"]

_log = logging.getLogger("agent_trace.coordinator.files")


class Outcome(NamedTuple):
    """What became of files that were handed over."""

    current: frozenset[str]
    """They hold what their documents hold."""
    put_back: frozenset[str]
    """They were refused, and are brought back."""
    judged: frozenset[str]
    """What they held is a revision or on record; that of others is known to nobody yet."""


def current_files(state: State, found: list[CapturedFile], durable_seq: int) -> frozenset[str]:
    """Return which files hold what their documents hold, durably: what is not may be taken back,
    and then the file is the only place where it is."""
    current: set[str] = set()
    for captured in found:
        document = state.document_at(captured.path)
        if (
            document is not None
            and document.seq <= durable_seq
            and captured.content is not None
            and len(captured.content) == document.size
            and content_digest(captured.content) == document.digest
        ):
            current.add(captured.path)
    return frozenset(current)


def read_set_aside(
    quarantine: Path, kept: list[SetAside], files_seq: int
) -> list[tuple[SetAside, CapturedFile]]:
    """Return what lay in the way of our own writes, as files to be judged.

    It is out of the way already, so it has no signature.
    """
    found: list[tuple[SetAside, CapturedFile]] = []
    for each in kept:
        content: bytes | None = None
        problem = f"what lay there is no readable file; it is kept as quarantine/{each.kept_as}"
        if each.regular:
            try:
                content, problem = (quarantine / each.kept_as).read_bytes(), ""
            except OSError as error:
                _log.warning("%s can not be read back: %s", each.kept_as, error)
        found.append((each, CapturedFile(each.path, content, problem, (0, 0, 0, 0), files_seq)))
    return found
