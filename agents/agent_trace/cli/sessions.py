"""Commands about sessions: connect, disconnect, sessions, sessions show, sessions evict."""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import anyio
import click

from agent_trace.client import Agent, new_key
from agent_trace.config import AGENT_VARIABLE, Identity, Settings
from agent_trace.host import wait_host_gone
from agent_trace_protocol import (
    Actor,
    AgentBusy,
    AgentTraceError,
    InvalidRequest,
    LeaseList,
    NotFound,
    Recap,
    SessionError,
    SessionInfo,
    SessionKey,
    SessionKind,
    SessionState,
    session_id_of,
)
from agent_trace_protocol.limits import PAGE_ENTRIES_MAX

from .completing import OPEN_SESSION, SESSION
from .face import Face, global_options, keeping, pass_face, run_in_session
from .kept import KeptFile, open_kept
from .output import emit_json, emit_lines, emit_table, local_time, shown

__all__ = ["COMMANDS", "Begun", "begin_kept"]


async def _nothing(agent: Agent) -> str:
    return agent.predecessor


@dataclass(frozen=True, slots=True)
class Begun:
    """A session that outlives the command that began it, or came back to it."""

    key: SessionKey
    resumed: bool
    predecessor: str


def begin_kept(settings: Settings, kept: KeptFile, *, takeover: bool = False) -> Begun:
    """Begin the session whose key is kept, or come back to it.

    With `takeover`, an agent's own kept session is superseded as well: its lineage and leases go to
    the new one, and whoever still has the old key can change nothing.

    Raises:
        AgentBusy: another live session holds the agent's name.
    """
    key = before = kept.key
    if key is not None and not (takeover and settings.identity.actor is Actor.AGENT):
        try:
            predecessor = run_in_session(keeping(settings, key, takeover=takeover), _nothing)
            return Begun(key, True, predecessor)
        except AgentBusy:
            raise
        except SessionError:
            # It has ended meanwhile, so a new one begins.
            pass
    key = new_key()
    kept.keep(key)
    try:
        predecessor = run_in_session(keeping(settings, key, takeover=takeover), _nothing)
    except AgentTraceError as error:
        if before is not None and takeover:
            # Nothing was taken over.
            kept.keep(before)
        elif isinstance(error, AgentBusy):
            kept.remove()
        raise
    return Begun(key, False, predecessor)


@click.command()
@click.option("--takeover", is_flag=True, help="Supersede a live session of the same agent.")
@click.option(
    "--hold",
    is_flag=True,
    help="Stay, and keep the session and its leases alive until this command is ended.",
)
@global_options
@pass_face
def connect(face: Face, takeover: bool, hold: bool) -> None:
    """Begin a session that outlives this command.

    Later commands of the same name are part of it until disconnect. It ends by itself when no
    command was run for half an hour. With --hold it ends with this command, which goes when it is
    interrupted, when its standard input is closed, or when what started it has ended.
    """
    settings = face.settings()
    if hold:
        # It heartbeats by itself, and its process is there for as long as it lives.
        settings = replace(settings, kind=SessionKind.LIBRARY)
    root = face.root()
    identity = settings.identity
    with open_kept(root, identity, create=True) as kept:
        assert kept is not None
        begun = begin_kept(settings, kept, takeover=takeover)
    key, resumed, predecessor = begun.key, begun.resumed, begun.predecessor
    session = session_id_of(key)
    if face.json:
        emit_json(
            {
                "session": session,
                "actor": identity.actor,
                "name": identity.name,
                "resumed": resumed,
                "predecessor": predecessor,
                "store": str(root),
            }
        )
        if hold:
            _hold(face, settings, key)
        return
    state = "is connected already" if resumed else "is connected"
    click.echo(f"{_who(identity)} {state}: session {session}")
    if predecessor and not resumed:
        click.echo(f"it follows session {predecessor}")
    if identity.actor is Actor.AGENT:
        click.echo(f"next: export {AGENT_VARIABLE}={identity.name}, then agent-trace write, read")
    if hold:
        click.echo("held; end it with Ctrl-C")
        _hold(face, settings, key)
        return
    click.echo("end it with: agent-trace disconnect")


