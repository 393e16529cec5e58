"""The coordinator's own commands: `serve` for people, and what the clients start it with."""

from __future__ import annotations

import contextlib
import logging
import sys
from pathlib import Path
from typing import NoReturn

import click

from agent_trace_protocol import AgentTraceError
from agent_trace_protocol.layout import CONFIG_FILE, EXIT_ALREADY_RUNNING

from . import cli_config, cli_keys, cli_repair
from .cli_failures import explain, say
from .errors import AlreadyRunning, StoreInvalid
from .log_lines import formatter_of

__all__ = ["COMMANDS", "main"]


def _fail(error: AgentTraceError | OSError, exit_code: int = 1) -> NoReturn:
    """Say what is wrong and what helps, and end."""
    message, hint = explain(error)
    if isinstance(error, OSError):
        message = f"{error.filename or 'the directory'} can not be made: {error.strerror or error}"
    say(error, message, hint)
    sys.exit(exit_code)


def _find_root(start: Path) -> Path:
    for directory in (start, *start.parents):
        if (directory / CONFIG_FILE).is_file():
            return directory
    raise StoreInvalid(
        f"{start} is not in a store; make one with agent-trace init, or name one with --store DIR"
    )


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
@click.option(
    "--background",
    is_flag=True,
    help="Leave when idle for as long as the store's configuration says.",
)
@click.option(
    "--listen",
    default="",
    metavar="tcp://ADDRESS:PORT",
    help="Listen for clients with keys as well (see agent-trace keys).",
)
@click.option("--listen-any", is_flag=True, help="Allow an address that other machines can reach.")
@click.option(
    "--metrics",
    default="",
    metavar="ADDRESS:PORT",
    help="Serve metrics for Prometheus there.",
)
@click.option(
    "--traces",
    default="",
    metavar="URL",
    help="Send OpenTelemetry traces there, by OTLP over HTTP.",
)
@click.option("--verbose", is_flag=True, help="Log every detail.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Log lines for people, or one JSON object a line.",
)
def serve(
    store: Path | None,
    idle_seconds: float | None,
    background: bool,
    listen: str,
    listen_any: bool,
    metrics: str,
    traces: str,
    verbose: bool,
    log_format: str,
) -> None:
    """Be the store's coordinator, in the foreground.

    Usually not needed: the first command or agent starts one in the background.
    """
    from .server.service import serve as serve_store  # noqa: PLC0415 - only this command needs it

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter_of(log_format))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])
    # It tells of every file that changes, our own included.
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    try:
        root = _find_root((store or Path.cwd()).absolute())
        code = serve_store(
            root,
            idle_seconds,
            background=background,
            listen=listen,
            listen_any=listen_any,
            metrics=metrics,
            traces=traces,
        )
    except AlreadyRunning as error:
        _fail(error, EXIT_ALREADY_RUNNING)
    except AgentTraceError as error:
        _fail(error)
    sys.exit(code)


@click.command()
@click.argument("root", type=click.Path(file_okay=False, path_type=Path))
@click.option("--nested", is_flag=True, help="Allow a store inside another one.")
def init(root: Path, nested: bool) -> None:
    """Make ROOT a store."""
    # Only this command needs them.
    from .storage.git_recovery import sync_directory  # noqa: PLC0415
    from .storage.store import create_store  # noqa: PLC0415

    made: list[Path] = []
    try:
        path = root.absolute()
        made = [each for each in (path, *path.parents) if not each.exists()]
        root.mkdir(parents=True, exist_ok=True)
        create_store(path, nested=nested)
        for each in made:
            # Their names have to last as well.
            sync_directory(each.parent)
    except (AgentTraceError, OSError) as error:
        for each in made:
            # What was made for a store that is none is taken back, unless something is in it.
            with contextlib.suppress(OSError):
                each.rmdir()
        _fail(error)


COMMANDS: list[click.Command] = [serve, *cli_config.COMMANDS, *cli_repair.COMMANDS]
"""What the `agent-trace` command offers of ours."""


@click.group()
def main() -> None:
    """Commands that other parts of agent-trace start."""


main.add_command(init)
main.add_command(cli_keys.keys)
for command in COMMANDS:
    main.add_command(command)
