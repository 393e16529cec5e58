"""Commands for agent hosts: setup, and the hook that setup installs in them."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any, Final, cast

import anyio
import click

from agent_trace.client import connect_with
from agent_trace.config import AGENT_VARIABLE, Identity, Settings, find_target
from agent_trace.errors import StoreNotFound
from agent_trace.hosts import HOSTS, Done, Host, Plan, Scope, Step, plan, plan_removal
from agent_trace.loop import run
from agent_trace.naming import host_agent_name, memorable_name
from agent_trace_protocol import Actor, SessionKind

from .face import Face, global_options, pass_face
from .output import emit_json, emit_table, shown

__all__ = ["COMMANDS"]

_log = logging.getLogger("agent_trace.cli.hosts")

HOOK_SECONDS_MAX: Final = 3.0
"""How long the hook may take to get its answer; the host's session waits for it."""

HOOK_GRACE_SECONDS: Final = 2
"""How long it may take to end after that; then it ends wherever it is."""

_INPUT_SECONDS_MAX: Final = 0.5
_INPUT_BYTES_MAX: Final = 1 << 20

_STATES: Final = {
    (Done.NOTHING, False): "in place",
    (Done.TO_DO, False): "missing",
    (Done.NOTHING, True): "not there",
    (Done.TO_DO, True): "to be removed",
    (Done.WRITTEN, False): "written",
    (Done.WRITTEN, True): "removed",
    (Done.BY_PROGRAM, False): "added by the host's program",
    (Done.BY_PROGRAM, True): "removed by the host's program",
}


@click.command()
@click.argument("hosts", nargs=-1, metavar="[HOST]...", type=click.Choice(list(HOSTS)))
@click.option(
    "--scope",
    type=click.Choice([each.value for each in Scope]),
    default=Scope.USER.value,
    show_default=True,
    help="For all your projects, or for everybody who works on the one in the current directory.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--check", is_flag=True, help="Say whether all is in place; exit code 1 if not.")
@click.option("--remove", is_flag=True, help="Take away what setup has added, and nothing else.")
@click.option("--no-hooks", is_flag=True, help="Install no hook that briefs each new session.")
@click.option(
    "--instructions", is_flag=True, help="Add a marked block to the host's CLAUDE.md or AGENTS.md."
)
@global_options
@pass_face
def setup(
    face: Face,
    hosts: tuple[str, ...],
    scope: str,
    dry_run: bool,
    check: bool,
    remove: bool,
    no_hooks: bool,
    instructions: bool,
) -> int:
    """Tell agent hosts about agent-trace.

    Their agents have its tools then.

    Without a HOST, show which are set up. With --store, the hosts use that store; otherwise the
    one that they work in.
    """
    if sum((dry_run, check, remove and not dry_run)) > 1:
        raise click.UsageError("--check goes with neither --dry-run nor --remove")
    wanted = Scope(scope)
    store = _store_of(face) if face.store else ""
    plans: list[Plan] = []
    for name in hosts or HOSTS:
        host = HOSTS[name]
        if not hosts and host.servers.path(wanted, Path.cwd()) is None:
            continue
        # All of them are judged before the first file is written.
        if remove:
            plans.append(plan_removal(host, wanted, Path.cwd()))
        else:
            plans.append(
                plan(
                    host,
                    wanted,
                    Path.cwd(),
                    store=store,
                    hooks=not no_hooks,
                    instructions=instructions,
                )
            )
    looking = check or dry_run or not hosts
    if not hosts and remove:
        raise click.UsageError("name the hosts to remove it from")
    reports: list[dict[str, object]] = []
    missing = False
    for each in plans:
        states = each.state() if looking else each.carry_out()
        missing = missing or Done.TO_DO in states
        reports += [
            _report(each, step, state) for step, state in zip(each.steps, states, strict=True)
        ]
    if face.json:
        emit_json(reports)
    else:
        _show(plans, reports, dry_run=dry_run, done=not looking)
    return 1 if check and missing else 0


def _store_of(face: Face) -> str:
    root, _ = find_target(face.store)
    if root is None:
        raise click.UsageError("--store names a directory here, not an address")
    return str(root)


