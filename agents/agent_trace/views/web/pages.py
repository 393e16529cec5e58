"""The pages that show something. Each asks the client library, and gives a template the answer."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from agent_trace.client import Agent
from agent_trace.moments import Moment
from agent_trace.views.lanes import Timeline, timeline
from agent_trace.views.model import activity, by_type, now_of
from agent_trace.views.seen import revision_now
from agent_trace.views.sidebyside import side_by_side
from agent_trace_protocol import (
    Action,
    DocumentType,
    InvalidRequest,
    LogEntry,
    NotFound,
    SessionInfo,
    Unavailable,
)

from .feed import Feed
from .link import Link
from .rendering import Renderer

__all__ = ["Pages"]

WINDOWS: Final[Mapping[str, int]] = {
    "15m": 900,
    "1h": 3_600,
    "6h": 21_600,
    "24h": 86_400,
    "7d": 604_800,
}
"""Windows of time that the timeline offers, in seconds."""

WINDOW_SECONDS_MIN: Final = 30
"""A picture of less would be nothing but its end."""

ENTRIES_MAX: Final = 60
"""Entries of a page of the log."""

PICTURE_ENTRIES_MAX: Final = 4_000
"""Entries of which a timeline is made."""

SESSIONS_MAX: Final = 400
LINES_MAX: Final = 1_500
"""Lines of a document on one page."""

ANSWER_SECONDS_MAX: Final = 20.0
"""How long a page waits for its answers."""


@dataclass(frozen=True, slots=True)
class _Window:
    """Some lines of a text."""

    lines: Sequence[tuple[int, str]]
    count: int
    """Lines of the whole text."""
    previous: int
    """The first line of the window before; 0 if there is none."""
    next: int
    binary: bool


class Pages:
    """The pages of one store."""

    def __init__(self, link: Link, feed: Feed, renderer: Renderer) -> None:
        self._link = link
        self._feed = feed
        self._renderer = renderer

    def routes(self) -> list[Route]:
        """Return where the pages are."""
        pages = {
            "/": self.now,
            "/sessions": self.sessions,
            "/session": self.session,
            "/activity": self.activity,
            "/documents": self.documents,
            "/document": self.document,
            "/history": self.history,
            "/diff": self.diff,
            "/blame": self.blame,
            "/raw": self.raw,
            "/search": self.search,
            "/violations": self.violations,
            "/violation": self.violation,
            "/drafts": self.drafts,
            "/draft": self.draft,
            "/leases": self.leases,
            "/health": self.health,
            "/events": self.events,
        }
        made = [Route(path, page, methods=["GET"]) for path, page in pages.items()]
        return [*made, Route("/static/{name}", self.static, methods=["GET"])]

    # ---- what is going on --------------------------------------------------------------------

    async def now(self, request: Request) -> Response:
        """What agents are doing now."""
        agent = await self._link.agent()
        with anyio.fail_after(ANSWER_SECONDS_MAX):
            status = await agent.status()
            sessions = await agent.sessions(ended=True, limit=SESSIONS_MAX)
            leases = await agent.leases()
            entries = await agent.log(limit=200)
            line = await self._timeline(agent, sessions, WINDOWS["1h"])
        now = now_of(
            status,
            [each for each in sessions if not each.ended_ms],
            leases.leases,
            [each for each in entries if each.session != agent.session_id],
            own_session=agent.session_id,
        )
        values = {"now": now, "timeline": line, "windows": WINDOWS, "window": "1h"}
        return self._renderer.page(request, "now.html", values)

    async def sessions(self, request: Request) -> Response:
        """The sessions over time."""
        agent = await self._link.agent()
        window = request.query_params.get("window", "6h")
        if window not in WINDOWS:
            raise InvalidRequest(f"a window is one of {', '.join(WINDOWS)}, not {window!r}")
        with anyio.fail_after(ANSWER_SECONDS_MAX):
            sessions = await agent.sessions(ended=True, limit=SESSIONS_MAX)
            line = await self._timeline(agent, sessions, WINDOWS[window])
        shown = [each for each in sessions if each.id != agent.session_id][:100]
        values = {"timeline": line, "sessions": shown, "windows": WINDOWS, "window": window}
        return self._renderer.page(request, "sessions.html", values)

    async def _timeline(
        self, agent: Agent, sessions: Sequence[SessionInfo], seconds: int
    ) -> Timeline:
        end_ms = int(time.time() * 1000)
        start_ms = max(end_ms - 1000 * seconds, 1)
        entries = await agent.log(limit=PICTURE_ENTRIES_MAX, since=Moment(time_ms=start_ms))
        others = [each for each in sessions if each.id != agent.session_id]
        # A store that is younger than the window fills the picture, all the same.
        times = [each.started_ms for each in others] + [each.time_ms for each in entries[-1:]]
        start_ms = max(start_ms, min([*times, end_ms - 1000 * WINDOW_SECONDS_MIN]) - 1000)
        offset_ms = 1000 * time.localtime(end_ms / 1000).tm_gmtoff
        return timeline(others, entries, start_ms, end_ms, offset_ms=offset_ms)

    async def session(self, request: Request) -> Response:
        """One session: who it is, and what it did."""
        agent, id = await self._link.agent(), _text(request, "id")
        with anyio.fail_after(ANSWER_SECONDS_MAX):
            found = await agent.sessions(id=id, ended=True, limit=1)
            if not found or not id:
                raise NotFound(f"there is no session {id}")
            recap = await agent.recap(found[0].id)
            entries = await agent.log(session=found[0].id, limit=ENTRIES_MAX)
        values = {
            "session": found[0],
            "recap": recap,
            "entries": [activity(each) for each in entries],
        }
        return self._renderer.page(request, "session.html", values)

    async def activity(self, request: Request) -> Response:
        """What happened, newest first."""
        agent = await self._link.agent()
        author, before = _text(request, "author"), _number(request, "before")
        action = _text(request, "action")
        with anyio.fail_after(ANSWER_SECONDS_MAX):
            entries = await agent.log(
                limit=ENTRIES_MAX, before=before or None, author=author, action=action or None
            )
        values = {
            "entries": [activity(each) for each in entries],
            "author": author,
            "action": action,
            "actions": [each.value for each in Action],
            "before": before,
            "older": entries[-1].seq if len(entries) >= ENTRIES_MAX else 0,
        }
        return self._renderer.page(request, "activity.html", values)

    # ---- documents ---------------------------------------------------------------------------

    async def documents(self, request: Request) -> Response:
        """The documents by type."""
        agent, prefix = await self._link.agent(), _text(request, "prefix")
        after = _text(request, "after")
        with anyio.fail_after(ANSWER_SECONDS_MAX):
            page = await agent.document_page(after, limit=500, prefix=prefix)
        values = {
            "groups": by_type(page.documents),
            "count": len(page.documents),
            "prefix": prefix,
            "after": after,
            "next": page.documents[-1].path if page.more and page.documents else "",
        }
        return self._renderer.page(request, "documents.html", values)

    async def document(self, request: Request) -> Response:
        """What a document says."""
        agent, path = await self._link.agent(), _text(request, "path")
        revision = _number(request, "revision")
        with anyio.fail_after(ANSWER_SECONDS_MAX):
            report = await agent.info(path)
            number = revision or report.document.revision
            try:
                content = (await agent.read(path, number)).content
            except NotFound:
                if not report.deleted or revision:
                    raise
                content = b""
        values = {
            "report": report,
            "path": report.document.path,
            "revision": number,
            "text": _window(content, _number(request, "from") or 1),
            "tab": "text",
        }
        return self._renderer.page(request, "document.html", values)

    async def history(self, request: Request) -> Response:
        """How a document came to be what it is."""
        agent, path = await self._link.agent(), _text(request, "path")
        before = _number(request, "before")
        with anyio.fail_after(ANSWER_SECONDS_MAX):
            report = await agent.info(path)
            entries = await agent.log(path, limit=ENTRIES_MAX, before=before or None)
        values = {
            "report": report,
            "path": report.document.path,
            "revision": report.document.revision,
            "entries": [activity(each) for each in entries],
            "older": entries[-1].seq if len(entries) >= ENTRIES_MAX else 0,
            "before": before,
            "tab": "history",
        }
        return self._renderer.page(request, "history.html", values)

    async def diff(self, request: Request) -> Response:
        """Two revisions side by side."""
        agent, path = await self._link.agent(), _text(request, "path")
        old, new = _number(request, "old"), _number(request, "new")
        with anyio.fail_after(ANSWER_SECONDS_MAX):
            report = await agent.info(path)
            found = await agent.diff(path, old or None, new or None)
            entries: tuple[LogEntry, ...] = ()
            if found.new_revision:
                entries = await agent.log(path, limit=ENTRIES_MAX)
            rows = await anyio.to_thread.run_sync(partial(side_by_side, found.diff))
        made = [each for each in entries if found.old_revision < each.revision]
        values = {
            "report": report,
            "path": report.document.path,
            "revision": found.new_revision,
            "diff": found,
            "rows": rows,
            "entries": [activity(each) for each in made if each.revision <= found.new_revision],
            "tab": "diff",
        }
        return self._renderer.page(request, "diff.html", values)

    async def blame(self, request: Request) -> Response:
        """Who brought each line."""
        agent, path = await self._link.agent(), _text(request, "path")
        revision, first = _number(request, "revision"), _number(request, "from") or 1
        with anyio.fail_after(ANSWER_SECONDS_MAX):
            report = await agent.info(path)
            blamed = await agent.blame(
                path, revision or None, first_line=first, last_line=first + LINES_MAX - 1
            )
        values = {
            "report": report,
            "path": report.document.path,
            "revision": blamed.revision,
            "blamed": blamed,
            "more": first + LINES_MAX if len(blamed.lines) == LINES_MAX else 0,
            "tab": "blame",
        }
        return self._renderer.page(request, "blame.html", values)

    async def raw(self, request: Request) -> Response:
        """A document's bytes, to be kept as a file."""
        agent, path = await self._link.agent(), _text(request, "path")
        with anyio.fail_after(ANSWER_SECONDS_MAX):
            document = await agent.read(path, _number(request, "revision") or None)
        headers = {
            # A browser shall neither guess what it is nor run any of it.
            "Content-Disposition": "attachment",
            "Content-Security-Policy": "default-src 'none'; sandbox",
        }
        return Response(document.content, media_type="text/plain; charset=utf-8", headers=headers)

    async def search(self, request: Request) -> Response:
        """What documents say, and what they once said."""
        agent, query = await self._link.agent(), _text(request, "q")
        kind, history = _text(request, "type"), bool(_text(request, "history"))
        found, problem = None, ""
        if query.strip():
            try:
                with anyio.fail_after(ANSWER_SECONDS_MAX):
                    found = await agent.search(query, type=kind or None, history=history, limit=50)
            except InvalidRequest as error:
                problem = error.message
        values = {
            "found": found,
            "problem": problem,
            "kind": kind,
            "history": history,
            "types": [each.value for each in DocumentType],
        }
        return self._renderer.page(request, "search.html", values)

    # ---- what waits, and how things are ------------------------------------------------------

    async def violations(self, request: Request) -> Response:
        """Refused writes that wait."""
        agent, before = await self._link.agent(), _number(request, "before")
        with anyio.fail_after(ANSWER_SECONDS_MAX):
            waiting = await agent.violations(limit=ENTRIES_MAX, before=before or None)
        older = waiting[-1].seq if len(waiting) >= ENTRIES_MAX else 0
        values = {"waiting": waiting, "older": older, "done": _text(request, "done")}
        return self._renderer.page(request, "violations.html", values)

    async def violation(self, request: Request) -> Response:
        """One refused write, and what applying it would change."""
        agent = await self._link.agent()
        with anyio.fail_after(ANSWER_SECONDS_MAX):
            # First: what changes meanwhile makes the decision outdated, not the page untrue.
            waiting = (await agent.violation(_text(request, "id"))).violation
            seen = await revision_now(agent, waiting.path)
            report = await agent.violation(waiting.id)
            rows = await anyio.to_thread.run_sync(partial(side_by_side, report.diff))
        texts = [(each, _window(each.content, 1)) for each in report.texts]
        base = report.texts[0].base_revision if report.texts else seen
        values = {"report": report, "rows": rows, "texts": texts, "seen": seen, "base": base}
        return self._renderer.page(request, "violation.html", values)

    async def drafts(self, request: Request) -> Response:
        """Writes that did not fit and wait."""
        agent, before = await self._link.agent(), _number(request, "before")
        with anyio.fail_after(ANSWER_SECONDS_MAX):
            waiting = await agent.drafts(limit=ENTRIES_MAX, before=before or None)
        older = waiting[-1].seq if len(waiting) >= ENTRIES_MAX else 0
        values = {"waiting": waiting, "older": older, "done": _text(request, "done")}
        return self._renderer.page(request, "drafts.html", values)

    async def draft(self, request: Request) -> Response:
        """One draft, and what accepting it would change."""
        agent = await self._link.agent()
        with anyio.fail_after(ANSWER_SECONDS_MAX):
            report = await agent.draft(_text(request, "id"))
            texts = [
                (
                    each,
                    await anyio.to_thread.run_sync(partial(side_by_side, each.diff)),
                    await anyio.to_thread.run_sync(partial(side_by_side, each.others)),
                )
                for each in report.texts
            ]
        values = {"report": report, "texts": texts}
        return self._renderer.page(request, "draft.html", values)

    async def leases(self, request: Request) -> Response:
        """Who works on what, and who waits."""
        agent = await self._link.agent()
        with anyio.fail_after(ANSWER_SECONDS_MAX):
            listed = await agent.leases()
        return self._renderer.page(request, "leases.html", {"listed": listed})

    async def health(self, request: Request) -> Response:
        """How the coordinator and the store are."""
        agent = await self._link.agent()
        with anyio.fail_after(ANSWER_SECONDS_MAX):
            status = await agent.status()
            now = now_of(status, (), (), ())
        return self._renderer.page(request, "health.html", {"now": now, "status": status})

    # ---- what pages are made with ------------------------------------------------------------

    async def events(self, request: Request) -> Response:
        """The stream that tells pages when to look again."""
        if not self._feed.has_room:
            raise Unavailable("too many pages are open: close some")
        headers = {"X-Accel-Buffering": "no"}
        return StreamingResponse(
            self._feed.stream(), media_type="text/event-stream", headers=headers
        )

    async def static(self, request: Request) -> Response:
        """Our own style sheet, script and pictures."""
        return self._renderer.static(request.path_params["name"])


def _text(request: Request, name: str) -> str:
    return request.query_params.get(name, "")


def _number(request: Request, name: str) -> int:
    """Return a number of the address; 0 if it is not there.

    Raises:
        InvalidRequest: it is none.
    """
    given = request.query_params.get(name, "")
    if not given:
        return 0
    if not (given.isascii() and given.isdigit() and len(given) <= 15):
        raise InvalidRequest(f"{name} is a number, not {given[:40]!r}")
    return int(given)


def _window(content: bytes, first: int) -> _Window:
    """Return some lines of a text; none of what is no text."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return _Window((), 0, 0, 0, True)
    lines = text.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    first = min(first, max(len(lines), 1))
    shown = lines[first - 1 : first - 1 + LINES_MAX]
    following = first + LINES_MAX
    return _Window(
        list(enumerate(shown, first)),
        len(lines),
        max(first - LINES_MAX, 1) if first > 1 else 0,
        following if following <= len(lines) else 0,
        False,
    )
