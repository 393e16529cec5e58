"""Commands that keep documents in order: info, tag, describe, untrack, replace."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

import click

from agent_trace.client import Agent
from agent_trace.results import Replacements, Transaction, Written
from agent_trace_protocol import DiffReport, DocumentReport, DocumentType, TouchInfo, Untrack

from .completing import DOCUMENT
from .face import Face, durability_option, global_options, message_option, pass_face
from .history import emit_diff, progress
from .output import as_builtins, counted, emit_json, emit_note, local_time, shown, size
from .written import run_one, run_writing

__all__ = ["COMMANDS"]

_SESSIONS_SHOWN: Final = 10


@click.command()
@click.argument("path", type=DOCUMENT)
@global_options
@pass_face
def info(face: Face, path: str) -> None:
    """Show all that is known of a document except its content."""
    target = face.document_path(path)

    async def work(agent: Agent) -> DocumentReport:
        return await agent.info(target)

    report = face.run(work)
    if face.json:
        emit_json(report)
        return
    document = report.document
    changed = local_time(document.time_ms)
    rows = [
        ("document", f"{face.path_here(document.path)}{' (deleted)' if report.deleted else ''}"),
        ("type", document.type.value),
        ("id", str(document.id)),
        ("revision", f"{document.revision}, by {document.author}, {changed}, "
         f"operation {document.seq}"),
        ("created", f"by {report.created_by}, {local_time(report.created_ms)}, "
         f"operation {report.created_seq}"),
        ("size", f"{size(document.size)}, {counted(report.lines, 'line')}"),
        ("tags", " ".join(document.tags)),
        ("description", document.description),
    ]  # fmt: skip
    rows += [("touched by", _touch(each)) for each in report.sessions[:_SESSIONS_SHOWN]]
    left = len(report.sessions) - _SESSIONS_SHOWN
    if left > 0:
        rows.append(("", f"and {counted(left, 'session')} before; --json has them"))
    if not report.sessions_complete:
        rows.append(("", "and others, in revisions too old to be looked at"))
    rows += [
        ("lease", f"{each.token} on {face.path_here(each.path)}, held by {each.holder} for another "
         f"{each.left_seconds:.0f} s")
        for each in report.leases
    ]  # fmt: skip
    rows += [
        ("unlocked", f"for {each.agent or 'all agents'}, another {each.seconds_left:.0f} s")
        for each in report.grants
    ]
    rows += [
        ("drafts", ", ".join(report.drafts)),
        ("refused", ", ".join(report.violations)),
    ]
    for name, text in rows:
        if text:
            click.echo(f"{name:<12} {shown(text)}")


def _touch(touched: TouchInfo) -> str:
    where = f"session {touched.session}" if touched.session else "in the file itself"
    count = counted(touched.revisions, "revision")
    return f"{touched.author}, {where}: {count}, the last @{touched.last_revision}"


# Without -h and -m, so that every word with a - before it is a tag to remove.
@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
@click.argument("path", type=DOCUMENT)
@click.argument("tags", metavar="[+TAG|-TAG]...", nargs=-1, type=click.UNPROCESSED)
@click.option("--message", default="", help="One line about why.")
@durability_option
@global_options
@pass_face
def tag(face: Face, path: str, tags: tuple[str, ...], message: str, durability: str) -> None:
    """Give a document tags or take them away.

    +TAG gives it one, -TAG takes one from it. Without any, its tags are shown.
    """
    target = face.document_path(path)
    if not tags:

        async def look(agent: Agent) -> DocumentReport:
            return await agent.info(target)

        found = face.run(look).document.tags
        if face.json:
            emit_json(found)
        elif found:
            click.echo("\n".join(found))
        else:
            emit_note(f"{target} has no tags; give it one with: agent-trace tag {path} +TAG")
        return
    if any(each.startswith("--") for each in tags):
        raise click.UsageError(f"no such option: {next(t for t in tags if t.startswith('--'))}")
    added = [each.removeprefix("+") for each in tags if not each.startswith("-")]
    removed = [each[1:] for each in tags if each.startswith("-")]

    async def work(agent: Agent) -> Written:
        return await agent.tag(target, added, removed, durability=durability, message=message)

    run_one(face, durability, work)


@click.command()
@click.argument("path", type=DOCUMENT)
@click.argument("description")
@durability_option
@message_option
@global_options
@pass_face
def describe(face: Face, path: str, description: str, durability: str, message: str) -> None:
    """Say what a document is for.

    On one line; an empty one takes the description away.
    """
    target = face.document_path(path)

    async def work(agent: Agent) -> Written:
        return await agent.describe(target, description, durability=durability, message=message)

    run_one(face, durability, work)


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=DOCUMENT)
@durability_option
@message_option
@global_options
@pass_face
def untrack(face: Face, paths: tuple[str, ...], durability: str, message: str) -> None:
    """End documents and leave their files.

    All of them or none. The files are nobody's business from then on; the history stays.
    """
    operations = [Untrack(face.document_path(path)) for path in paths]

    async def work(agent: Agent) -> Sequence[Written]:
        done = await agent.transact(operations, durability=durability, message=message)
        return done.results

    run_writing(face, durability, work)


@click.command()
@click.argument("find")
@click.argument("replacement", metavar="REPLACE")
@click.option("--regex", is_flag=True, help="FIND is a regular expression; \\1 is its first group.")
@click.option("--type", "kind", type=click.Choice([each.value for each in DocumentType]))
@click.option("--path", "pattern", default="**", help="Only documents that this glob matches.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@durability_option
@message_option
@global_options
@pass_face
def replace(
    face: Face,
    find: str,
    replacement: str,
    regex: bool,
    kind: str | None,
    pattern: str,
    dry_run: bool,
    yes: bool,
    durability: str,
    message: str,
) -> None:
    """Replace text in many documents at once.

    It is one transaction and one commit. Shows the diff and asks first. Documents that you may not
    write are left out.
    """
    if not (dry_run or yes) and (face.json or not sys.stdin.isatty()):
        raise click.UsageError("nobody can be asked here: say --yes, or --dry-run to look first")

    async def look(agent: Agent) -> tuple[Replacements, list[DiffReport]]:
        plan = await agent.find_replacements(
            find, replacement, regex=regex, type=kind, path=pattern, on_progress=told_of
        )
        diffs = [await agent.diff(each.path, each.revision, text=each.after) for each in plan.found]
        return plan, diffs

    with progress(face) as told_of:
        plan, diffs = face.run(look)
    told = [
        {"path": each.path, "revision": each.revision, "count": each.count, "diff": report.diff}
        for each, report in zip(plan.found, diffs, strict=True)
    ]
    if not face.json:
        for report in diffs:
            emit_diff(report, f"{report.new_path} replaced")
        for path in plan.protected:
            emit_note(f"{path} is left out: you may not write it")
    if dry_run or not plan.found:
        if face.json:
            emit_json({"found": told, "protected": plan.protected, "seq": 0, "commit": ""})
        else:
            emit_note(_summary(plan))
        return
    if not yes:
        click.confirm(f"{_summary(plan)}; write it?", abort=True, err=True)

    async def work(agent: Agent) -> Transaction:
        return await agent.apply_replacements(plan, durability=durability, message=message)

    done = face.run(work)
    if face.json:
        made = {"seq": done.seq, "commit": done.commit, "results": as_builtins(done.results)}
        emit_json({"found": told, "protected": plan.protected, **made})
        return
    commit = f", commit {done.commit[:10]}" if done.commit else ""
    click.echo(f"{_summary(plan)}, operation {done.seq}{commit}")


def _summary(plan: Replacements) -> str:
    if not plan.found:
        return "nothing to replace"
    times = sum(each.count for each in plan.found)
    return f"{counted(times, 'replacement')} in {counted(len(plan.found), 'document')}"


COMMANDS = {
    "info": info,
    "tag": tag,
    "describe": describe,
    "untrack": untrack,
    "replace": replace,
}
