"""Results on stdout: text for people, JSON for programs. Everything else belongs on stderr."""

from __future__ import annotations

import base64
import dataclasses
import time
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import cast

import click
import msgspec

from agent_trace.wording import counted, shown, size

__all__ = [
    "Table",
    "as_builtins",
    "counted",
    "emit_json",
    "emit_lines",
    "emit_note",
    "emit_table",
    "local_time",
    "shown",
    "size",
]


def as_builtins(value: object) -> object:
    """Return a value as JSON can say it: structs, arrays on the wire, become objects by name."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, msgspec.Struct):
        return {name: as_builtins(getattr(value, name)) for name in value.__struct_fields__}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = (field.name for field in dataclasses.fields(value))
        return {name: as_builtins(getattr(value, name)) for name in names}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, dict):
        named = cast("dict[object, object]", value)
        return {str(name): as_builtins(each) for name, each in named.items()}
    if isinstance(value, list | tuple):
        return [as_builtins(each) for each in cast("Iterable[object]", value)]
    return value


def emit_json(value: object) -> None:
    """Print one JSON value on a line of its own."""
    click.echo(msgspec.json.encode(as_builtins(value)))


def emit_lines(values: Iterable[object]) -> None:
    """Print one JSON value a line."""
    for value in values:
        emit_json(value)


class Table:
    """Aligned columns that are printed as their rows come; the head comes with the first ones.

    Columns are as wide as what has been seen so far, and never become narrower.
    """

    def __init__(self, *header: str, err: bool = False) -> None:
        self._err = err
        self._header: tuple[str, ...] = header
        self._widths = [len(name) for name in header]
        self._begun = False

    def emit(self, rows: Sequence[Sequence[str]]) -> None:
        """Print more rows."""
        cleaned = [[shown(cell) for cell in row] for row in rows]
        columns = zip(self._widths, *([len(cell) for cell in row] for row in cleaned), strict=True)
        self._widths = [max(column) for column in columns]
        if not self._begun:
            cleaned.insert(0, [*self._header])
            self._begun = True
        for row in cleaned:
            cells = (cell.ljust(width) for cell, width in zip(row, self._widths, strict=True))
            click.echo("  ".join(cells).rstrip(), err=self._err)


def emit_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, err: bool = False) -> None:
    """Print aligned columns; numbers are the caller's to format."""
    Table(*header, err=err).emit(rows)


def emit_note(text: str) -> None:
    """Say on standard error what a person should know besides the result, on one line."""
    click.echo(f"note: {shown(' '.join(text.split()))}", err=True)


def local_time(time_ms: int) -> str:
    """Return a time of the wire in the reader's time zone, to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_ms / 1000))
