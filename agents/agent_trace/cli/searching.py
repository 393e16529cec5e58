"""`agent-trace search`: find documents, and what they once said, by words."""

from __future__ import annotations

import click

from agent_trace.client import Agent
from agent_trace_protocol import DocumentType, SearchPage

from .completing import AUTHOR
from .face import Face, global_options, pass_face
from .output import emit_json, emit_note, emit_table, local_time

__all__ = ["COMMANDS"]


@click.command()
@click.argument("words", nargs=-1, required=True)
@click.option("--type", "kind", type=click.Choice([each.value for each in DocumentType]))
@click.option("--author", default="", type=AUTHOR, help="Only what this agent or user wrote.")
@click.option("--since", metavar="TIME", help="Only what was written since: 2h, a date.")
@click.option("--until", metavar="TIME", help="Only what was written before.")
@click.option("-n", "--limit", type=click.IntRange(1, 100), default=20, show_default=True)
@click.option("--history", is_flag=True, help="Also what was added and removed in the past.")
@global_options
@pass_face
def search(
    face: Face,
    words: tuple[str, ...],
    kind: str | None,
    author: str,
    since: str | None,
    until: str | None,
    limit: int,
    history: bool,
) -> None:
    """Find documents by WORDS, the best first.

    All words must occur. "several words" in that order, begin* for a beginning, -word for one that
    must not occur (after --), this OR that for one of two.
    """

    async def work(agent: Agent) -> SearchPage:
        return await agent.search(
            " ".join(words),
            type=kind,
            author=author,
            since=since,
            until=until,
            limit=limit,
            history=history,
        )

    page = face.run(work)
    if face.json:
        emit_json(page)
        return
    if page.indexed_seq < page.seq:
        emit_note(
            f"the index is being made and has {page.indexed_seq} of {page.seq} operations; "
            "search again for the rest"
        )
    if not page.hits:
        rest = "" if history else "; --history looks at the past too"
        click.echo(f"nothing matches{rest}", err=True)
        return
    rows = [
        (
            face.path_here(hit.path) + (f"@{hit.revision}" if hit.revision else ""),
            hit.author,
            local_time(hit.time_ms),
            "" if hit.current else f"{hit.action.value} {hit.seq}",
            hit.snippet,
        )
        for hit in page.hits
    ]
    emit_table(("DOCUMENT", "AUTHOR", "TIME", "WAS", "TEXT"), rows)
    if page.more:
        emit_note("there is more; say more of what you look for, or give a higher --limit")


COMMANDS = {"search": search}
