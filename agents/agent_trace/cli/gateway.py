"""The command that serves agent hosts by MCP. The SDK is imported when it runs, not before."""

from __future__ import annotations

import logging
import sys

import click

from agent_trace.loop import run

from .face import Face, global_options, pass_face
from .output import emit_json

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
@click.option("--http", is_flag=True, help="Serve many clients over HTTP instead.")
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="HTTP: the address to listen on."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8137,
    show_default=True,
    help="HTTP: the port; 0 for one that is free.",
)
@click.option(
    "--token-file",
    metavar="FILE",
    help="HTTP: the file of the tokens, one a line; made with one if there is none, read again "
    "when it changes (else AGENT_TRACE_MCP_TOKEN, else a new token for this run).",
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="HTTP: a further name by which clients reach it.",
)
@click.option(
    "--allow-origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="HTTP: a web page that may use it, such as https://example.org.",
)
@global_options
@pass_face
def mcp(
    face: Face,
    profile: str,
    http: bool,
    host: str,
    port: int,
    token_file: str | None,
    hosts: tuple[str, ...],
    origins: tuple[str, ...],
) -> None:
    """Serve agent hosts by the Model Context Protocol.

    Without --http on standard input and output, as hosts start it. The agent is named by --agent
    or AGENT_TRACE_AGENT, else after its host's session, else after its host.
    """
    # It costs a second and more, which no other command should pay for.
    from agent_trace.gateway.tools import Profile  # noqa: PLC0415

    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s: %(message)s")
    if not http:
        from agent_trace.gateway.stdio import serve_stdio  # noqa: PLC0415

        if sys.stdin.isatty():
            click.echo("serving MCP on standard input; a host starts this by itself", err=True)
        run(serve_stdio, face.store, face.agent, Profile(profile))
        return
    from agent_trace.gateway.http import TOKEN_VARIABLE, serve_http  # noqa: PLC0415
    from agent_trace.gateway.tokens import Tokens  # noqa: PLC0415
    from agent_trace.listening import Place  # noqa: PLC0415

    tokens = Tokens.find(token_file, TOKEN_VARIABLE)

    def started(address: str) -> None:
        if face.json:
            emit_json({"url": address, "token": tokens.shown})
            sys.stdout.flush()
            return
        click.echo(f"serving MCP at {address}", err=True)
        if tokens.shown:
            click.echo(f"token for this run: {tokens.shown}", err=True)

    place = Place(host, port, hosts, origins)
    run(serve_http, face.store, face.agent, Profile(profile), place, tokens, started)


COMMANDS = {"mcp": mcp}
