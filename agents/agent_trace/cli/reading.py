"""Commands that change nothing: read, ls, log."""

from __future__ import annotations

import sys
from typing import Final

import click

from agent_trace.calls.following import is_beside
from agent_trace.client import Agent
from agent_trace.moments import moment
from agent_trace.results import Document
from agent_trace_protocol import (
    Action,
    Actor,
    DocumentInfo,
    DocumentType,
    InvalidRequest,
    LogEntry,
)
from agent_trace_protocol.limits import PAGE_ENTRIES_MAX

from .completing import DOCUMENT, SESSION
from .face import Face, find_trouble, following_options, global_options, pass_face
from .output import (
    Table,
    as_builtins,
    counted,
    emit_json,
    emit_lines,
    emit_note,
    emit_table,
    local_time,
    size,
)
from .revisions import number_argument, revision_option, which_revision

__all__ = ["COMMANDS"]

_PAGE_ENTRIES: Final = 100
"""Entries asked for at once when some will be left out; at least so many as are to be shown."""

_FIRST_PAGE_ENTRIES: Final = 100
"""Documents of the first page of a listing, so that its first line is there at once."""


@click.command()
@click.argument("path", metavar="PATH[@REVISION]", type=DOCUMENT)
@number_argument
@revision_option
@global_options
@pass_face
def read(face: Face, path: str, number: int | None, revision: int | None) -> None:
    """Print a document, as it is or as it was."""
    path, which = which_revision(path, number, revision)
    target = face.document_path(path)

    async def work(agent: Agent) -> Document:
        return await agent.read(target, which)

    document = face.run(work)
    if not face.json:
        click.echo(document.content, nl=False)
        return
    told = {
        name: as_builtins(getattr(document, name))
        for name in ("path", "type", "revision", "seq", "time_ms", "author")
    }
    try:
        told["text"] = document.text
    except InvalidRequest:
        told["content_base64"] = as_builtins(document.content)
    emit_json(told)


@click.command()
@click.argument("prefix", default="", type=DOCUMENT)
@click.option("--type", "kind", type=click.Choice([each.value for each in DocumentType]))
@click.option("--tag", default="", help="Only documents with this tag.")
@click.option("--all", "everything", is_flag=True, help="Also the logs of sessions.")
@global_options
@pass_face
def ls(face: Face, prefix: str, kind: str | None, tag: str, everything: bool) -> None:
    """List the documents, all or those under PREFIX.

    The first ones are shown while the others are still on their way. Logs of sessions are listed
    only with --all, --type, --tag or a PREFIX; --json always has them.
    """
    start = ""
    if prefix:
        start = face.document_path(prefix) + ("/" if prefix.endswith("/") else "")

    leaving_out = not (everything or start or kind or tag or face.json)

    async def work(agent: Agent) -> tuple[int, int]:
        count = logs = 0
        after, limit = "", _FIRST_PAGE_ENTRIES
        table = Table("PATH", "TYPE", "REV", "SIZE", "AUTHOR", "CHANGED", "TAGS")
        while True:
            page = await agent.document_page(after, limit=limit, prefix=start, type=kind, tag=tag)
            count += len(page.documents)
            listed = page.documents
            if leaving_out:
                listed = tuple(each for each in listed if each.type is not DocumentType.LOG)
                logs += len(page.documents) - len(listed)
            if face.json:
                emit_lines(listed)
            elif listed:
                table.emit([_row(face, each) for each in listed])
            sys.stdout.flush()
            if not page.more or not page.documents:
                return count, logs
            after, limit = page.documents[-1].path, PAGE_ENTRIES_MAX

    count, logs = face.run(work)
    if not count and not face.json:
        nothing = "no documents match" if start or kind or tag else "no documents yet"
        click.echo(nothing, err=True)
    if logs:
        emit_note(f"and {counted(logs, 'log')} of sessions: agent-trace ls --type log")


def _row(face: Face, document: DocumentInfo) -> tuple[str, ...]:
    return (
        face.path_here(document.path),
        document.type.value,
        str(document.revision),
        size(document.size),
        document.author,
        local_time(document.time_ms),
        " ".join(document.tags),
    )


@click.command()
@click.argument("path", required=False, type=DOCUMENT)
@click.option("-n", "--limit", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--session", default="", type=SESSION, help="Only what this session did.")
@click.option("--type", "kind", type=click.Choice([each.value for each in DocumentType]))
@click.option("--action", type=click.Choice([each.value for each in Action]))
@click.option("--since", help="Only what came after operation 42, or since 2h ago or 2026-11-22.")
@click.option("--until", help="Only what came up to operation 42, or until 2h ago or 2026-11-22.")
@click.option("--all", "everything", is_flag=True, help="Also sessions, generated documents.")
@following_options
@pass_face
def log(
    face: Face,
    path: str | None,
    limit: int,
    whose: str,
    author: str,
    session: str,
    kind: str | None,
    action: str | None,
    since: str | None,
    until: str | None,
    everything: bool,
) -> None:
    """Show what happened, newest first.

    In the store, or to one document, followed through its moves. All conditions hold before the
    limit does. When sessions began and ended, and what agent-trace itself wrote, is shown only with
    --all, --session or --action, so the numbers in SEQ may have gaps; --json always has all.
    """
    author = author or whose
    target = face.document_path(path) if path else None
    hiding = not (everything or session or action or target or kind or face.json)
    hiding = hiding and author != Actor.SYSTEM
    # Said once, so that all pages are about the same times.
    first, last = moment(since), moment(until, end=True)

    async def work(agent: Agent) -> tuple[list[LogEntry], bool, str]:
        entries: list[LogEntry] = []
        count = max(limit, _PAGE_ENTRIES) if hiding else limit
        before: int | None = None
        hidden = False
        while True:
            # Only entries that are left out make a second question necessary.
            page = await agent.log(
                target,
                limit=count,
                before=before,
                author=author,
                session=session,
                action=action,
                type=kind,
                since=first,
                until=last,
            )
            kept = [each for each in page if not (hiding and is_beside(each))]
            hidden = hidden or len(kept) < len(page)
            entries += kept[: limit - len(entries)]
            if len(page) < count or len(entries) == limit:
                break
            before = page[-1].seq
        behind = not face.json and not all(each.commit for each in entries)
        return entries, hidden, await find_trouble(agent) if behind else ""

    entries, hidden, trouble = face.run(work)
    if face.json:
        emit_lines(entries)
        return
    if not entries:
        if hidden:
            click.echo("only sessions began and ended; --all shows all there is", err=True)
        elif target or author or session or action or kind or since or until:
            click.echo("no entries match", err=True)
        else:
            click.echo("nothing happened yet", err=True)
        return
    rows = [
        (
            str(each.seq),
            local_time(each.time_ms),
            each.author,
            each.action.value,
            face.path_here(each.path) + (f"@{each.revision}" if each.revision else ""),
            f"+{each.added} -{each.removed}" if each.revision else "",
            each.commit[:10],
            each.summary + (f" -- {each.message}" if each.message else ""),
        )
        for each in entries
    ]
    emit_table(("SEQ", "TIME", "AUTHOR", "ACTION", "DOCUMENT", "LINES", "COMMIT", ""), rows)
    if not all(each.commit for each in entries):
        reason = f": {trouble}" if trouble else ""
        emit_note(
            f"entries without a commit are durable in the journal; git follows when it can{reason}"
        )


COMMANDS = {"read": read, "ls": ls, "log": log}