def _report(made: Plan, step: Step, state: Done) -> dict[str, object]:
    return {
        "host": made.host.name,
        "what": step.what.value,
        "state": _STATES[state, made.removing],
        "path": str(step.path),
        "program": list(step.program) if state is Done.TO_DO else [],
    }


def _show(
    plans: list[Plan], reports: list[dict[str, object]], *, dry_run: bool, done: bool
) -> None:
    columns = ("host", "what", "state", "path")
    emit_table(
        [each.upper() for each in columns],
        [[str(report[each]) for each in columns] for report in reports],
    )
    if dry_run:
        for report in reports:
            program = cast("list[str]", report["program"])
            if program:
                click.echo(shown(f"would run: {' '.join(program)}"))
        for made in plans:
            for change in made.changes():
                click.echo(shown(change.diff(), lines=True), nl=False)
    if done:
        for made in plans:
            for note in () if made.removing else made.host.notes:
                click.echo(f"note: {note}", err=True)


# -- the hook ----------------------------------------------------------------------------------


@click.command(hidden=True)
@click.argument("host")
@global_options
@pass_face
def hook(face: Face, host: str) -> int:
    """Brief a session of an agent host that begins; hosts run this by themselves.

    Whatever goes wrong, it says nothing and ends with 0: a host must not fail for its briefing.
    """
    signal.signal(signal.SIGALRM, _end_at_once)
    signal.setitimer(signal.ITIMER_REAL, HOOK_SECONDS_MAX + HOOK_GRACE_SECONDS)
    try:
        text = _brief(face, host, _read_event())
        if text:
            click.echo(_answer(HOSTS.get(host), text))
    except Exception as error:  # top level: the host goes on without a briefing
        _log.debug("no briefing: %s", error, exc_info=error)
    return 0


def _end_at_once(number: int, frame: object) -> None:
    os._exit(0)


def _read_event() -> dict[str, Any]:
    """Return what the host says on standard input, if it says anything soon."""
    data = b""
    if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
        return {}
    descriptor = sys.stdin.fileno()
    while len(data) < _INPUT_BYTES_MAX:
        ready, _, _ = select.select([descriptor], [], [], _INPUT_SECONDS_MAX)
        part = os.read(descriptor, 1 << 16) if ready else b""
        if not part:
            break
        data += part
    try:
        event: object = json.loads(data)
    except ValueError:
        return {}
    return cast("dict[str, Any]", event) if isinstance(event, dict) else {}


def _brief(face: Face, host: str, event: dict[str, Any]) -> str:
    directory = face.store or event.get("cwd") or None
    try:
        root, endpoint = find_target(directory if isinstance(directory, str) else None)
    except StoreNotFound:
        return ""
    settings = Settings(
        identity=_identity(face, host, event),
        root=root,
        endpoint=endpoint,
        kind=SessionKind.CLI,
        program=f"agent-trace hook {host}",
        ephemeral=True,
        reconnect_seconds=0.0,
    )

    async def main() -> str:
        with anyio.move_on_after(HOOK_SECONDS_MAX):
            async with connect_with(settings) as agent:
                return shown((await agent.briefing()).text, lines=True)
        return ""

    return run(main)


def _identity(face: Face, host: str, event: dict[str, Any]) -> Identity:
    """Return whose briefing it is: the agent that the commands of the host's session act as."""
    session = event.get("session_id") or event.get("conversation_id")
    if face.agent or os.environ.get(AGENT_VARIABLE) or not isinstance(session, str):
        return face.identity()
    variables = {"claude": "CLAUDE_CODE_SESSION_ID", "codex": "CODEX_THREAD_ID"}
    named = host_agent_name({variables[host]: session}) if host in variables else None
    return Identity(Actor.AGENT, named or memorable_name(f"{host}={session}"))


def _answer(host: Host | None, text: str) -> str:
    """Return the text as the host wants to hear it."""
    if host is None or host.hook_style is None:
        return text
    return json.dumps(host.hook_style.answer(text), ensure_ascii=False)


COMMANDS = {"setup": setup, "hook": hook}
