"""What an operation makes of a text, and what a document's text may be."""

from __future__ import annotations

from typing import assert_never

from agent_trace_protocol import (
    Append,
    Edit,
    InvalidRequest,
    NoMatch,
    Put,
    SectionEdit,
    TooLarge,
)
from agent_trace_protocol.limits import DOCUMENT_BYTES_MAX

from .permissions import Forbidden
from .sections import edit_section

__all__ = ["check_text", "outcome"]


def outcome(path: str, before: bytes, operation: Put | Append | Edit | SectionEdit) -> bytes:
    """Return what an operation makes of a text; raises `NoMatch` if it does not fit, `TooLarge` if
    no document can hold it."""
    match operation:
        case Put():
            return operation.content
        case Append():
            joint = b"\n" if before and not before.endswith(b"\n") else b""
            return before + joint + operation.content
        case Edit():
            return _replace(path, before, operation)
        case SectionEdit():
            return edit_section(before, path, operation.heading, operation.content, operation.mode)
        case _:
            assert_never(operation)


def _replace(path: str, before: bytes, operation: Edit) -> bytes:
    if not operation.old:
        raise InvalidRequest("the text to replace is empty; use append, or put")
    count = before.count(operation.old)
    if count == 0:
        raise NoMatch(f"the text to replace is not in {path}; read it again")
    if count > 1 and not operation.all:
        raise NoMatch(
            f"the text to replace is in {path} {count} times; give more of the text around it, "
            "or replace all"
        )
    # A text is not made that no document may have: one character can be replaced by a megabyte,
    # a million times.
    size = len(before) + count * (len(operation.new) - len(operation.old))
    if size > DOCUMENT_BYTES_MAX:
        raise TooLarge(f"{path} would have {size} bytes; the limit is {DOCUMENT_BYTES_MAX}")
    return before.replace(operation.old, operation.new)


def check_text(path: str, content: bytes) -> None:
    """Return if a content is text: UTF-8 without NUL.

    Raises:
        Forbidden: it is not.
    """
    nul = content.find(0)
    try:
        content.decode()
    except UnicodeDecodeError as error:
        nul = error.start
        what = "not UTF-8 text"
    else:
        if nul < 0:
            return
        what = "binary (it holds NUL)"
    raise Forbidden(
        "not-text",
        InvalidRequest(
            f"{path} would be {what} at byte {nul}; documents are text, and nobody can grant it: "
            "keep such a file outside the store and name it in a document"
        ),
    )
