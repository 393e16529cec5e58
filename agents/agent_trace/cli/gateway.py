"""The command that serves agent hosts by MCP. The SDK is imported when it runs, not before."""

from __future__ import annotations

import logging
import sys

import anyio
import click

from .face import Face, global_options, pass_face

__all__ = ["COMMANDS"]


@click.command()
@click.option(
    "--tools",
    "profile",
    type=click.Choice(["minimal", "default", "full"]),
    default="default",
    show_default=True,
    help="How many tools the agent is offered; each costs it some tokens.",
)
@global_options
@pass_face
def mcp(face: Face, profile: str) -> None:
    """Serve an agent host by the Model Context Protocol.

    Without options on standard input and output, as hosts start it. The agent is named by --agent
    or AGENT_TRACE_AGENT, else after its host.
    """
    # It costs a second and more, which no other command should pay for.
    from agent_trace.gateway.stdio import serve_stdio  # noqa: PLC0415
    from agent_trace.gateway.tools import Profile  # noqa: PLC0415

    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s: %(message)s")
    if sys.stdin.isatty():
        click.echo("serving MCP on standard input; a host starts this by itself", err=True)
    anyio.run(serve_stdio, face.store, face.agent, Profile(profile))


COMMANDS = {"mcp": mcp}
