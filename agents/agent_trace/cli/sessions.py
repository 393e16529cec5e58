"""Commands about sessions: connect, disconnect, sessions."""

from __future__ import annotations

import click

from agent_trace.client import Agent, new_key
from agent_trace.config import AGENT_VARIABLE, Identity
from agent_trace_protocol import Actor, AgentBusy, SessionError, SessionInfo, session_id_of

from .face import Face, global_options, keeping, pass_face, run_in_session
from .kept import open_kept
from .output import emit_json, emit_lines, emit_table

__all__ = ["COMMANDS"]


async def _nothing(agent: Agent) -> str:
    return agent.predecessor


@click.command()
@click.option("--takeover", is_flag=True, help="Supersede a live session of the same agent.")
@global_options
@pass_face
def connect(face: Face, takeover: bool) -> None:
    """Begin a session that outlives this command.

    Later commands of the same name are part of it until disconnect. It ends by itself when no
    command was run for half an hour.
    """
    settings = face.settings()
    root = face.root()
    identity = settings.identity
    with open_kept(root, identity, create=True) as kept:
        assert kept is not None
        key = kept.key
        predecessor: str | None = None
        if key is not None:
            try:
                predecessor = run_in_session(keeping(settings, key, takeover=takeover), _nothing)
            except AgentBusy:
                raise
            except SessionError:
                # It has ended meanwhile, so a new one begins.
                key = None
        resumed = key is not None
        if key is None:
            key = new_key()
            kept.keep(key)
            try:
                predecessor = run_in_session(keeping(settings, key, takeover=takeover), _nothing)
            except AgentBusy:
                kept.remove()
                raise
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
        return
    state = "is connected already" if resumed else "is connected"
    click.echo(f"{_who(identity)} {state}: session {session}")
    if predecessor and not resumed:
        click.echo(f"it follows session {predecessor}")
    if identity.actor is Actor.AGENT:
        click.echo(f"next: export {AGENT_VARIABLE}={identity.name}, then agent-trace write, read")
    click.echo("end it with: agent-trace disconnect")


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


@click.command()
@global_options
@pass_face
def sessions(face: Face) -> None:
    """List the sessions that the coordinator knows, live ones first."""

    async def work(agent: Agent) -> tuple[SessionInfo, ...]:
        return await agent.sessions()

    listed = face.run(work)
    if face.json:
        emit_lines(listed)
        return
    rows = [
        (
            each.id,
            each.actor.value,
            each.name,
            each.state.value,
            f"{each.idle_seconds:.0f} s",
            each.kind.value,
            each.program,
            f"{each.host}:{each.pid}",
        )
        for each in listed
    ]
    emit_table(("SESSION", "ACTOR", "NAME", "STATE", "IDLE", "KIND", "PROGRAM", "HOST:PID"), rows)


def _who(identity: Identity) -> str:
    return f"{identity.actor.value} {identity.name}"


COMMANDS = {"connect": connect, "disconnect": disconnect, "sessions": sessions}
