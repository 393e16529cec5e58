"""A list of lines on the screen: scrolled, chosen from, with keyboard and mouse.

Only the lines that are seen are made into what the terminal is sent, so a store of any size costs
the same. Nothing here reads markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from .lines import Look, Piece, Row, wrapped

__all__ = ["Listing"]


class Listing(ScrollView, can_focus=True):
    """Rows of a `lines` function; the chosen one stays the same when they are shown anew."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"listing--{look}" for look in Look} | {
        "listing--chosen"
    }

    DEFAULT_CSS = """
    Listing {
        border: round $panel-lighten-2;
        border-title-color: $text-muted;
        scrollbar-size-vertical: 1;
        scrollbar-size-horizontal: 1;
        overflow-x: hidden;
        overflow-y: auto;
        background: $background;
    }
    Listing:focus { border: round $accent; border-title-color: $accent; }
    .-ascii Listing { border: ascii $panel-lighten-2; }
    .-ascii Listing:focus { border: ascii $accent; }
    Listing > .listing--strong { text-style: bold; }
    Listing > .listing--quiet { color: $text-muted; }
    Listing > .listing--good { color: $text-success; }
    Listing > .listing--warning { color: $text-warning; }
    Listing > .listing--bad { color: $text-error; text-style: bold; }
    Listing > .listing--added { color: $text-success; }
    Listing > .listing--removed { color: $text-error; }
    Listing > .listing--head { color: $text-accent; }
    Listing > .listing--chosen { background: $panel-lighten-1; }
    Listing:focus > .listing--chosen { background: $primary; text-style: bold; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup,ctrl+b", "page(-1)", show=False),
        Binding("pagedown,ctrl+f", "page(1)", show=False),
        Binding("home,g", "edge(False)", show=False),
        Binding("end,G", "edge(True)", show=False),
        Binding("enter", "open", show=False),
    ]

    class Chosen(Message):
        """Another line was chosen, by a key or the mouse."""

        def __init__(self, listing: Listing, key: str) -> None:
            super().__init__()
            self.listing = listing
            self.key = key

        @property
        def control(self) -> Listing:
            """The listing, for handlers that name one."""
            return self.listing

    class Opened(Chosen):
        """The chosen line was asked to be shown closely."""

    def __init__(self, *, id: str, empty: str = "", wrap: bool = False) -> None:
        """
        Args:
            empty: what stands there if there are no rows.
            wrap: whether lines that are too wide go on in the next one, or are cut.
        """
        super().__init__(id=id)
        self._given: Sequence[Row] = ()
        self._rows: Sequence[Row] = ()
        self._wrap = wrap
        self._empty = Row((Piece(empty, Look.QUIET),))
        self._at = -1

    @property
    def rows(self) -> Sequence[Row]:
        """What is shown."""
        return self._rows

    @property
    def key(self) -> str:
        """What the chosen line is about; empty if none is chosen."""
        return self._rows[self._at].key if 0 <= self._at < len(self._rows) else ""

    def set_title(self, title: str) -> None:
        """Write on the border what this is."""
        # As content it is not read as markup.
        self.border_title = Content(title)

    def show(self, rows: Sequence[Row], *, afresh: bool = False) -> None:
        """Show rows; the chosen line stays the one with the same key, or else in its place.

        Args:
            afresh: they are about something else than those before, so begin at the top.
        """
        key, at = self.key, self._at
        self._given = rows
        # Whether there is a scroll bar is known later; its place is kept.
        width = self.size.width - 1
        self._rows = rows = wrapped(rows, width) if self._wrap and width > 0 else rows
        self._at = -1
        if any(row.key for row in rows):
            same = None if afresh or not key else self._find(key)
            self._at = self._nearest(0 if afresh else max(at, 0), 1) if same is None else same
        self.virtual_size = Size(0, len(rows))
        if afresh:
            self.scroll_to(y=0, animate=False)
        self.refresh()
        if self.key != key or afresh:
            self.post_message(self.Chosen(self, self.key))

    def on_resize(self) -> None:
        """Break the lines anew."""
        if self._wrap:
            self.show(self._given)

    def choose(self, key: str) -> bool:
        """Choose the line about `key`; returns whether there is one."""
        found = self._find(key)
        if found is not None:
            self._go(found)
        return found is not None

    # ---- moving ----------------------------------------------------------------------------------

    def _find(self, key: str) -> int | None:
        return next((at for at, row in enumerate(self._rows) if row.key == key), None)

    def _nearest(self, at: int, step: int) -> int:
        """Return the next line that can be chosen in one direction, else in the other."""
        count = len(self._rows)
        at = min(max(at, 0), count - 1)
        for way in (range(at, count), range(at, -1, -1))[:: 1 if step > 0 else -1]:
            for place in way:
                if self._rows[place].key:
                    return place
        return -1

    def _go(self, at: int) -> None:
        if at < 0 or at == self._at:
            return
        self._at = at
        # The heading above the first line is worth seeing, too.
        top = at - 1 if at == 1 and not self._rows[0].key else at
        self.scroll_to_region(Region(0, top, 1, at - top + 1), animate=False, force=True)
        self.refresh()
        self.post_message(self.Chosen(self, self.key))

    def action_move(self, step: int) -> None:
        """Choose the next line, or scroll if there is nothing to choose."""
        if self._at < 0:
            self.scroll_relative(y=step, animate=False)
            return
        if 0 <= self._at + step < len(self._rows):
            self._go(self._nearest(self._at + step, step))

    def action_page(self, step: int) -> None:
        """Move by what fits on the screen."""
        height = max(self.scrollable_content_region.height - 1, 1)
        if self._at < 0:
            self.scroll_relative(y=step * height, animate=False)
        else:
            self._go(self._nearest(self._at + step * height, step))

    def action_edge(self, end: bool) -> None:
        """Move to the first or the last line."""
        if self._at < 0:
            self.scroll_to(y=len(self._rows) if end else 0, animate=False)
        elif end:
            self._go(self._nearest(len(self._rows) - 1, -1))
        else:
            self._go(self._nearest(0, 1))

    def action_open(self) -> None:
        """Ask for the chosen line to be shown closely."""
        self.post_message(self.Opened(self, self.key))

    def on_click(self, event: events.Click) -> None:
        """Choose the line that was clicked; open it if it was clicked twice."""
        offset = event.get_content_offset(self)
        if offset is None:
            return
        at = offset.y + self.scroll_offset.y
        if 0 <= at < len(self._rows) and self._rows[at].key:
            self._go(at)
            if event.chain == 2:
                self.action_open()

    # ---- drawing ---------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        """Return a line of the screen."""
        width = self.scrollable_content_region.width
        at = y + self.scroll_offset.y
        base = self.rich_style
        if self._rows:
            if at >= len(self._rows):
                return Strip.blank(width, base)
            row = self._rows[at]
        else:
            if y:
                return Strip.blank(width, base)
            row = self._empty
        chosen = at == self._at and bool(self._rows)
        over = self.get_component_rich_style("listing--chosen", partial=True) if chosen else None
        right = self._segments(row.right, base, over)
        # The left side is what the line is about: it has two thirds at least.
        taken = min(sum(cell_len(segment.text) for segment in right) + 1, width // 3)
        if not right:
            taken = 0
        line_style = base if over is None else base + over
        left = Strip(self._segments(row.left, base, over)).crop_extend(0, width - taken, line_style)
        if not taken:
            return left
        strip = Strip([Segment(" ", line_style), *right])
        return Strip.join([left, strip.crop_extend(0, taken, line_style)])

    def _segments(self, pieces: Sequence[Piece], base: Style, over: Style | None) -> list[Segment]:
        made: list[Segment] = []
        for piece in pieces:
            style = base
            if piece.look is not Look.PLAIN:
                name = f"listing--{piece.look}"
                style += self.get_component_rich_style(name, partial=True)
            made.append(Segment(piece.text, style if over is None else style + over))
        return made
