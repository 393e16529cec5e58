"""The coordinator's own commands: `serve` for people, and what the clients start it with."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from agent_trace_protocol import AgentTraceError
from agent_trace_protocol.layout import CONFIG_FILE, EXIT_ALREADY_RUNNING

from .errors import AlreadyRunning, StoreInvalid

__all__ = ["COMMANDS", "main"]


def _find_root(start: Path) -> Path:
    for directory in (start, *start.parents):
        if (directory / CONFIG_FILE).is_file():
            return directory
    raise StoreInvalid(f"{start} is not in a store; make one with: agent-trace init")


@click.command()
@click.option(
    "--store",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="AGENT_TRACE_STORE",
    help="The store's directory; found from the current one if not given.",
)
@click.option(
    "--idle-seconds",
    type=click.FloatRange(min=1),
    help="Leave when nobody has asked for anything for this long.",
)
@click.option("--verbose", is_flag=True, help="Log every detail.")
def serve(store: Path | None, idle_seconds: float | None, verbose: bool) -> None:
    """Be the store's coordinator, in the foreground.

    Usually not needed: the first command or agent starts one in the background.
    """
    from .server.service import serve as serve_store  # noqa: PLC0415 - only this command needs it

    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s",
    )
    try:
        root = _find_root((store or Path.cwd()).absolute())
        code = serve_store(root, idle_seconds)
    except AlreadyRunning as error:
        click.echo(f"error: {error.message}", err=True)
        code = EXIT_ALREADY_RUNNING
    except AgentTraceError as error:
        click.echo(f"error: {error.message}", err=True)
        code = 1
    sys.exit(code)


@click.command()
@click.argument("root", type=click.Path(file_okay=False, path_type=Path))
@click.option("--nested", is_flag=True, help="Allow a store inside another one.")
def init(root: Path, nested: bool) -> None:
    """Make ROOT a store."""
    from .storage.store import create_store  # noqa: PLC0415 - only this command needs it

    try:
        root.mkdir(parents=True, exist_ok=True)
        create_store(root.absolute(), nested=nested)
    except (AgentTraceError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


COMMANDS: list[click.Command] = [serve]
"""What the `agent-trace` command offers of ours."""


@click.group()
def main() -> None:
    """Commands that other parts of agent-trace start."""


main.add_command(serve)
main.add_command(init)
