"""What is shown of the one thing that is chosen: asked for when it is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agent_trace.client import Agent
from agent_trace.views.model import activity
from agent_trace.wording import counted, size, span
from agent_trace_protocol import (
    DraftText,
    LeaseInfo,
    LogEntry,
    NotFound,
    SessionInfo,
)

from .lines import (
    Look,
    Row,
    diff_rows,
    fact_rows,
    history_rows,
    moment,
    piece,
    text_rows,
)

__all__ = [
    "Aspect",
    "Detail",
    "briefing_detail",
    "document_detail",
    "draft_detail",
    "entry_detail",
    "lease_detail",
    "revision_detail",
    "session_detail",
    "violation_detail",
]

HISTORY_MAX = 500
"""Revisions of a document that its history shows here."""


class Aspect(StrEnum):
    """What of a document is shown."""

    CONTENT = "content"
    HISTORY = "history"
    DIFF = "diff"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Detail:
    """What stands in the pane beside the list."""

    title: str
    rows: tuple[Row, ...]


_BLANK = Row(())


def _heading(text: str) -> Row:
    return Row((piece(text, Look.HEAD),))


async def document_detail(agent: Agent, path: str, aspect: Aspect, now_ms: int) -> Detail:
    """Return one aspect of a document."""
    match aspect:
        case Aspect.CONTENT:
            document = await agent.read(path)
            title = f"{document} by {document.author}, {document.type.value}"
            return Detail(title, text_rows(document.content.decode("utf-8", "replace")))
        case Aspect.HISTORY:
            entries = await agent.log(path, limit=HISTORY_MAX)
            return Detail(f"history of {path}", history_rows(entries, now_ms))
        case Aspect.DIFF:
            return await revision_detail(agent, path, 0)
        case Aspect.INFO:
            return await _document_facts(agent, path)


async def revision_detail(agent: Agent, path: str, revision: int) -> Detail:
    """Return what made a revision of the one before it; 0 for the newest."""
    report = await agent.diff(path, new=revision or None)
    title = f"{report.new_path}@{report.new_revision} against @{report.old_revision}"
    rows = diff_rows(report.diff)
    if not rows:
        rows = (Row((piece("the texts are the same", Look.QUIET),)),)
    if report.left_out:
        rows += (Row((piece(f"... {counted(report.left_out, 'line')} left out", Look.WARNING),)),)
    return Detail(f"{title}  +{report.added} -{report.removed}", rows)


async def _document_facts(agent: Agent, path: str) -> Detail:
    report = await agent.info(path)
    document = report.document
    rows = fact_rows(
        ("path", document.path),
        ("type", document.type.value),
        ("description", document.description),
        ("tags", ", ".join(document.tags)),
        ("revision", f"{document.revision}, {moment(document.time_ms)} by {document.author}"),
        ("created", f"{moment(report.created_ms)} by {report.created_by}"),
        ("size", f"{size(document.size)}, {counted(report.lines, 'line')}"),
        ("drafts", ", ".join(report.drafts)),
        ("refused", ", ".join(report.violations)),
    )
    for lease in report.leases:
        rows += fact_rows(("lease", f"{lease.path} held by {lease.holder}, token {lease.token}"))
    for grant in report.grants:
        whom = grant.agent or "every agent"
        rows += fact_rows(
            ("unlocked", f"for {whom} by {grant.granted_by}, {span(grant.seconds_left)} left")
        )
    if report.sessions:
        rows += (_BLANK, _heading("sessions that touched it, the last one first"))
    for touch in report.sessions:
        made = f"{counted(touch.revisions, 'revision')}, the last one @{touch.last_revision}"
        rows += fact_rows((touch.author, f"{made}  {touch.session}"))
    return Detail(document.path, rows)


async def entry_detail(agent: Agent, entry: LogEntry) -> Detail:
    """Return what happened in one entry of the log, with its diff if it made a revision."""
    each = activity(entry)
    rows = fact_rows(
        ("operation", f"{entry.seq}, {moment(entry.time_ms)}"),
        ("who", f"{entry.actor.value} {entry.author}  {entry.session}"),
        ("did", f"{each.did} {each.what}"),
        ("summary", entry.summary),
        ("why", entry.message),
        ("commit", entry.commit),
    )
    if entry.revision:
        try:
            rows += (_BLANK, *(await revision_detail(agent, entry.path, entry.revision)).rows)
        except NotFound as error:
            # The document was moved since, and another is in its place.
            rows += (_BLANK, Row((piece(error.message, Look.QUIET),)))
    return Detail(f"{each.who} {each.did} {each.what}".rstrip(), rows)


async def session_detail(
    agent: Agent, session: SessionInfo, leases: tuple[LeaseInfo, ...]
) -> Detail:
    """Return who a session is, what it holds, and what it did in substance."""
    ended = f"{moment(session.ended_ms)}, {session.reason}" if session.ended_ms else ""
    rows = fact_rows(
        ("session", session.id),
        ("who", f"{session.actor.value} {session.name}"),
        ("state", session.state.value),
        ("since", moment(session.started_ms)),
        ("last seen", moment(session.last_seen_ms) if session.last_seen_ms else ""),
        ("ended", ended),
        ("program", f"{session.program} on {session.host}, pid {session.pid}"),
        ("model", session.model),
        ("by", f"{session.kind.value} over {session.transport}"),
        ("follows", session.predecessor),
    )
    for lease in leases:
        left = f"token {lease.token}, {span(lease.left_seconds)} left"
        rows += fact_rows(("lease", f"{lease.path}  {left}"))
    try:
        recap = await agent.recap(session.id)
    except NotFound:
        return Detail(f"{session.actor.value} {session.name}", rows)
    rows += (_BLANK, _heading(counted(recap.operations, "operation")))
    for part in recap.parts:
        between = f"{part.first_seq} to {part.last_seq}, until {moment(part.last_ms)}"
        rows += (Row((piece(between, Look.QUIET),)),)
        rows += tuple(Row((piece(f"  {line}"),)) for line in part.lines)
    return Detail(f"{session.actor.value} {session.name}", rows)


def lease_detail(lease: LeaseInfo) -> Detail:
    """Return what is known of a lease."""
    rows = fact_rows(
        ("path", lease.path),
        ("held by", f"{lease.actor.value} {lease.holder}  {lease.session}"),
        ("kind", "shared" if lease.shared else "exclusive"),
        ("token", str(lease.token)),
        ("granted", moment(lease.granted_ms)),
        ("lasts", f"{span(lease.left_seconds)} more, {span(lease.ttl_seconds)} after a heartbeat"),
    )
    return Detail(f"lease on {lease.path}", rows)


async def violation_detail(agent: Agent, id: str) -> Detail:
    """Return a refused write: why, and what it would have changed."""
    report = await agent.violation(id)
    about = report.violation
    rows = fact_rows(
        ("who", f"{about.actor.value} {about.author}  {about.session}"),
        ("tried to", f"{about.action.value} {about.path}, {counted(about.count, 'time')}"),
        ("when", moment(about.time_ms)),
        ("rule", about.rule),
    )
    rows += (_BLANK, _heading("what it would change"), *diff_rows(report.diff))
    if not report.diff:
        for text in report.texts:
            kept = f"{text.action.value} {text.path}, {size(text.size)}"
            rows += (Row((piece(kept if text.kept else f"{kept}, not kept", Look.QUIET),)),)
    rows += (_BLANK, *fact_rows(("why not", about.reason), ("kept", size(about.size))))
    return Detail(id, rows)


async def draft_detail(agent: Agent, id: str) -> Detail:
    """Return a write that did not fit: what it would change, and what others changed."""
    report = await agent.draft(id)
    about = report.draft
    accepting = "writes it joined with the others' changes" if about.merges else "is refused"
    rows = fact_rows(
        ("who", f"{about.actor.value} {about.author}  {about.session}"),
        ("when", moment(about.time_ms)),
        ("why", about.code.value),
        ("accepting", accepting),
    )
    for text in report.texts:
        rows += _draft_text_rows(text)
    return Detail(id, rows)


def _draft_text_rows(text: DraftText) -> tuple[Row, ...]:
    seen = f"{text.action.value} {text.path}: saw @{text.base_revision}, now @{text.current}"
    rows = (_BLANK, _heading(seen), *diff_rows(text.diff))
    if text.others:
        by = ", ".join(text.writers)
        rows += (_BLANK, _heading(f"meanwhile changed by {by}"), *diff_rows(text.others))
    return rows


async def briefing_detail(agent: Agent) -> Detail:
    """Return what an agent is told when it starts; of whoever looks."""
    briefing = await agent.briefing()
    rows = text_rows(briefing.text)
    for left_out in briefing.left_out:
        rows += (Row((piece(f"no room for {left_out.count} {left_out.what}", Look.QUIET),)),)
    return Detail(f"briefing of {agent.name} as of operation {briefing.seq}", rows)