def _hold(face: Face, settings: Settings, key: SessionKey) -> None:
    """Keep the session alive until its host is gone, or somebody ends this command; then end it."""
    sys.stdout.flush()

    async def work(agent: Agent) -> str:
        reasons: list[str] = []
        failures: list[AgentTraceError] = []
        async with anyio.create_task_group() as group:

            async def until(wait: Callable[[], Awaitable[str]]) -> None:
                reasons.append(await wait())
                group.cancel_scope.cancel()

            async def until_ended() -> None:
                try:
                    await agent.wait_ended()
                except AgentTraceError as error:
                    failures.append(error)
                group.cancel_scope.cancel()

            group.start_soon(until, wait_host_gone)
            group.start_soon(until, _interrupted)
            group.start_soon(until_ended)
        for error in failures:
            # Evicted or superseded: the command ends with what the session ended with.
            raise error
        return ", ".join(reasons)

    try:
        reason = run_in_session(keeping(settings, key, keep=False), work)
    finally:
        with open_kept(face.root(), settings.identity) as kept:
            if kept is not None and kept.key == key:
                kept.remove()
    click.echo(f"the session has ended: {reason}", err=True)


async def _interrupted() -> str:
    """Return when somebody asks the process to end."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async for number in signals:
            return f"interrupted by {number.name}"
    return "interrupted"


@click.command()
@global_options
@pass_face
def disconnect(face: Face) -> None:
    """End the session that connect began."""
    settings = face.settings()
    root = face.root()
    identity = settings.identity
    with open_kept(root, identity) as kept:
        key = kept.key if kept is not None else None
        ended = False
        if kept is not None and key is not None:
            # Leaving without keeping is what ends it at the coordinator.
            leaving = keeping(settings, key, keep=False)
            try:
                run_in_session(leaving, _nothing)
                ended = True
            except AgentBusy:
                raise
            except SessionError as error:
                click.echo(f"it had ended already: {error.message}", err=True)
        if kept is not None:
            kept.remove()
    session = session_id_of(key) if key is not None else ""
    if face.json:
        emit_json({"session": session, "name": identity.name, "ended": ended})
    elif key is None:
        click.echo(f"{_who(identity)} has no session to end", err=True)
    else:
        click.echo(f"{_who(identity)} is disconnected: session {session}")


@click.group(invoke_without_command=True)
@click.option("--open", "only_open", is_flag=True, help="Without those that have ended.")
@click.option(
    "-n",
    "--ended",
    "ended_count",
    type=click.IntRange(min=0, max=PAGE_ENTRIES_MAX),
    default=10,
    show_default=True,
    help="How many of those that have ended, the last ones.",
)
@global_options
@pass_face
@click.pass_context
def sessions(context: click.Context, face: Face, only_open: bool, ended_count: int) -> None:
    """List the sessions: live, stale and ended ones.

    The one that this command itself needs is left out.
    """
    if context.invoked_subcommand is None:
        _list_sessions(face, 0 if only_open else ended_count)


def _list_sessions(face: Face, ended_count: int) -> None:
    async def work(agent: Agent) -> tuple[SessionInfo, ...]:
        listed = await agent.sessions(ended=ended_count > 0)
        own = agent.session_id if face.one_shot else ""
        found = [each for each in listed if each.id != own]
        open_ones = [each for each in found if each.state is not SessionState.ENDED]
        ended = [each for each in found if each.state is SessionState.ENDED]
        return (*open_ones, *ended[:ended_count])

    listed = face.run(work)
    if face.json:
        emit_lines(listed)
        return
    if not listed:
        click.echo("no sessions", err=True)
        return
    rows = [
        (
            each.id,
            each.actor.value,
            each.name,
            each.state.value,
            local_time(each.ended_ms) if each.ended_ms else f"{each.idle_seconds:.0f} s ago",
            each.kind.value,
            each.program,
            f"{each.host}:{each.pid}",
            str(each.leases or ""),
        )
        for each in listed
    ]
    header = ("SESSION", "ACTOR", "NAME", "STATE", "SEEN", "KIND", "PROGRAM", "HOST:PID", "LEASES")
    emit_table(header, rows)


async def _find_session(agent: Agent, id: str, *, ended: bool) -> SessionInfo:
    """Return the one session whose id begins with `id`.

    Raises:
        NotFound: there is none.
        InvalidRequest: there are several.
    """
    found = list(await agent.sessions(id=id, ended=ended))
    if not found:
        raise NotFound(f"there is no {'' if ended else 'open '}session {id}")
    if len(found) > 1:
        some = ", ".join(f"{each.id} ({each.name}, {each.state.value})" for each in found[:5])
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise InvalidRequest(
            f"{len(found)} sessions begin with {id}; give more of the id: {some}{more}"
        )
    return found[0]


@sessions.command()
@click.argument("session", metavar="ID", type=SESSION)
@global_options
@pass_face
def show(face: Face, session: str) -> None:
    """Show everything about one session.

    ID is a session's id, or as much of its beginning as makes it the only one.
    """

    async def work(agent: Agent) -> tuple[SessionInfo, LeaseList, Recap]:
        info = await _find_session(agent, session, ended=True)
        leases = await agent.leases(session=info.id)
        try:
            return info, leases, await agent.recap(info.id)
        except NotFound:
            # One that has changed nothing is on no record.
            return info, leases, Recap(info.id, 0, ())

    info, leases, recap = face.run(work)
    if face.json:
        emit_json({"session": info, "leases": leases.leases, "recap": recap})
        return
    seen = local_time(info.last_seen_ms) if info.last_seen_ms else ""
    if not info.ended_ms:
        seen = f"{seen}, {info.idle_seconds:.0f} s ago"
    rows = [
        ("session", info.id),
        ("who", f"{info.actor.value} {info.name}"),
        ("state", info.state.value),
        ("began", local_time(info.started_ms)),
        ("last seen", seen),
        ("ended", f"{local_time(info.ended_ms)}: {info.reason}" if info.ended_ms else ""),
        ("kind", f"{info.kind.value}{f' over {info.transport}' if info.transport else ''}"),
        ("program", info.program),
        ("model", info.model),
        ("process", f"{info.pid or 'unknown'} on {info.host or 'an unnamed host'}"),
        ("follows", info.predecessor),
    ]
    for name, text in rows:
        if text:
            click.echo(shown(f"{name:<12} {text}"))
    for lease in leases.leases:
        click.echo(shown(f"{'lease':<12} {lease.token} on {face.path_here(lease.path)}"))
    if recap.operations:
        click.echo(f"{'operations':<12} {recap.operations}")
    for part in recap.parts:
        stretch = f"{local_time(part.first_ms)} to {local_time(part.last_ms)}"
        click.echo(f"\n{stretch}, operations {part.first_seq} to {part.last_seq}:")
        for line in part.lines:
            click.echo(shown(f"  {line}"))


@sessions.command()
@click.argument("session", metavar="ID", type=OPEN_SESSION)
@click.option("-m", "--message", default="", help="One line about why.")
@global_options
@pass_face
def evict(face: Face, session: str, message: str) -> None:
    """End somebody's session. Users only.

    Its leases are free at once, and its process can change nothing any more.
    """

    async def work(agent: Agent) -> SessionInfo:
        info = await _find_session(agent, session, ended=False)
        await agent.evict(info.id, reason=message)
        return info

    info = face.run(work)
    if face.json:
        emit_json({"session": info.id, "name": info.name, "evicted": True})
    else:
        click.echo(shown(f"{info.actor.value} {info.name} is evicted: session {info.id}"))


def _who(identity: Identity) -> str:
    return f"{identity.actor.value} {identity.name}"


COMMANDS = {"connect": connect, "disconnect": disconnect, "sessions": sessions}
