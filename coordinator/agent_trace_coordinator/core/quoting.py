r"""Text that somebody wrote, shown so that it can not pass for the system's own words.

The law: what leaves here stands on one line, between double quotes that it can not close, and holds
nothing that is not seen: control, format and filler characters, and those that reorder what is
shown, appear as escapes. `\` is the escape, so a `"` inside is `\"`.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["bare", "cut", "quoted", "visible"]

# Written out instead of asking Unicode's tables, for those change with each Python and a record
# must not. Besides controls, separators and format characters these are letters and marks without
# a shape: fillers, variation selectors and the tags of plane 14, all used to hide text in text.
_UNSEEN: Final = re.compile(
    "[\x00-\x1f\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f"
    "\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ud800-\udfff\ue000-\uf8ff"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffc\ufffe\uffff\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U0010ffff]"
)
_BLANKS: Final = re.compile(r"[ \t\r\n\f\v]+")
_TO_QUOTE: Final = re.compile(f'["\\\\]|{_UNSEEN.pattern}')


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character in '"\\':
        return "\\" + character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def visible(text: str) -> str:
    """Return `text` with everything that is not seen as escapes; blanks become single spaces."""
    return _UNSEEN.sub(_escape, _BLANKS.sub(" ", text).strip())


def cut(text: str, length_max: int) -> str:
    """Return at most `length_max` characters of `text`; `...` shows that some are missing."""
    return text if len(text) <= length_max else text[: max(0, length_max - 3)].rstrip() + "..."


def quoted(text: str, length_max: int) -> str:
    """Return at most `length_max` characters of `text` between quotes, escaped.

    Escapes are not counted, so the result may have up to ten characters for each one.
    """
    # What can not be shown in the end is not looked at.
    text = text[: 4 * length_max + 16]
    # Every write quotes something, and nearly all of it is plain.
    if text.isascii() and text.isprintable():
        if "  " in text:
            text = _BLANKS.sub(" ", text)
        text = cut(text.strip(), length_max)
        if '"' not in text and "\\" not in text:
            return f'"{text}"'
    else:
        text = cut(_BLANKS.sub(" ", text).strip(), length_max)
    return f'"{_TO_QUOTE.sub(_escape, text)}"'


def bare(text: str, length_max: int) -> str:
    """Return a name or a path without quotes, safe on its line; the end says more than the start.

    For what was checked when it came in; anything odd in it is escaped all the same.
    """
    text = visible(text)
    return text if len(text) <= length_max else "..." + text[3 - length_max :]
