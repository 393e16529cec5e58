"""How numbers and foreign text are worded for people, whichever face they look at. Pure."""

from __future__ import annotations

__all__ = ["counted", "shown", "size", "span"]


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: `1 pack`, `2 packs`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def shown(text: str, *, lines: bool = False) -> str:
    """Return text that a terminal only displays: what could steer it is replaced.

    Names, summaries and diffs come from agents, and an escape sequence in them is not ours to run.
    """
    keep = "\n\t" if lines else ""
    return "".join(
        character if character.isprintable() or character in keep else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )


def size(count_bytes: int) -> str:
    """Return a number of bytes for people, with one digit after the point."""
    amount = float(count_bytes)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{count_bytes} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def span(seconds: float) -> str:
    """Return a length of time for people, in its largest whole unit: `12 s`, `3 min`, `2 h`,
    `5 d`; one below zero counts as none."""
    whole = max(int(seconds), 0)
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if whole >= length:
            return f"{whole // length} {unit}"
    return f"{whole} s"
