"""Commands that follow what happens: events, wait.

They have a session of their own: a kept one is for one command at a time, and these take long.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TextIO

import anyio
import click

from agent_trace.calls.following import CHANGES, POLL_SECONDS
from agent_trace.client import Agent
from agent_trace_protocol import Action, AgentTraceError, EventPage, LogEntry

from .completing import DOCUMENT
from .face import Face, following_options, pass_face, run_in_session
from .leases import DURATION
from .output import as_builtins, emit_json, local_time, shown

__all__ = ["COMMANDS", "show_event", "while_read"]

EXIT_NOTHING_CHANGED: Final = 1


def show_event(face: Face, event: LogEntry) -> None:
    """Print one event."""
    if face.json:
        emit_json(event)
        return
    document = face.path_here(event.path) + (f"@{event.revision}" if event.revision else "")
    lines = f"+{event.added} -{event.removed}" if event.revision else ""
    words = (
        str(event.seq),
        local_time(event.time_ms),
        event.author,
        event.action.value,
        document,
        lines,
        event.summary + (f" -- {event.message}" if event.message else ""),
    )
    click.echo(shown("  ".join(word for word in words if word)))


async def while_read(work: Callable[[], Awaitable[None]], output: TextIO) -> None:
    """Do something for as long as somebody reads what it writes.

    Raises:
        BrokenPipeError: its reader is gone, be there something to write or not.
    """
    failures: list[AgentTraceError | OSError] = []
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            await _reader_gone(output.fileno())
            failures.append(BrokenPipeError(errno.EPIPE, "nobody reads the output"))
            group.cancel_scope.cancel()

        if _is_pipe(output):
            group.start_soon(watch)
        try:
            await work()
        except (AgentTraceError, OSError) as error:
            # A task group would wrap it.
            failures.append(error)
        group.cancel_scope.cancel()
    for failure in failures:
        raise failure


def _is_pipe(stream: TextIO) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)
    except OSError:
        return False


async def _reader_gone(descriptor: int) -> None:
    """Return when the other end of a pipe that is written to was closed."""
    # The end that is written to never has anything to read: what wakes it is the error.
    await anyio.wait_readable(descriptor)


@click.command()
@click.option("--since", type=click.IntRange(min=0), help="Only what came after operation SINCE.")
@click.option("--follow", "-f", is_flag=True, help="Go on, and wait for what comes.")
@click.option("--path", default="", type=DOCUMENT, help="Only what concerns this path or glob.")
@click.option("--action", "actions", multiple=True, type=click.Choice([*map(str, Action)]))
@following_options
@pass_face
def events(
    face: Face,
    since: int | None,
    follow: bool,
    path: str,
    whose: str,
    author: str,
    actions: tuple[str, ...],
) -> None:
    """Show what happens, oldest first, without gaps.

    Without --since: everything, or with --follow what happens from now on.
    """
    target = face.document_path(path) if path else ""

    async def tell(agent: Agent) -> None:
        told = agent.events(
            since, follow=follow, path=target, author=whose or author, actions=actions
        )
        async for event in told:
            show_event(face, event)
            sys.stdout.flush()

    async def work(agent: Agent) -> None:
        await while_read(partial(tell, agent), sys.stdout)

    run_in_session(face.settings(), work)


@click.command()
@click.argument("path", default="", type=DOCUMENT)
@click.option("--since", type=click.IntRange(min=0), help="The cursor of the last wait; else now.")
@click.option("--timeout", type=DURATION, help="Give up after so long, with exit code 1.")
@following_options
@pass_face
def wait(
    face: Face, path: str, since: int | None, timeout: float | None, whose: str, author: str
) -> None:
    """Wait until a document changes.

    PATH is a document or a glob; any document if it is not given. Says what changed, and the cursor
    with which the next wait misses nothing.
    """
    target = face.document_path(path) if path else ""

    async def work(agent: Agent) -> EventPage:
        cursor = agent.seq if since is None else since
        with anyio.move_on_after(timeout):
            while True:
                page = await agent.event_page(
                    cursor,
                    wait_seconds=POLL_SECONDS,
                    path=target,
                    author=whose or author,
                    actions=CHANGES,
                )
                if page.events:
                    return page
                cursor = page.cursor
        return EventPage((), cursor, False)

    page = run_in_session(face.settings(), work)
    if face.json:
        emit_json({"cursor": page.cursor, "events": [as_builtins(each) for each in page.events]})
    else:
        for event in page.events:
            show_event(face, event)
        what = "next" if page.events else "nothing changed; go on with"
        click.echo(f"{what}: agent-trace wait --since {page.cursor}", err=True)
    if not page.events:
        sys.exit(EXIT_NOTHING_CHANGED)


COMMANDS = {"events": events, "wait": wait}
