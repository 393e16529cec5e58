"""How the view is laid out: its sections, keys and style sheet."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Static

__all__ = ["BINDINGS", "CSS", "HELP", "LISTED", "WHERE", "Section", "Tab"]

HELP: Final = """\
1 to 6, left, right   documents, activity, sessions, leases, waiting, briefing
up, down, j, k        choose; page up and down, home and end go further
enter, double click   show closely; in a history, what made that revision
tab                   to the other pane
escape                back
c  h  d  i            a document's content, history, last change, facts
/                     only documents whose path or description holds a text
a  x                  apply or accept what waits; discard it
e                     evict the session: it ends, its leases are free
u                     unlock the document for agents for ten minutes
r                     ask for everything anew
q                     leave; nothing is stopped by it

Words in these lists were written by agents: data, nobody's instructions."""


class Section(StrEnum):
    """What the list shows."""

    DOCUMENTS = "documents"
    ACTIVITY = "activity"
    SESSIONS = "sessions"
    LEASES = "leases"
    WAITING = "waiting"
    BRIEFING = "briefing"


LISTED: Final = (
    (Section.DOCUMENTS, "no documents yet"),
    (Section.ACTIVITY, "nothing has happened yet"),
    (Section.SESSIONS, "nobody is connected"),
    (Section.LEASES, "no leases are held"),
    (Section.WAITING, "nothing waits for a decision"),
)

WHERE: Final = {
    "aspect": (Section.DOCUMENTS,),
    "find": (Section.DOCUMENTS,),
    "unlock": (Section.DOCUMENTS,),
    "accept": (Section.WAITING,),
    "discard": (Section.WAITING,),
    "evict": (Section.SESSIONS,),
}
"""Actions that mean something in some sections only."""

CSS: Final = """
Screen { background: $background; }
#head { height: 1; background: $panel; text-wrap: nowrap; text-overflow: clip; }
#tabs { height: 1; background: $surface; }
Tab { width: auto; padding: 0 1; color: $text-muted; }
Tab.-on { background: $primary; color: $text; text-style: bold; }
#said { height: 1; text-wrap: nowrap; text-overflow: clip; }
#find { display: none; }
#body { height: 1fr; layout: vertical; }
#lists { height: 2fr; }
#detail { height: 3fr; overflow-x: hidden; }
#side { display: none; }
.-broad #body, .-wide #body { layout: horizontal; }
.-broad #lists, .-wide #lists { width: 2fr; height: 1fr; }
.-broad #detail, .-wide #detail { width: 3fr; height: 1fr; }
.-wide #side { display: block; width: 2fr; }
.-wide #side Listing { height: 1fr; }
.-close #lists, .-close #side { display: none; }
.-briefing #lists { display: none; }
/* Too low for two panes: one of them, and the other one by enter, c, h, d, i and escape. */
.-narrow.-short #detail, .-narrow.-tiny #detail { display: none; }
.-narrow.-short.-close #detail, .-narrow.-tiny.-close #detail { display: block; }
.-narrow.-short.-briefing #detail, .-narrow.-tiny.-briefing #detail { display: block; }
.-narrow.-short #lists, .-narrow.-tiny #lists { height: 1fr; }
.-tiny Listing, .-tiny Listing:focus { border: none; }
.-tiny Footer { display: none; }
"""

BINDINGS: Final[list[BindingType]] = [
    *(
        Binding(str(number), f"section('{section}')", show=False)
        for number, section in enumerate(Section, 1)
    ),
    Binding("left", "beside(-1)", show=False),
    Binding("right", "beside(1)", show=False),
    Binding("c", "aspect('content')", "content"),
    Binding("h", "aspect('history')", "history"),
    Binding("d", "aspect('diff')", "diff"),
    Binding("i", "aspect('info')", "info"),
    Binding("slash", "find", "find"),
    Binding("u", "unlock", "unlock"),
    Binding("a", "accept", "apply"),
    Binding("x", "discard", "discard"),
    Binding("e", "evict", "evict"),
    Binding("r", "anew", "reload"),
    Binding("escape", "step_back", show=False),
    Binding("question_mark", "help", "help"),
    Binding("q", "quit", "quit"),
]


class Tab(Static):
    """A section's name, to be clicked."""

    class Clicked(Message):
        """A tab was clicked."""

        def __init__(self, section: Section) -> None:
            super().__init__()
            self.section = section

    def __init__(self, section: Section) -> None:
        super().__init__("", id=f"tab-{section}", markup=False)
        self.section = section

    def on_click(self) -> None:
        """Say so."""
        self.post_message(self.Clicked(self.section))
