"""A screen of ASCII only: for terminals, fonts and logs that know nothing else."""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Final

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

__all__ = ["AsciiFilter", "as_ascii"]

_ROUGHLY: Final = str.maketrans(
    {
        **dict.fromkeys("─━═╌╍┄┅┈┉▔▁", "-"),
        **dict.fromkeys("│┃║╎╏┆┇┊┋▏▕▎▍▌▐", "|"),
        **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╯╰┏┓┗┛╔╗╚╝", "+"),
        **dict.fromkeys("\N{BULLET}\N{BLACK CIRCLE}\N{MIDDLE DOT}", "*"),
        **dict.fromkeys("\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}", "'"),
        **dict.fromkeys("\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}", '"'),
        **dict.fromkeys("\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}", "-"),
        "\N{NO-BREAK SPACE}": " ",
    }
)


@lru_cache(4096)
def as_ascii(text: str) -> str:
    """Return text in as many cells of ASCII: what has no likeness there becomes `?`."""
    if text.isascii():
        return text
    return "".join(
        character if character.isascii() else _likeness(character)
        for character in text.translate(_ROUGHLY)
    )


def _likeness(character: str) -> str:
    cells = cell_len(character)
    base = unicodedata.normalize("NFD", character)[0]
    # A letter with its accent keeps its place; a wide character keeps both of its cells.
    return base if cells == 1 and base.isascii() else "?" * cells


class AsciiFilter(LineFilter):
    """The last thing that sees a line before it is written, so that nothing gets past it."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Return the segments with the same cells in ASCII."""
        return [
            segment if segment.text.isascii() else segment._replace(text=as_ascii(segment.text))
            for segment in segments
        ]
