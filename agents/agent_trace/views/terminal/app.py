"""The view's screen: lists on one side, what is chosen on the other, and what a person may decide.

It asks the coordinator through the client library only, and draws what the feed has put into the
picture. Nothing is changed without a question that was answered with yes, and nothing at all with
`read_only`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Final

from textual import events
from textual.app import App, ComposeResult
from textual.containers import Horizontal, Vertical
from textual.css.query import NoMatches
from textual.filter import LineFilter
from textual.screen import Screen
from textual.widgets import Footer, Input, Static

from agent_trace.client import Agent
from agent_trace.config import Settings
from agent_trace.wording import shown
from agent_trace_protocol import Actor, AgentTraceError

from . import decisions
from .chosen import Chosen, now_ms
from .decisions import Decision
from .details import Aspect, Detail
from .dialogs import Help, Question
from .feed import Feed
from .heading import counts, head_line, rows_of, tab_texts, words
from .layout import BINDINGS, CSS, HELP, LISTED, WHERE, Section, Tab
from .lines import Look, Row, piece
from .listing import Listing
from .picture import Picture
from .plain_ascii import AsciiFilter

__all__ = ["View"]

DRAW_SECONDS: Final = 0.1
"""What changes within this is drawn at once."""

TICK_SECONDS: Final = 1.0
"""How often ages and the state of the connection are drawn anew."""

RELOAD_SECONDS: Final = 0.5
"""How often what is chosen is asked for anew while it changes all the time."""


class View(App[None]):
    """`agent-trace open`."""

    TITLE = "agent-trace"
    ENABLE_COMMAND_PALETTE = False
    AUTO_FOCUS = None
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-broad"), (170, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (9, "-short"), (16, "-high")]

    CSS = CSS

    BINDINGS = BINDINGS

    def __init__(
        self, settings: Settings, *, ascii_only: bool = False, read_only: bool = False
    ) -> None:
        super().__init__()
        self._feed = Feed(settings, self.redraw_soon)
        self._read_only = read_only or settings.identity.actor is not Actor.USER
        self._ascii = AsciiFilter(enabled=ascii_only)
        self._section = Section.DOCUMENTS
        self._aspect = Aspect.CONTENT
        self._revision = 0
        """A revision of the chosen document whose change is shown, or none."""
        self._wanted = ""
        self._drawing = False
        self._said = ""
        self._subject_shown: tuple[object, ...] = ()
        self._version_shown: object = None
        self._asked_at = 0.0
        self.failure: AgentTraceError | None = None
        """Why the view ended by itself."""

    @property
    def picture(self) -> Picture:
        """What is known of the store."""
        return self._feed.picture

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Return what sees every line before it is written; ASCII comes last."""
        return [*super().get_line_filters(), *([self._ascii] if self._ascii.enabled else [])]

    def compose(self) -> ComposeResult:
        """Make the widgets."""
        yield Static(id="head", markup=False)
        with Horizontal(id="tabs"):
            for section in Section:
                yield Tab(section)
        with Horizontal(id="body"):
            with Vertical(id="lists"):
                for section, empty in LISTED:
                    yield Listing(id=section, empty=empty)
            yield Listing(id="detail", wrap=True)
            with Vertical(id="side"):
                yield Listing(id="side-activity", empty="nothing has happened yet")
                yield Listing(id="side-sessions", empty="nobody is connected")
        yield Input(
            placeholder="part of a path or description; enter keeps it", id="find", compact=True
        )
        yield Static(id="said", markup=False)
        yield Footer(compact=True, show_command_palette=False)

    def on_mount(self) -> None:
        """Begin to follow the store."""
        self.set_class(self._ascii.enabled, "-ascii")
        self.action_section(self._section)
        self.set_interval(TICK_SECONDS, self._tick)
        self.run_worker(self._follow(), exit_on_error=False, group="feed")

    async def _follow(self) -> None:
        try:
            await self._feed.run()
        except AgentTraceError as error:
            # Told by whoever started the view, on a screen that is not cleared any more.
            self.failure = error
            self.exit()

    # ---- drawing ---------------------------------------------------------------------------------

    def redraw_soon(self) -> None:
        """Draw what has changed, in a moment and all at once."""
        if not self._drawing and self.is_running:
            self._drawing = True
            self.set_timer(DRAW_SECONDS, self.redraw)

    def redraw(self) -> None:
        """Draw the picture as it is."""
        self._drawing = False
        self._draw(self._draw_lists, self.draw_head, self._show_detail)

    def _tick(self) -> None:
        self._feed.check_link()
        self._draw(self.draw_head, self._show_detail)

    def _draw(self, *drawings: Callable[[], None]) -> None:
        """Draw, unless the screen is being taken down: what is under way ends a moment later."""
        if not self.screen_stack:
            return
        try:
            for draw in drawings:
                draw()
        except NoMatches:
            return

    @property
    def _list(self) -> Listing | None:
        """The list that is shown."""
        if self._section is Section.BRIEFING:
            return None
        return self._base.query_one(f"#{self._section}", Listing)

    @property
    def _detail(self) -> Listing:
        return self._base.query_one("#detail", Listing)

    @property
    def _base(self) -> Screen[object]:
        """The screen below all questions."""
        return self.screen_stack[0]

    @property
    def _own_session(self) -> str:
        agent = self._feed.agent
        return agent.session_id if agent is not None else ""

    def _rows(self, section: Section, moment: int) -> tuple[Row, ...]:
        return rows_of(
            section, self.picture, moment, wanted=self._wanted, own_session=self._own_session
        )

    def _draw_lists(self) -> None:
        moment = now_ms()
        listing = self._list
        if listing is not None:
            listing.show(self._rows(self._section, moment))
            finding = self._wanted and self._section is Section.DOCUMENTS
            listing.set_title(f"{self._section}{f' with {self._wanted!r}' if finding else ''}")
        if self._base.has_class("-wide"):
            for section in (Section.ACTIVITY, Section.SESSIONS):
                side = self._base.query_one(f"#side-{section}", Listing)
                side.show(self._rows(section, moment))
                side.set_title(section.value)

    def draw_head(self) -> None:
        """Draw the lines above and below the panes."""
        picture = self.picture
        head = head_line(picture, read_only=self._read_only)
        self._base.query_one("#head", Static).update(head)
        self._base.query_one("#said", Static).update(words(picture, self._said))
        found = counts(picture, self._own_session)
        tabs = tab_texts(self._section, found, self._base.size.width)
        for tab, text in zip(self._base.query(Tab), tabs, strict=True):
            tab.update(text)
            tab.set_class(tab.section is self._section, "-on")

    def say(self, text: str) -> None:
        """Show a line about what was done, until something else is done."""
        self._said = " ".join(text.split())
        self._draw(self.draw_head)

    # ---- what is chosen --------------------------------------------------------------------------

    @property
    def _chosen(self) -> Chosen:
        listing = self._list
        key = listing.key if listing is not None else ""
        return Chosen(self._section, key, self._aspect, self._revision)

    def _show_detail(self) -> None:
        """Ask for what is chosen, unless it is shown already."""
        chosen, agent = self._chosen, self._feed.agent
        subject, version = chosen.subject, chosen.version(self.picture)
        if agent is None or (subject, version) == (self._subject_shown, self._version_shown):
            return
        now = time.monotonic()
        afresh = subject != self._subject_shown
        if not afresh and now - self._asked_at < RELOAD_SECONDS:
            # A document that is written to all the time; the next tick asks again.
            return
        self._subject_shown, self._version_shown, self._asked_at = subject, version, now
        # Not the coroutine itself: one that is given up before it began would never be awaited.
        work: Callable[[], Coroutine[None, None, None]] = partial(
            self._load_detail, agent, chosen, afresh
        )
        # mypy finds no result type in Textual's union.
        self.run_worker(work, group="detail", exclusive=True)  # type: ignore[arg-type]

    async def _load_detail(self, agent: Agent, chosen: Chosen, afresh: bool) -> None:
        try:
            detail = await chosen.detail(agent, self.picture)
        except AgentTraceError as error:
            detail = Detail("", (Row((piece(error.message, Look.WARNING),)),))
            # What was lost with the coordinator is asked for when there is one.
            self._version_shown = self if error.retryable else self._version_shown
        self.show_detail(detail, afresh=afresh)

    def show_detail(self, detail: Detail, *, afresh: bool) -> None:
        """Show what was asked for."""

        def draw() -> None:
            self._detail.show(detail.rows, afresh=afresh)
            self._detail.set_title(shown(detail.title))

        self._draw(draw)

    # ---- going about -----------------------------------------------------------------------------

    def action_section(self, section: Section | str) -> None:
        """Show a section."""
        self._section = Section(section)
        self._revision = 0
        screen = self._base
        screen.set_class(self._section is Section.BRIEFING, "-briefing")
        screen.remove_class("-close")
        for each, _ in LISTED:
            screen.query_one(f"#{each}").display = each is self._section
        (self._list or self._detail).focus()
        self.refresh_bindings()
        self.redraw()

    def action_beside(self, step: int) -> None:
        """Show the section before or after."""
        sections = list(Section)
        self.action_section(sections[(sections.index(self._section) + step) % len(sections)])

    def action_aspect(self, aspect: str) -> None:
        """Show another aspect of the chosen document."""
        self._aspect, self._revision = Aspect(aspect), 0
        if not self._detail.is_on_screen:
            self._base.add_class("-close")
            self._detail.focus()
        self._show_detail()

    def action_step_back(self) -> None:
        """Go back one step: from a revision, from a close look, from a search."""
        if self._revision:
            self._revision = 0
            self._show_detail()
        elif self._base.has_class("-close"):
            self._base.remove_class("-close")
            (self._list or self._detail).focus()
        elif self._wanted:
            self._wanted = ""
            self.redraw()

    def action_find(self) -> None:
        """Ask for a part of the documents' paths."""
        field = self._base.query_one("#find", Input)
        field.display = True
        field.value = self._wanted
        field.focus()

    def action_anew(self) -> None:
        """Ask for everything anew."""
        self._subject_shown = ()
        self._said = ""
        self._feed.refresh()
        self.redraw()

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(Help(HELP))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return whether a key means something where one is; the others are not shown."""
        if len(self.screen_stack) > 1:
            return action == "quit"
        wanted = WHERE.get(action)
        return wanted is None or self._section in wanted

    def on_tab_clicked(self, message: Tab.Clicked) -> None:
        """Show the section that was clicked."""
        self.action_section(message.section)

    def on_listing_chosen(self, message: Listing.Chosen) -> None:
        """Show the line that was chosen in the list."""
        if self.screen_stack and message.listing is self._list:
            self._revision = 0
            self._draw(self._show_detail)

    def on_listing_opened(self, message: Listing.Opened) -> None:
        """Show closely what was chosen."""
        listing, key = message.listing, message.key
        if listing is self._detail:
            if self._aspect is Aspect.HISTORY and key:
                self._revision = int(key)
                self._show_detail()
            return
        section = Section((listing.id or "").removeprefix("side-"))
        if section is not self._section:
            self.action_section(section)
            shown_list = self._list
            if shown_list is not None:
                shown_list.choose(key)
            return
        self._base.add_class("-close")
        self._detail.focus()

    def on_input_changed(self, message: Input.Changed) -> None:
        """Find while it is typed."""
        if message.input.id == "find":
            self._wanted = message.value
            self.redraw()

    def on_input_submitted(self, message: Input.Submitted) -> None:
        """Keep what was found."""
        if message.input.id == "find":
            message.input.display = False
            self.action_section(Section.DOCUMENTS)

    def on_key(self, event: events.Key) -> None:
        """Give up a search by the escape key."""
        field = self._base.query_one("#find", Input)
        if event.key == "escape" and field.display and field.has_focus:
            event.stop()
            field.value = ""
            field.display = False
            self.action_section(Section.DOCUMENTS)

    def on_resize(self) -> None:
        """Draw what there is room for."""
        self.redraw_soon()

    # ---- what a person may decide ----------------------------------------------------------------

    def action_accept(self) -> None:
        """Apply the refused write, or accept the draft, that is chosen."""
        chosen = self._chosen
        violation, draft = chosen.violation(self.picture), chosen.draft(self.picture)
        if violation is not None:
            self._decide(lambda agent: decisions.apply_violation(agent, violation))
        elif draft is not None:
            self._decide(lambda agent: decisions.accept_draft(agent, draft))

    def action_discard(self) -> None:
        """Discard the refused write, or the draft, that is chosen."""
        chosen = self._chosen
        violation, draft = chosen.violation(self.picture), chosen.draft(self.picture)
        if violation is not None:
            self._decide(lambda agent: decisions.discard_violation(agent, violation))
        elif draft is not None:
            self._decide(lambda agent: decisions.discard_draft(agent, draft))

    def action_evict(self) -> None:
        """End the session that is chosen."""
        session = self._chosen.session(self.picture)
        if session is not None:
            self._decide(lambda agent: decisions.evict(agent, session))

    def action_unlock(self) -> None:
        """Unlock the document that is chosen."""
        path = self._chosen.key
        if path:
            self._decide(lambda agent: decisions.unlock(agent, path))

    def _decide(self, make: Callable[[Agent], Awaitable[Decision]]) -> None:
        if self._read_only:
            self.say("read-only: nothing can be changed from here")
            return
        self.run_worker(self._carry_out(make), group="decision", exclusive=True)

    async def _carry_out(self, make: Callable[[Agent], Awaitable[Decision]]) -> None:
        agent = self._feed.agent
        if agent is None:
            self.say("there is no coordinator to ask")
            return
        try:
            decision = await make(agent)
            question = Question(shown(decision.question, lines=True), asks=decision.asks)
            typed = await self.push_screen_wait(question)
            if typed is None:
                self.say("nothing was done")
                return
            said = await decision.carry_out(typed)
        except AgentTraceError as error:
            said = error.message
        self._feed.refresh()
        self.say(said)
