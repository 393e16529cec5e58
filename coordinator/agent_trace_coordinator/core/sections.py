"""Finding a section of a Markdown document: the lines under a heading, down to its next equal.

ATX headings (`## Title`) outside fenced code count, as CommonMark 0.31 sections 4.2 and 4.5 say;
underlined headings do not, agents do not write them.
"""

from __future__ import annotations

import re
from typing import Final

from agent_trace_protocol import InvalidRequest, NoMatch, SectionMode

__all__ = ["edit_section"]

HEADINGS_MAX: Final = 20_000
"""Lines of a document that look like a heading or a fence; with more it is edited by its text. They
are looked at one by one while others wait."""

_HEADING: Final = re.compile(rb" {0,3}(#{1,6})(?=[ \t\r\n]|\Z)")
_FENCE: Final = re.compile(rb" {0,3}(`{3,}|~{3,})")
_BEGINNINGS: Final = (b"#", b"`", b"~")


def _heading(line: bytes) -> tuple[int, bytes] | None:
    """Return level and title of a heading; None if the line is none.

    A pattern for all of it would try every blank of a long line as the end of the title.
    """
    opening = _HEADING.match(line)
    if opening is None:
        return None
    title = line[opening.end() :].rstrip(b"\r\n").strip(b" \t")
    unclosed = title.rstrip(b"#")
    if not unclosed or unclosed.endswith((b" ", b"\t")):
        title = unclosed
    return len(opening[1]), title.strip()


def _headings(path: str, lines: list[bytes]) -> list[tuple[int, int, bytes]]:
    """Return (line index, level, title) of each heading.

    Raises:
        InvalidRequest: there are too many.
    """
    found: list[tuple[int, int, bytes]] = []
    fence = b""
    candidates = [
        (index, line)
        for index, line in enumerate(lines)
        if line.startswith(_BEGINNINGS) or (line[:1] == b" " and line[:4].strip())
    ]
    if len(candidates) > HEADINGS_MAX:
        raise InvalidRequest(
            f"{path} has {len(candidates)} lines that may be headings, and {HEADINGS_MAX} are "
            "looked through; edit its text instead: agent-trace edit"
        )
    for index, line in candidates:
        opening = _FENCE.match(line)
        if opening:
            marker = opening.group(1)
            if not fence:
                fence = marker
            elif marker.startswith(fence) and not line.strip().strip(fence[:1]):
                fence = b""
            continue
        if fence:
            continue
        heading = _heading(line)
        if heading is not None:
            found.append((index, *heading))
    return found


def edit_section(content: bytes, path: str, heading: str, text: bytes, mode: SectionMode) -> bytes:
    """Return the document with the section's text replaced, or added to.

    Raises:
        NoMatch: there is no such heading, or more than one.
        InvalidRequest: there are too many headings.
    """
    asked = heading.encode()
    level, title = (_heading(asked) if b"\n" not in asked else None) or (0, asked.strip())
    lines = content.splitlines(keepends=True)
    headings = _headings(path, lines)
    matches = [
        position
        for position, (_, its_level, its_title) in enumerate(headings)
        if its_title == title and level in (0, its_level)
    ]
    if len(matches) != 1:
        raise NoMatch(
            f"{path} has {len(matches)} headings {heading!r}; name one that stands there once "
            "(give the level as well, such as '## Title')"
            if matches
            else f"{path} has no heading {heading!r}; name one that stands there"
        )
    start, own_level, _ = headings[matches[0]]
    end = len(lines)
    for index, its_level, _ in headings[matches[0] + 1 :]:
        if its_level <= own_level:
            end = index
            break
    head, body, tail = lines[: start + 1], lines[start + 1 : end], lines[end:]
    if not head[-1].endswith(b"\n"):
        head[-1] += b"\n"
    if text and not text.endswith(b"\n"):
        text += b"\n"
    if mode is SectionMode.REPLACE:
        blank_before = [b"\n"] if text else []
        middle = [*blank_before, text]
    else:
        blanks = 0
        while blanks < len(body) and not body[-1 - blanks].strip():
            blanks += 1
        kept = body[: len(body) - blanks] or [b"\n"]
        if not kept[-1].endswith(b"\n"):
            kept[-1] += b"\n"
        middle = [*kept, text]
    if tail:
        middle.append(b"\n")
    return b"".join([*head, *middle, *tail])
