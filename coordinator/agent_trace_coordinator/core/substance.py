"""What a change did in substance: one line made from the real difference of two texts.

It stands in the record, so the log, events, recaps and plain `git log` all tell the same, and it
costs the write path little: only lines that the change touched are looked at, and only so many.
What it quotes of a document is quoted (`quoting`); all other words are ours.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from .lines import Comparison
from .quoting import quoted

__all__ = ["SUBSTANCE_LENGTH_MAX", "substance_of", "substance_of_text"]

SUBSTANCE_LENGTH_MAX: Final = 240
"""Characters of one line of substance."""

LOOKED_AT_MAX: Final = 16
"""Changed lines, of the old text and of the new one, that are looked at."""

LOOKED_AT_OF_MANY: Final = 6
"""How many if there are more than that: all that is told of many is how they begin."""

TEXT_BYTES_MAX: Final = 16 << 10
"""Bytes of a text written as a whole that are looked at."""

PARTS_MAX: Final = 3
"""Things that one line tells; the rest is counted."""

FORM_LENGTH_MAX: Final = 64
"""Bytes of a line within which its form shows."""

LINE_LENGTH_MAX: Final = 1000
"""Bytes of a line that are looked at."""

EXCERPT_LENGTH_MAX: Final = 48
"""Characters of a text that are quoted."""

_BOX: Final = re.compile(rb"\s{0,40}(?:[-*+]|\d{1,9}[.)]) {1,4}\[([ xX])\](?=\s|\Z)")
_PLAIN_BOXES: Final = {b"- [ ] ": True, b"- [x] ": False}
"""How nearly all boxes are written, and whether they are open; no pattern is needed for these."""

_HEADING: Final = re.compile(rb" {0,3}#{1,6}[ \t]+(\S.*)")
_KEYED: Final = re.compile(
    rb"[\s>*_+-]{0,8}(decision|decided|blocker|question|constraint|status|phase|current phase|"
    rb"next|next step|goal|objective)[*_]{0,3}\s{0,3}:[*_]{0,3}\s{0,8}(\S.*)",
    re.IGNORECASE,
)
_Part: TypeAlias = tuple[str, bytes]
"""Our words, and what they are said of; empty if they stand alone."""

_SET: Final = frozenset(
    {"status", "phase", "current phase", "next", "next step", "goal", "objective"}
)


def substance_of(comparison: Comparison) -> str:
    """Return what a change did, such as `checked off "tests"; added section "Risks"`; empty if it
    changed no line."""
    unseen = max(len(comparison.new), len(comparison.old)) > LOOKED_AT_MAX
    count = LOOKED_AT_OF_MANY if unseen else LOOKED_AT_MAX
    added = comparison.new[:count]
    removed = comparison.old[:count]
    if not added and not removed:
        return ""
    return _join(_telling(added, removed) or _plain(added, removed), unseen=unseen)


def substance_of_text(content: bytes) -> str:
    """Return what a text holds that was written as a whole."""
    start = content[:TEXT_BYTES_MAX]
    lines = start.splitlines()
    unseen = len(lines) > LOOKED_AT_MAX or len(content) > TEXT_BYTES_MAX
    del lines[LOOKED_AT_MAX:]
    fenced = b"```" in start or b"~~~" in start
    boxes, headings, _ = _forms(_without_code(lines) if fenced else lines)
    parts: list[_Part] = []
    first = headings[0] if headings else next((each for each in lines if each.strip()), b"")
    if first:
        parts.append(("", first))
    count = sum(open for open, _ in boxes)
    if count:
        at_least = "at least " if unseen else ""
        parts.append((f"{at_least}{count} open item{'s' * (count > 1)}", b""))
    return _join(parts)


def _without_code(lines: list[bytes]) -> list[bytes]:
    kept: list[bytes] = []
    fence = b""
    for line in lines:
        start = line.lstrip()[:3]
        if start in (b"```", b"~~~") and fence in (b"", start):
            fence = b"" if fence else start
        elif not fence:
            kept.append(line)
    return kept


def _join(parts: list[_Part], *, unseen: bool = False) -> str:
    """Return as many whole parts as there is room for, so that no quote is left open.

    Args:
        unseen: whether there were lines that nobody looked at, so that the rest has no number.
    """
    told: list[str] = []
    size = 0
    for words, text in parts[:PARTS_MAX]:
        # Only what is told is quoted, which is what costs most here.
        part = f"{words} {_excerpt(text)}".strip() if text else words
        # Escapes can make a quoted text longer than it looks.
        size += len(part) + 2
        if size > SUBSTANCE_LENGTH_MAX - 12:
            break
        told.append(part)
    left = len(parts) - len(told)
    if left or unseen:
        told.append(
            ("more" if unseen else f"{left} more")
            if told
            else "text with characters that can not be shown"
        )
    return "; ".join(told)


def _telling(added: list[bytes], removed: list[bytes]) -> list[_Part]:
    """Return what the lines tell that mean something by their form."""
    old_boxes, old_headings, old_keys = _forms(removed)
    boxes, headings, keys = _forms(added)
    # What was checked off or set is told before what was only added, and that before what is gone.
    parts: list[_Part] = []
    new: list[_Part] = []
    gone: list[_Part] = []
    if boxes or old_boxes:
        was = {text: open for open, text in old_boxes}
        now = {text for _, text in boxes}
        for open, text in boxes:
            before = was.get(text)
            if before is None:
                new.append(("added open item" if open else "added done item", text))
            elif before is not open:
                parts.append(("reopened" if open else "checked off", text))
        gone = [("removed item", text) for _, text in old_boxes if text not in now]
    for key, text in keys:
        if key in _SET:
            parts.append((f"set {key} to", text))
        elif (key, text) not in old_keys:
            parts.append((f"noted {key}", text))
    if old_keys:
        new_keys = {key for key, _ in keys}
        gone += [(f"removed {key}", text) for key, text in old_keys if key not in new_keys]
    if headings or old_headings:
        new += [("added section", each) for each in headings if each not in old_headings]
        gone += [("removed section", each) for each in old_headings if each not in headings]
    return [*parts, *new, *gone]


def _forms(
    lines: list[bytes],
) -> tuple[list[tuple[bool, bytes]], list[bytes], list[tuple[str, bytes]]]:
    """Return the boxes, each with whether it is open, the headings and the keyed lines."""
    boxes: list[tuple[bool, bytes]] = []
    headings: list[bytes] = []
    keys: list[tuple[str, bytes]] = []
    for line in lines:
        plain = _PLAIN_BOXES.get(line[:6])
        if plain is not None:
            boxes.append((plain, line[6:LINE_LENGTH_MAX].strip()))
            continue
        start = line[:FORM_LENGTH_MAX]
        if b"[" in start and (found := _BOX.match(line)) is not None:
            boxes.append((found[1] == b" ", line[found.end() : LINE_LENGTH_MAX].strip()))
        elif b"#" in start and (found := _HEADING.match(line[:LINE_LENGTH_MAX])) is not None:
            headings.append(found[1].rstrip(b"# \t"))
        elif b":" in start and (found := _KEYED.match(line[:LINE_LENGTH_MAX])) is not None:
            keys.append((found[1].decode().lower(), found[2].rstrip(b"*_ ")))
    return boxes, headings, keys


def _plain(added: list[bytes], removed: list[bytes]) -> list[_Part]:
    first = next((each for each in added if each.strip()), b"")
    gone = next((each for each in removed if each.strip()), b"")
    if first and gone:
        return [(f"changed {_excerpt(gone)} to", first)]
    if first:
        return [("added", first)]
    if gone:
        return [("removed", gone)]
    return [("changed blank lines", b"")]


def _excerpt(text: bytes) -> str:
    return quoted(text[:400].decode("utf-8", "replace"), EXCERPT_LENGTH_MAX)
