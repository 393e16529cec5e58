"""Commands about writes that did not fit: drafts, drafts show, drafts discard, accept."""

from __future__ import annotations

from collections.abc import Sequence

import click

from agent_trace.client import Agent
from agent_trace.results import Written
from agent_trace_protocol import DraftInfo, DraftReport, DraftText, InvalidRequest, NotFound

from .completing import AUTHOR, DOCUMENT, DRAFT
from .face import Face, durability_option, global_options, message_option, pass_face
from .failures import hinting
from .output import emit_json, emit_lines, emit_table, local_time, shown, size
from .written import run_writing

__all__ = ["COMMANDS"]

_HINT = "list the drafts there are with: agent-trace drafts"


@click.group(invoke_without_command=True)
@click.option("-n", "--limit", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--author", default="", type=AUTHOR, help="Only this agent's or user's.")
@click.option("--path", default="", type=DOCUMENT, help="Only those with a text of this document.")
@global_options
@click.pass_context
def drafts(context: click.Context, limit: int, author: str, path: str) -> None:
    """List texts that were kept, not written.

    A write whose document had moved on, or that a lease kept out, changes nothing, and its text is
    kept until it is accepted or discarded. An agent sees its own, a user all.
    """
    if context.invoked_subcommand is not None:
        return
    face = context.find_root().ensure_object(Face)
    target = face.document_path(path) if path else ""

    async def work(agent: Agent) -> tuple[DraftInfo, ...]:
        return await agent.drafts(limit=limit, author=author, path=target)

    listed = face.run(work)
    if face.json:
        emit_lines(listed)
        return
    if not listed:
        click.echo("no drafts wait", err=True)
        return
    rows = [
        (
            each.id,
            local_time(each.time_ms),
            f"{each.actor.value} {each.author}",
            f"{face.path_here(each.path)}@{each.base_revision}"
            + (f" and {each.texts - 1} more" if each.texts > 1 else ""),
            str(each.current or "gone"),
            each.code.value,
            size(each.size),
            "yes" if each.merges else "no",
        )
        for each in listed
    ]
    emit_table(("ID", "TIME", "WHO", "PATH", "NOW AT", "WHY", "SIZE", "MERGES"), rows)


@drafts.command()
@click.argument("draft", metavar="ID", type=DRAFT)
@click.option("--text", is_flag=True, help="Print the text that is kept, and nothing else.")
@click.option(
    "--path", default="", type=DOCUMENT, help="With --text: which one, if the draft has several."
)
@global_options
@pass_face
def show(face: Face, draft: str, text: bool, path: str) -> None:
    """Show a draft: what it would change, and what others changed meanwhile."""
    target = face.document_path(path) if path else ""

    async def work(agent: Agent) -> DraftReport:
        return await agent.draft(draft)

    with hinting(NotFound, _HINT):
        report = face.run(work)
    if text:
        click.echo(_only(report, target).content, nl=False)
        return
    if face.json:
        emit_json(report)
        return
    about = report.draft
    click.echo(
        shown(
            f"{about.id}: {about.actor.value} {about.author}, {local_time(about.time_ms)}, "
            f"{about.code.value}"
        )
    )
    for each in report.texts:
        _show_text(face, each)
    for line in _next_steps(report):
        click.echo(f"next: {line}")


def _only(report: DraftReport, path: str) -> DraftText:
    """Return the one text that is meant."""
    texts = [each for each in report.texts if path in ("", each.path)]
    if len(texts) != 1:
        paths = ", ".join(each.path for each in report.texts)
        raise InvalidRequest(f"say by --path which text of {report.draft.id} is meant: {paths}")
    if not texts[0].shown:
        raise InvalidRequest(f"the texts of {report.draft.id} are too much for one answer")
    return texts[0]


def _show_text(face: Face, text: DraftText) -> None:
    now = f"now at {text.current}" if text.current else "now gone"
    state = "merges" if text.merges else "does not merge"
    click.echo(
        shown(
            f"{text.action.value} {face.typed_path(text.path)}@{text.base_revision}, {now}, "
            f"{size(text.size)}: {state}"
        )
    )
    if text.others:
        click.echo(shown(f"-- since then, by {', '.join(text.writers) or 'nobody'}:"))
        click.echo(shown(text.others, lines=True))
    if text.diff:
        click.echo("-- what writing the draft's text as it is would change now:")
        click.echo(shown(text.diff, lines=True))


def _next_steps(report: DraftReport) -> list[str]:
    id = report.draft.id
    if report.draft.merges:
        return [f"keep both changes with: agent-trace accept {id}"]
    steps = [f"take its text with: agent-trace drafts show {id} --text"]
    if len(report.texts) == 1:
        current = report.texts[0].current
        steps.append(
            f"or put it in the place of what is there: agent-trace accept {id} "
            f"--if-revision {current}"
        )
    return [*steps, f"or let it go: agent-trace drafts discard {id}"]


@drafts.command()
@click.argument("draft", metavar="ID", type=DRAFT)
@global_options
@pass_face
def discard(face: Face, draft: str) -> None:
    """Throw a draft's text away; that there was one stays on record."""

    async def work(agent: Agent) -> None:
        await agent.discard_draft(draft)

    with hinting(NotFound, _HINT):
        face.run(work)
    if face.json:
        emit_json({"draft": draft, "discarded": True})
    else:
        click.echo(shown(f"{draft} is discarded"))


@click.command()
@click.argument("draft", metavar="ID", type=DRAFT)
@click.option(
    "--if-revision",
    type=click.IntRange(min=0),
    help="Put the draft's text in the place of this revision, which you have seen; 0: make the "
    "document anew.",
)
@durability_option
@message_option
@global_options
@pass_face
def accept(face: Face, draft: str, if_revision: int | None, durability: str, message: str) -> None:
    """Write what a draft keeps, joined with later changes.

    If the two collide it is refused, and the draft stays: see agent-trace drafts show.
    """

    async def work(agent: Agent) -> Sequence[Written]:
        done = await agent.accept(
            draft, if_revision=if_revision, durability=durability, message=message
        )
        return done.results

    with hinting(NotFound, _HINT):
        run_writing(face, durability, work)


COMMANDS = {"accept": accept, "drafts": drafts}
