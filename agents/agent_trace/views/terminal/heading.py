"""What stands above and below the panes, and the rows of each section: from the picture alone."""

from __future__ import annotations

from typing import Final

from textual.content import Content

from agent_trace.views.model import Tone, concerns, now_of
from agent_trace.wording import counted, shown
from agent_trace_protocol import Actor, LogEntry

from .layout import Section
from .lines import Row, activity_rows, document_rows, lease_rows, session_rows, waiting_rows
from .picture import Link, Picture

__all__ = ["counts", "head_line", "rows_of", "tab_texts", "words"]

_TONES: Final = {Tone.BAD: "$text-error", Tone.WARNING: "$text-warning"}

_LINKS: Final = {Link.CONNECTED: "$text-success", Link.CONNECTING: "$text-warning"}


def head_line(picture: Picture, *, read_only: bool) -> Content:
    """Return the line above the panes: the link, who is live, how far the store is."""
    parts: list[Content | str | tuple[str, str]] = [
        (" agent-trace ", "bold"),
        (f" {picture.link.value} ", _LINKS.get(picture.link, "bold $text-error")),
    ]
    if read_only:
        parts.append((" read-only ", "$text-warning"))
    status = picture.status
    if status is not None:
        live = counted(status.sessions_live, "session")
        parts.append(f" {live} live  seq {picture.seq}  {shown(status.root or status.store)}")
    return Content.assemble(*parts)


def words(picture: Picture, said: str) -> Content:
    """Return the line above the keys: the loss of the coordinator, what was done last (`said`), or
    what a person should know."""
    if picture.link is Link.LOST:
        return Content.styled(f" {shown(picture.trouble)}", "bold $text-error")
    if said:
        return Content(f" {shown(said)}")
    found = concerns(picture.status) if picture.status is not None else ()
    texts = "; ".join(shown(each.text) for each in found)
    return Content.styled(f" {texts}", _TONES[found[0].tone]) if found else Content("")


_TAB_PADDING: Final = 2


def counts(picture: Picture, own_session: str) -> dict[Section, int]:
    """Return how much there is in the sections that say so; the view's own session is no news."""
    return {
        Section.DOCUMENTS: len(picture.documents),
        Section.SESSIONS: sum(each.id != own_session for each in picture.sessions),
        Section.LEASES: len(picture.leases),
        Section.WAITING: len(picture.violations) + len(picture.drafts),
    }


def tab_texts(chosen: Section, found: dict[Section, int], width: int) -> list[str]:
    """Return what the tabs say, in so many cells: all names with counts, or without, or numbers."""
    names = [f"{number} {section}" for number, section in enumerate(Section, 1)]
    counted = [
        f"{name} {found[section]}" if found.get(section) else name
        for name, section in zip(names, Section, strict=True)
    ]
    short = [
        whole if section is chosen else whole[0]
        for whole, section in zip(counted, Section, strict=True)
    ]
    for texts in (counted, names, short):
        if sum(len(each) + _TAB_PADDING for each in texts) <= width:
            return texts
    return [each[0] for each in names]


def rows_of(
    section: Section, picture: Picture, now_ms: int, *, wanted: str, own_session: str
) -> tuple[Row, ...]:
    """Return the rows of a section; `wanted` is a part of the documents' paths."""
    match section:
        case Section.DOCUMENTS:
            return document_rows(picture.documents.values(), now_ms, wanted)
        case Section.ACTIVITY:
            return activity_rows(_entries(picture), now_ms)
        case Section.SESSIONS:
            if picture.status is None:
                return ()
            now = now_of(
                picture.status,
                picture.sessions,
                picture.leases,
                _entries(picture),
                own_session=own_session,
            )
            return session_rows(now.workers)
        case Section.LEASES:
            return lease_rows(picture.leases, picture.waiters)
        case Section.WAITING:
            return waiting_rows(picture.violations, picture.drafts, now_ms)
        case Section.BRIEFING:
            return ()


def _entries(picture: Picture) -> tuple[LogEntry, ...]:
    """Return what happened, without what the coordinator writes by itself."""
    return tuple(
        entry for entry in picture.recent if entry.actor is not Actor.SYSTEM or not entry.revision
    )
