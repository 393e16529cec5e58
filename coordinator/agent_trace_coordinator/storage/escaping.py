"""Text that can not leave its line: what a writer wrote, on its way into a commit and back."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["ForeignCommit", "escape_line", "quote_path", "unescape_line"]

# Everything that some reader takes for a line's end, that a terminal obeys or that reorders what is
# shown. The set is written out instead of asking `str.isprintable`, because that changes with the
# Unicode tables of each Python and a commit id must not.
_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\\\\\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_ESCAPE: Final = re.compile(r"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4}))", re.ASCII)


class ForeignCommit(ValueError):
    """The message is not one that `render_commit` makes; the commit is not ours."""


def escape_line(text: str) -> str:
    """Return `text` as one line that no program reads as more; `unescape_line` is its inverse."""
    return _UNSAFE.sub(_escape_character, text)


def _escape_character(match: re.Match[str]) -> str:
    character = match[0]
    if character == "\\":
        return "\\\\"
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def unescape_line(text: str) -> str:
    """Return what `escape_line` was given.

    Raises:
        ForeignCommit: `escape_line` does not produce this text.
    """
    if "\\" not in text:
        plain = text
    else:
        plain = _ESCAPE.sub(_unescape_sequence, text)
    if escape_line(plain) != text:
        raise ForeignCommit(f"{text!r} is not escaped the way we do it")
    return plain


def _unescape_sequence(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    return chr(int(code, 16)) if code else "\\"


# C0, DEL, the quote and the backslash; everything else git takes as it is between quotes.
_QUOTED: Final = re.compile(rb'[\x00-\x1f\x7f"\\]')


def quote_path(path: str) -> bytes:
    """Return `path` as fast-import reads it back, in git's C-style quotes.

    Always quoted: a bare path ends at a space in some commands and at the line's end in others.

    Raises:
        ValueError: the path is empty or holds NUL, which no git tree can hold.
    """
    raw = path.encode("utf-8")
    if not raw or b"\0" in raw:
        raise ValueError(f"{path!r} can not be a path in a git tree")
    if _QUOTED.search(raw):
        raw = _QUOTED.sub(lambda match: b"\\%03o" % match[0][0], raw)
    return b'"%b"' % raw
