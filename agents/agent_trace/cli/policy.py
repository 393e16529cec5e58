"""Commands about rights and refused writes: permissions, unlock, lock, reclassify, violations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import click

from agent_trace.client import Agent
from agent_trace.results import Written
from agent_trace_protocol import (
    Conflict,
    DocumentType,
    PermissionReport,
    ViolationInfo,
    ViolationReport,
)
from agent_trace_protocol.limits import UNLOCK_SECONDS_MAX

from .completing import DOCUMENT, VIOLATION
from .face import Face, durability_option, global_options, message_option, pass_face
from .failures import hinting
from .output import emit_json, emit_lines, emit_table, local_time, shown, size
from .written import run_one, run_writing

__all__ = ["COMMANDS"]

_APPLY_HINT: Final = (
    "see both with: agent-trace violations show ID, agent-trace read PATH; to put the refused text "
    "in the place of revision N as it is: agent-trace violations apply ID --if-revision N"
)

_DURATION: Final = re.compile(r"([0-9]{1,6})([smh]?)")
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600}


class _Duration(click.ParamType[int]):
    """A number of seconds, as people write it: 90, 90s, 10m, 2h."""

    name = "duration"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        match = _DURATION.fullmatch(value)
        if match is None:
            self.fail(f"{value!r} is no duration; write it like 90s, 10m or 2h", param, ctx)
        seconds = int(match[1]) * _SECONDS[match[2]]
        if not 1 <= seconds <= UNLOCK_SECONDS_MAX:
            self.fail(
                f"an unlock lasts 1 s to {UNLOCK_SECONDS_MAX // 3600}h, not {value}; what should "
                "hold for longer is another type: agent-trace reclassify",
                param,
                ctx,
            )
        return seconds


class _Whom(click.ParamType[str]):
    """`agent` for every agent, `agent:NAME` for one."""

    name = "agent[:name]"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        kind, _, name = value.partition(":")
        if kind != "agent" or (":" in value and not name):
            self.fail(f"{value!r} names nobody; say agent, or agent:NAME", param, ctx)
        return name


_whom = click.option(
    "--for", "whom", type=_Whom(), default="agent", show_default=True, help="Which agents."
)


@click.command()
@click.argument("path", required=False, type=DOCUMENT)
@global_options
@pass_face
def permissions(face: Face, path: str | None) -> None:
    """Show what you may do, and who can grant the rest.

    With PATH: to that document, or at a path where there is none.
    """
    target = face.document_path(path) if path else ""

    async def work(agent: Agent) -> PermissionReport:
        return await agent.permissions(target)

    report = face.run(work)
    if face.json:
        emit_json(report)
        return
    where = face.path_here(report.path) or "documents of each type"
    click.echo(shown(f"as {report.actor.value}, {where}:"))
    actions = list(dict.fromkeys(each.action for each in report.entries))
    permits = {(each.type, each.action): each.permit.value for each in report.entries}
    types = list(dict.fromkeys(each.type for each in report.entries))
    rows = [
        (type.value, *(permits.get((type, action), "") for action in actions)) for type in types
    ]
    emit_table(("TYPE", *(action.upper() for action in actions)), rows)
    reasons: dict[str, list[str]] = {}
    for type in types:
        refused = [each.reason for each in report.entries if each.type is type and each.reason]
        if refused:
            # One for each type: the others differ in the name of the action only.
            reasons.setdefault(refused[0], []).append(type.value)
    for reason, refused in reasons.items():
        click.echo(shown(f"{', '.join(refused)}: {reason}"))
    for grant in report.grants:
        whom = grant.agent or "every agent"
        click.echo(
            shown(
                f"{face.path_here(grant.path)} is unlocked for {whom} by {grant.granted_by}, "
                f"{grant.seconds_left:.0f} s left"
            )
        )


@click.command()
@click.argument("path", type=DOCUMENT)
@_whom
@click.option("--duration", type=_Duration(), default="10m", show_default=True, help="How long.")
@global_options
@pass_face
def unlock(face: Face, path: str, whom: str, duration: int) -> None:
    """Let agents write a protected document for a while.

    It belongs to the document, also when that is moved, and ends by itself. Users only.
    """
    target = face.document_path(path)

    async def work(agent: Agent) -> None:
        await agent.unlock(target, agent=whom, seconds=duration)

    face.run(work)
    if face.json:
        emit_json({"path": target, "agent": whom, "seconds": duration})
    else:
        click.echo(shown(f"{target} is unlocked for {whom or 'every agent'}, {duration} s"))


@click.command()
@click.argument("path", type=DOCUMENT)
@_whom
@global_options
@pass_face
def lock(face: Face, path: str, whom: str) -> None:
    """End an unlock before its time. Users only."""
    target = face.document_path(path)

    async def work(agent: Agent) -> None:
        await agent.lock(target, agent=whom)

    face.run(work)
    if face.json:
        emit_json({"path": target, "agent": whom})
    else:
        click.echo(shown(f"{target} is locked again"))


@click.command()
@click.argument("path", type=DOCUMENT)
@click.argument("kind", metavar="TYPE", type=click.Choice([each.value for each in DocumentType]))
@durability_option
@message_option
@global_options
@pass_face
def reclassify(face: Face, path: str, kind: str, durability: str, message: str) -> None:
    """Change a document's type, and with it who may write it. Users only."""
    target = face.document_path(path)

    async def work(agent: Agent) -> Written:
        return await agent.reclassify(target, kind, durability=durability, message=message)

    run_one(face, durability, work)


