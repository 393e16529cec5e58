"""Which files of a folder are documents, and of which type: names and front matter decide.

Reads the files with the names of documents; changes nothing.
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
from agent_trace_protocol import (
    DocumentType,
    InvalidPath,
    InvalidRequest,
    check_description,
    parse_path,
    parse_tag,
)
from agent_trace_protocol.limits import TAGS_MAX

__all__ = [
    "Found",
    "Scanned",
    "Skipped",
    "guess_file_type",
    "guess_type",
    "read_description",
    "read_tags",
    "scan",
]

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
_TAGS_LINE: Final = re.compile(r"^tags:[ \t]*([^\n]*)((?:\n[ \t]*-[^\n]*)*)", re.MULTILINE)
_ITEM: Final = re.compile(r"-[ \t]*([^\n]*)")
_DESCRIPTION_LINE: Final = re.compile(r"^description:[ \t]*([^\n]*?)[ \t]*$", re.MULTILINE)
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
    why: str = ""
    """What the type was guessed from."""
    tags: tuple[str, ...] = ()
    """Those that its front matter names."""
    description: str = ""
    """Likewise."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that looks like a document and can not become one."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Scanned:
    """What became of the files of a folder."""

    added: tuple[Found, ...]
    """Those that are documents now, and were none before."""
    skipped: tuple[Skipped, ...]


def guess_type(path: str, head: str) -> tuple[DocumentType, str]:
    """Return the type that a file's front matter names, or else its name suggests, and why."""
    match = _TYPE_LINE.search(_front_matter(head))
    if match is not None and match[1] in _TYPES:
        return _TYPES[match[1]], "front matter"
    pure = PurePosixPath(path.lower())
    if pure.name.startswith(_PLAN_NAMES):
        return DocumentType.PLAN, "name"
    if pure.name.startswith(_REFERENCE_NAMES):
        return DocumentType.REFERENCE, "name"
    if _REFERENCE_DIRECTORIES.intersection(pure.parts[:-1]):
        return DocumentType.REFERENCE, "folder"
    return DocumentType.SCRATCH, "nothing else fits"


def _front_matter(head: str) -> str:
    """Return what stands between the lines `---` at a text's beginning, with a newline before."""
    if not head.startswith("---\n"):
        return ""
    front_matter, closing, _ = head[3:].partition("\n---")
    return front_matter + "\n" if closing else ""


def read_tags(head: str) -> tuple[str, ...]:
    """Return the tags in a file's front matter: `tags: a, b`, `tags: [a, b]` or a list below it.

    What can not be a tag is left out.
    """
    match = _TAGS_LINE.search(_front_matter(head))
    if match is None:
        return ()
    written = _ITEM.findall(match[2]) if match[2] else match[1].strip("[] ").split(",")
    found: dict[str, None] = {}
    for text in written:
        try:
            found[parse_tag(text.strip(" \t\"'"))] = None
        except InvalidRequest:
            continue
    return tuple(found)[:TAGS_MAX]


def read_description(head: str) -> str:
    """Return the description in a file's front matter; empty if there is none that can be one."""
    match = _DESCRIPTION_LINE.search(_front_matter(head))
    try:
        return check_description(match[1].strip("\"'")) if match is not None else ""
    except InvalidRequest:
        return ""


def guess_file_type(file: Path, path: str) -> tuple[DocumentType, str]:
    """Return the type that `guess_type` gives a file; by its name alone if it can not be read."""
    try:
        status = file.lstat()
        if not stat.S_ISREG(status.st_mode):
            return guess_type(path, "")
        with open(file, "rb") as opened:
            head = opened.read(_HEAD_BYTES)
    except OSError:
        head = b""
    return guess_type(path, _head_text(head))


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
            content = opened.read(document_bytes_max)
    except InvalidPath as error:
        return Skipped(path, error.message)
    except OSError as error:
        return Skipped(path, error.strerror or str(error))
    # Asked for, what is no text is a refused write, with a copy of all that was asked with it.
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        return Skipped(path, f"not UTF-8 text at byte {error.start}")
    if (nul := content.find(0)) >= 0:
        return Skipped(path, f"binary (it holds NUL) at byte {nul}")
    head = _head_text(content[:_HEAD_BYTES])
    type, why = guess_type(path, head)
    return Found(path, type, status.st_size, why, read_tags(head), read_description(head))


def _head_text(head: bytes) -> str:
    return head.decode("utf-8", "ignore").replace("\r\n", "\n")
