"""Revisions and lines as people type them: PATH@N, PATH N, PATH@A..B, PATH:LINE."""

from __future__ import annotations

import re
from typing import Final

import click

__all__ = [
    "number_argument",
    "revision_option",
    "split_lines",
    "split_range",
    "split_revision",
    "which_revision",
]

_REVISION: Final = re.compile(r"(.+)@([0-9]{1,9})", re.DOTALL)
_RANGE: Final = re.compile(r"(?:(.+)@)?([0-9]{1,9})\.\.([0-9]{1,9})", re.DOTALL)
_LINES: Final = re.compile(r"(.+):([0-9]{1,9})(?:([-,])([0-9]{1,9})?)?", re.DOTALL)

revision_option: Final = click.option(
    "--revision", type=click.IntRange(min=1), help="For a path that itself holds an @."
)
number_argument: Final = click.argument(
    "number", required=False, type=click.IntRange(min=1), metavar="[REVISION]"
)


def split_revision(argument: str) -> tuple[str, int | None]:
    """Return path and revision of `plan.md@3`; the revision is None if there is none."""
    match = _REVISION.fullmatch(argument)
    if match is None:
        return argument, None
    return match[1], int(match[2])


def which_revision(path: str, number: int | None, option: int | None) -> tuple[str, int | None]:
    """Return path and revision from `plan.md@3`, `plan.md 3` or `--revision 3`.

    Raises:
        click.UsageError: it is named twice, or is 0.
    """
    if number is not None and option is not None:
        raise click.UsageError(f"name the revision once: {number}, or --revision {option}")
    if option is not None:
        return path, option
    bare, at = split_revision(path)
    if number is None:
        if at == 0:
            raise click.UsageError(f"revisions count from 1: {bare}@1 is the first")
        return bare, at
    if at is not None:
        raise click.UsageError(
            f"name the revision once: {path}, or {number}; if {path} is the path itself: "
            f"--revision {number}"
        )
    return path, number


def split_range(path: str, first: str | None, second: str | None) -> tuple[str, list[int]]:
    """Return the path and the revisions, none to two, that are to be compared: `plan.md 1 3`,
    `plan.md@1 plan.md@3`, `plan.md@1..3`, `plan.md 1..3`, or any of these with one.

    A path before a number of its own is taken as it is, so that it may hold an @.

    Raises:
        click.UsageError: it is none of these.
    """
    numbers: list[int] = []
    plain = first is not None and first.isdecimal()
    if not plain:
        if (match := _RANGE.fullmatch(path)) is not None and match[1]:
            path, numbers = match[1], [int(match[2]), int(match[3])]
        else:
            path, number = split_revision(path)
            numbers += [] if number is None else [number]
    for word in (first, second):
        if word is not None:
            numbers += _numbers(path, word)
    if len(numbers) > 2:
        raise click.UsageError("two revisions are compared, and no more")
    if 0 in numbers:
        raise click.UsageError("revisions count from 1")
    return path, numbers


def _numbers(path: str, word: str) -> list[int]:
    if word.isdecimal() and len(word) < 10:
        return [int(word)]
    match = _RANGE.fullmatch(word)
    if match is not None and match[1] in (None, path):
        return [int(match[2]), int(match[3])]
    again, number = split_revision(word)
    if number is not None and again == path:
        return [number]
    raise click.UsageError(f"{word!r} is no revision of {path}; say: agent-trace diff {path} 1 2")


def split_lines(argument: str) -> tuple[str, tuple[int, int] | None]:
    """Return path and lines of `plan.md:7`, `plan.md:7-20`, `plan.md:7,20` or `plan.md:7-`, which
    goes to the end; None if no lines are named. No path of a store holds a `:`."""
    match = _LINES.fullmatch(argument)
    if match is None:
        return argument, None
    first = int(match[2])
    return match[1], (first, int(match[4] or 0) if match[3] else first)
