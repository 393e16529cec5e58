"""`agent-trace open`: the view in a terminal."""

from __future__ import annotations

import sys
from dataclasses import replace

import click

from agent_trace.loop import run
from agent_trace_protocol import InvalidRequest, SessionKind

from .face import Face, global_options, pass_face

__all__ = ["COMMANDS"]


@click.command(name="open")
@click.option("--ascii", "ascii_only", is_flag=True, help="Draw with ASCII characters only.")
@click.option("--read-only", is_flag=True, help="Look only; nothing can be changed from the view.")
@global_options
@pass_face
def open_view(face: Face, ascii_only: bool, read_only: bool) -> None:
    """Watch the store, live, in the terminal.

    Documents, activity, sessions, leases, and what waits for a decision.

    A user may apply, accept and discard what waits, evict sessions and unlock documents. ? shows
    the keys. An agent or a --reader only looks.
    """
    if face.json:
        raise InvalidRequest(
            "the view is for people; for programs there is agent-trace events --follow --json"
        )
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InvalidRequest("the view needs a terminal; without one, try agent-trace status")
    # Textual is a second's work to import, which no other command should pay for.
    from agent_trace.views.terminal.app import View  # noqa: PLC0415

    # By the library's grace a view that is killed is gone after half a minute, not half an hour.
    settings = replace(face.settings(), kind=SessionKind.LIBRARY, program="agent-trace open")
    view = View(settings, ascii_only=ascii_only, read_only=read_only)
    run(view.run_async)
    if view.failure is not None:
        raise view.failure


COMMANDS = {"open": open_view}
