"""Which files of a folder are documents, and of which type: names and front matter decide.

Reads names and the first kilobytes of files; changes nothing.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from agent_trace.store import is_store
from agent_trace_protocol import DocumentType, InvalidPath, parse_path

__all__ = ["Found", "Skipped", "guess_type", "scan"]

_SUFFIXES: Final = frozenset({".md", ".markdown", ".txt", ".rst"})

_DIRECTORIES_SKIPPED: Final = frozenset(
    {"node_modules", "venv", "env", "__pycache__", "site-packages", "vendor", "target", "dist"}
    | {"build", "bower_components"}
)

_GENERATED: Final = frozenset({"AGENT-TRACE.md", "context.md", "running_summary.md"})
"""Files at a store's root that the coordinator writes."""

_HEAD_BYTES: Final = 4096

_PLAN_NAMES: Final = ("plan", "roadmap", "todo")
_REFERENCE_NAMES: Final = ("readme", "changelog", "contributing", "license", "security", "authors")
_REFERENCE_DIRECTORIES: Final = frozenset({"docs", "doc", "documentation", "reference"})
_TYPE_LINE: Final = re.compile(r"^type:\s*[\"']?([a-z]+)[\"']?\s*$", re.MULTILINE)
_TYPES: Final = {
    each.value: each for each in (DocumentType.PLAN, DocumentType.REFERENCE, DocumentType.SCRATCH)
}


@dataclass(frozen=True, slots=True)
class Found:
    """A file that can become a document."""

    path: str
    type: DocumentType
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that looks like a document and can not become one."""

    path: str
    reason: str


def guess_type(path: str, head: str) -> DocumentType:
    """Return the type that a file's front matter names, or else its name suggests."""
    declared = _declared_type(head)
    if declared is not None:
        return declared
    pure = PurePosixPath(path.lower())
    if pure.name.startswith(_PLAN_NAMES):
        return DocumentType.PLAN
    if pure.name.startswith(_REFERENCE_NAMES):
        return DocumentType.REFERENCE
    if _REFERENCE_DIRECTORIES.intersection(pure.parts[:-1]):
        return DocumentType.REFERENCE
    return DocumentType.SCRATCH


def _declared_type(head: str) -> DocumentType | None:
    if not head.startswith("---\n"):
        return None
    front_matter, closing, _ = head[4:].partition("\n---")
    match = _TYPE_LINE.search(front_matter) if closing else None
    return _TYPES.get(match[1]) if match is not None else None


def scan(root: Path, document_bytes_max: int) -> Iterator[Found | Skipped]:
    """Yield the documents under `root`, ordered by folder and name."""
    for directory, names, files in os.walk(root):
        names[:] = sorted(name for name in names if _enters(Path(directory), name))
        relative = Path(directory).relative_to(root)
        for name in sorted(files):
            if os.path.splitext(name)[1].lower() not in _SUFFIXES or name.startswith("."):
                continue
            path = (relative / name).as_posix()
            if path in _GENERATED:
                continue
            yield _examine(Path(directory, name), path, document_bytes_max)


def _enters(directory: Path, name: str) -> bool:
    if name.startswith(".") or name in _DIRECTORIES_SKIPPED:
        return False
    # Another store's documents are its own; a virtual environment may have any name.
    inner = directory / name
    return not is_store(inner) and not (inner / "pyvenv.cfg").exists()


def _examine(file: Path, path: str, document_bytes_max: int) -> Found | Skipped:
    try:
        parse_path(path)
        # Neither a link nor a pipe is followed: opening the one leaves the store, the other hangs.
        status = file.lstat()
        if not stat.S_ISREG(status.st_mode):
            return Skipped(path, "not a regular file")
        if status.st_size > document_bytes_max:
            return Skipped(path, f"{status.st_size} bytes; the limit is {document_bytes_max}")
        with open(file, "rb") as opened:
            head = opened.read(_HEAD_BYTES).decode("utf-8", "replace")
    except InvalidPath as error:
        return Skipped(path, error.message)
    except OSError as error:
        return Skipped(path, error.strerror or str(error))
    return Found(path, guess_type(path, head.replace("\r\n", "\n")), status.st_size)
