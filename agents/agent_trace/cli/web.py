"""The command that shows a store in the browser. What serves is imported when it runs."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace

import click

from agent_trace.config import Identity
from agent_trace.loop import run
from agent_trace_protocol import Actor, SessionKind

from .face import Face, global_options, pass_face
from .output import emit_json

__all__ = ["COMMANDS"]


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8138,
    show_default=True,
    help="The port; 0 for one that is free.",
)
@click.option("--read-only", is_flag=True, help="Show everything, and let nothing be decided.")
@click.option(
    "--token-file",
    metavar="FILE",
    help="The file that holds the token, made if there is none "
    "(else AGENT_TRACE_WEB_TOKEN, else a new token for this run).",
)
@click.option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="A further name by which browsers reach it.",
)
@click.option(
    "--allow-origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="The address that browsers show if a proxy stands before it, such as https://example.org.",
)
@global_options
@pass_face
def web(
    face: Face,
    host: str,
    port: int,
    read_only: bool,
    token_file: str | None,
    hosts: tuple[str, ...],
    origins: tuple[str, ...],
) -> None:
    """Show the store, live, in the browser.

    Who does what, and what waits for a decision.

    Prints a link that lets one browser in, once. Decisions are made as whoever runs this command.
    """
    # They cost half a second, which no other command should pay for.
    from agent_trace.listening import Place, Token  # noqa: PLC0415
    from agent_trace.views.web.app import TOKEN_VARIABLE, serve_web  # noqa: PLC0415

    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s: %(message)s")
    settings = face.settings()
    if read_only:
        identity = Identity(Actor.READER, settings.identity.name)
        settings = replace(settings, identity=identity)
    settings = replace(settings, kind=SessionKind.LIBRARY, program="agent-trace web")
    token = Token.find(token_file, TOKEN_VARIABLE)

    def started(address: str, link: str) -> None:
        if face.json:
            emit_json({"url": address, "link": link, "token": token.shown})
            sys.stdout.flush()
            return
        click.echo(f"open {link}", err=True)
        note = f"; for another browser the token is {token.shown}" if token.shown else ""
        click.echo(f"the link works once{note}; Ctrl-C ends it", err=True)

    place = Place(host, port, hosts, origins)
    run(lambda: serve_web(settings, place, token, started, read_only=read_only))


COMMANDS = {"web": web}