@click.group(invoke_without_command=True)
@click.option("-n", "--limit", type=click.IntRange(min=1), default=50, show_default=True)
@global_options
@click.pass_context
def violations(context: click.Context, limit: int) -> None:
    """List refused writes; show, apply or discard one.

    What was refused is kept until a user applies or discards it. An agent sees its own attempts.
    """
    if context.invoked_subcommand is not None:
        return
    face = context.find_root().ensure_object(Face)

    async def work(agent: Agent) -> tuple[ViolationInfo, ...]:
        return await agent.violations(limit=limit)

    listed = face.run(work)
    if face.json:
        emit_lines(listed)
        return
    if not listed:
        click.echo("nothing was refused", err=True)
        return
    rows = [
        (
            each.id,
            local_time(each.time_ms),
            f"{each.actor.value} {each.author}",
            each.action.value,
            face.path_here(each.path),
            each.rule,
            size(each.size),
            str(each.count),
        )
        for each in listed
    ]
    emit_table(("ID", "TIME", "WHO", "ACTION", "PATH", "RULE", "KEPT", "TIMES"), rows)


@violations.command()
@click.argument("violation", metavar="ID", type=VIOLATION)
@global_options
@pass_face
def show(face: Face, violation: str) -> None:
    """Show a refused write, and what it would change."""

    async def work(agent: Agent) -> ViolationReport:
        return await agent.violation(violation)

    report = face.run(work)
    if face.json:
        emit_json(report)
        return
    about = report.violation
    click.echo(
        shown(
            f"{about.id}: {about.actor.value} {about.author} tried to {about.action.value} "
            f"{face.path_here(about.path)}, {local_time(about.time_ms)}, {about.count} times"
        )
    )
    click.echo(shown(f"rule {about.rule}: {about.reason}"))
    for text in report.texts:
        kept = "kept" if text.kept else "not kept"
        click.echo(
            shown(f"{text.action.value} {face.path_here(text.path)}: {size(text.size)}, {kept}")
        )
    if report.diff:
        click.echo(shown(report.diff, lines=True))


@violations.command()
@click.argument("violation", metavar="ID", type=VIOLATION)
@click.option(
    "--if-revision",
    type=click.IntRange(min=0),
    help="Put the refused text in the place of this revision, which you have seen; 0: make the "
    "document anew.",
)
@durability_option
@message_option
@global_options
@pass_face
def apply(
    face: Face, violation: str, if_revision: int | None, durability: str, message: str
) -> None:
    """Write what was refused, joined with what has changed since.

    If the two collide it is refused, and waits as before.
    """

    async def work(agent: Agent) -> Sequence[Written]:
        done = await agent.apply_violation(
            violation, if_revision=if_revision, durability=durability, message=message
        )
        return done.results

    with hinting(Conflict, _APPLY_HINT):
        run_writing(face, durability, work)


@violations.command()
@click.argument("violation", metavar="ID", type=VIOLATION)
@global_options
@pass_face
def discard(face: Face, violation: str) -> None:
    """Throw a refused text away; that it was refused stays on record."""

    async def work(agent: Agent) -> None:
        await agent.discard_violation(violation)

    face.run(work)
    if face.json:
        emit_json({"violation": violation, "discarded": True})
    else:
        id = f"violation-{violation.removeprefix('violation-')}"
        click.echo(shown(f"{id} is discarded"))


COMMANDS = {
    "permissions": permissions,
    "unlock": unlock,
    "lock": lock,
    "reclassify": reclassify,
    "violations": violations,
}
