"""Commands about leases: lease acquire, renew, release, ls, steal."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import click

from agent_trace.client import Agent
from agent_trace_protocol import (
    AgentTraceError,
    LeaseHeld,
    LeaseInfo,
    LeaseList,
    NotFound,
    SessionError,
)

from .completing import DOCUMENT, LEASE
from .face import Face, global_options, keeping, pass_face, run_in_session, run_kept
from .kept import open_kept
from .output import emit_json, emit_note, emit_table, shown
from .sessions import begin_kept

__all__ = ["COMMANDS", "DURATION"]

_R = TypeVar("_R")

_DURATION: Final = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,3})?)(ms|[smhd]?)")
_SECONDS: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class Duration(click.ParamType[float]):
    """A number of seconds, as people write it: 90, 2.5s, 10m, 2h, 1d."""

    name = "duration"

    def convert(
        self, value: str | float, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if not isinstance(value, str):
            return float(value)
        match = _DURATION.fullmatch(value)
        if match is None:
            self.fail(f"{value!r} is no duration; write it like 90s, 10m or 2h", param, ctx)
        return float(match[1]) * _SECONDS[match[2]]


DURATION: Final = Duration()

_ttl = click.option(
    "--ttl",
    type=DURATION,
    default="10m",
    show_default=True,
    help="How long it lasts after the session's last sign of life: its last command, if no "
    "connect --hold keeps it alive.",
)


@click.group()
def lease() -> None:
    """Leases: tell others what you work on, and be told.

    A lease belongs to the session that connect began, and ends with it. PATH may be a glob, in
    quotes: * and ? within a name, ** for any folders.
    """


async def _nothing(agent: Agent) -> None:
    """Be there, and leave."""


def _in_kept_session(face: Face, work: Callable[[Agent], Awaitable[_R]]) -> _R:
    """Run `work` in the kept session of whoever acts; one begins if there is none."""
    settings = face.settings()
    with open_kept(face.root(), settings.identity, create=True) as kept:
        assert kept is not None
        try:
            begun = begin_kept(settings, kept)
        except SessionError:
            if kept.key is None:
                kept.remove()
            raise
        try:
            done = run_kept(kept, keeping(settings, begun.key), work)
        except AgentTraceError:
            if not begun.resumed:
                # It was begun for the lease alone.
                run_in_session(keeping(settings, begun.key, keep=False), _nothing)
                kept.remove()
            raise
        if not begun.resumed:
            name = settings.identity.name
            emit_note(f"a session of {name} began; it ends with: agent-trace disconnect")
        return done


def _tell(face: Face, info: LeaseInfo) -> None:
    if face.json:
        emit_json(info)
        return
    kind = "shared lease" if info.shared else "lease"
    click.echo(shown(f"{kind} {info.token} on {face.path_here(info.path)}, {info.ttl_seconds:g} s"))


@lease.command()
@click.argument("path", type=DOCUMENT)
@click.option("--shared", is_flag=True, help="Others may hold shared leases on it too.")
@_ttl
@click.option("--wait", type=DURATION, default=0.0, help="Wait for it, at most so long.")
@global_options
@pass_face
def acquire(face: Face, path: str, shared: bool, ttl: float, wait: float) -> None:
    """Get a lease on a path or a glob."""
    target = face.document_path(path)

    async def work(agent: Agent) -> LeaseInfo:
        try:
            held = await agent.acquire(target, shared=shared, ttl_seconds=ttl)
        except LeaseHeld as error:
            if not wait:
                raise
            emit_note(f"waiting: {error.message}")
            held = await agent.acquire(target, shared=shared, ttl_seconds=ttl, wait_seconds=wait)
        return held.info

    _tell(face, _in_kept_session(face, work))


@lease.command()
@click.argument("path", type=DOCUMENT)
@_ttl
@global_options
@pass_face
def steal(face: Face, path: str, ttl: float) -> None:
    """Take a lease away from its holder. Users only.

    The holder's writes under it are refused from then on, and their texts kept.
    """
    target = face.document_path(path)

    async def work(agent: Agent) -> LeaseInfo:
        return (await agent.acquire(target, ttl_seconds=ttl, steal=True)).info

    _tell(face, _in_kept_session(face, work))


async def _token_of(face: Face, agent: Agent, argument: str) -> int:
    """Return the token that is meant: a token, or the path or glob of a lease of one's own."""
    if argument.isascii() and argument.isdigit():
        return int(argument)
    target = face.document_path(argument)
    listed = await agent.leases(session=agent.session_id)
    for info in listed.leases:
        if info.path == target:
            return info.token
    error = NotFound(f"this session has no lease on {target}")
    error.add_note("see who holds what with: agent-trace lease ls")
    raise error


@lease.command()
@click.argument("lease", metavar="TOKEN|PATH", type=LEASE)
@click.option("--ttl", type=DURATION, help="Another duration from here on.")
@global_options
@pass_face
def renew(face: Face, lease: str, ttl: float | None) -> None:
    """Let a lease last for its whole duration from now on.

    Every command of the session does so too.
    """

    async def work(agent: Agent) -> LeaseInfo:
        return await agent.renew(await _token_of(face, agent, lease), ttl_seconds=ttl)

    _tell(face, face.run(work))


@lease.command()
@click.argument("lease", metavar="TOKEN|PATH", type=LEASE)
@global_options
@pass_face
def release(face: Face, lease: str) -> None:
    """End a lease of this session."""

    async def work(agent: Agent) -> int:
        token = await _token_of(face, agent, lease)
        await agent.release(token)
        return token

    token = face.run(work)
    if face.json:
        emit_json({"token": token, "released": True})
    else:
        click.echo(f"lease {token} is released")


@lease.command()
@click.argument("path", default="", type=DOCUMENT)
@global_options
@pass_face
def ls(face: Face, path: str) -> None:
    """List the leases, and who waits for one.

    With PATH: those that cover it, or overlap the glob.
    """
    target = face.document_path(path) if path else ""

    async def work(agent: Agent) -> LeaseList:
        return await agent.leases(target)

    listed = face.run(work)
    if face.json:
        emit_json(listed)
        return
    if not listed.leases and not listed.waiters:
        click.echo("no leases", err=True)
        return
    rows = [
        (
            str(each.token),
            face.path_here(each.path),
            "shared" if each.shared else "exclusive",
            f"{each.actor.value} {each.holder}",
            each.session,
            f"{each.left_seconds:.0f} s",
        )
        for each in listed.leases
    ]
    rows += [
        (
            "waits",
            face.path_here(each.path),
            "shared" if each.shared else "exclusive",
            each.name,
            each.session,
            f"{each.left_seconds:.0f} s",
        )
        for each in listed.waiters
    ]
    emit_table(("TOKEN", "PATH", "KIND", "HOLDER", "SESSION", "LEFT"), rows)
    # Each of those who wait in a circle tells of it from its own place on.
    circles = {frozenset(each.deadlock.split(", ")): each.deadlock for each in listed.waiters}
    for circle in circles.values():
        if circle:
            emit_note(f"{circle}: one of them has to release first")


COMMANDS = {"lease": lease}
