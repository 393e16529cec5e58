"""The command `agent-trace`: which commands there are, and how a run of one ends."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import click

from agent_trace.config import STORE_VARIABLE

from .face import Face, global_options
from .failures import EXIT_INTERRUPTED, describe, describe_group, report
from .output import emit_json
from .plugins import load_commands
from .sections import sections_of

__all__ = ["cli", "main"]

# A command's module is imported when the command is asked for, so that none pays for another's.
_COMMANDS: Final = {
    "init": "setup",
    "status": "setup",
    "stop": "setup",
    "connect": "sessions",
    "disconnect": "sessions",
    "sessions": "sessions",
    "lease": "leases",
    "events": "following",
    "wait": "following",
    "add": "documents",
    "write": "documents",
    "append": "documents",
    "edit": "documents",
    "section": "documents",
    "rm": "documents",
    "mv": "documents",
    "restore": "documents",
    "accept": "drafts",
    "drafts": "drafts",
    "reclassify": "policy",
    "permissions": "policy",
    "unlock": "policy",
    "lock": "policy",
    "violations": "policy",
    "info": "keeping",
    "tag": "keeping",
    "describe": "keeping",
    "untrack": "keeping",
    "replace": "keeping",
    "read": "reading",
    "ls": "reading",
    "log": "reading",
    "diff": "history",
    "show": "history",
    "blame": "history",
    "export": "history",
    "resume": "resume",
    "why": "resume",
    "mcp": "gateway",
    "web": "web",
    "keys": "keys",
    "search": "searching",
    "context": "context",
    "setup": "hosts",
    "hook": "hosts",
    "selftest": "selftest",
    "completion": "completion",
    "open": "opening",
}


LENGTH_SHORT_HELP_MAX: Final = 200
"""Of a command's first sentence; what is wider than the terminal is wrapped."""


class _Commands(click.Group):
    """The group: built-in commands by table, the others from plugins, one end for all."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_COMMANDS, *(name for name in load_commands() if name not in _COMMANDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _COMMANDS.get(cmd_name)
        if module is None:
            face = ctx.find_root().ensure_object(Face)
            if face.store:
                # A plugin knows nothing of our options, but all of agent-trace reads this variable.
                os.environ[STORE_VARIABLE] = face.store
            return load_commands().get(cmd_name)
        loaded = importlib.import_module(f".{module}", __package__)
        command: click.Command = loaded.COMMANDS[cmd_name]
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by what they are for, all first columns equally wide, none cut."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        shown = {name: each for name, each in commands.items() if each and not each.hidden}
        column = max(map(len, shown))
        for title, names in sections_of(shown):
            with formatter.section(title):
                formatter.write_dl(
                    [
                        (name.ljust(column), shown[name].get_short_help_str(LENGTH_SHORT_HELP_MAX))
                        for name in names
                    ]
                )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name those that are written much like what was typed."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib  # noqa: PLC0415 - a command that exists does not pay for it

            close = difflib.get_close_matches(args[0], self.list_commands(ctx), cutoff=0.75)
            if not close:
                raise
            raise click.UsageError(
                f"{error.message} Did you mean {' or '.join(close)}?", ctx
            ) from None

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        """Run, and end the process with the exit code that the outcome has."""
        options["standalone_mode"] = False
        given = list(sys.argv[1:] if args is None else args)
        face = Face(json_given="--json" in given)
        try:
            code = super().main(given, *rest, obj=face, **options)
            sys.stdout.flush()
            status = code if isinstance(code, int) else 0
        except BrokenPipeError:
            # The reader has seen enough. What is still buffered must not raise again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 0
        except (click.Abort, KeyboardInterrupt):
            click.echo("interrupted", err=True)
            status = EXIT_INTERRUPTED
        except click.exceptions.NoArgsIsHelpError as error:
            if face.json or face.json_given:
                report(describe_group(error), as_json=True)
            else:
                click.echo(error.format_message(), err=True)
            status = error.exit_code
        except Exception as error:  # top level: failures become messages and exit codes
            failure = describe(error, face.typed_path)
            if failure is None:
                # A fault of ours: the traceback is what a report needs.
                raise
            # The options were perhaps not parsed when it failed.
            report(failure, as_json=face.json or face.json_given)
            status = failure.exit_code
        sys.exit(status)

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Read the arguments; what is eager, such as --help, prints here already."""
        with _reader_may_go():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with _reader_may_go():
            return super().invoke(ctx)


@contextmanager
def _reader_may_go() -> Generator[None]:
    """click would call a closed output a failure; it is caught again outside of click."""
    try:
        yield
    except BrokenPipeError as error:
        raise _ReaderGone from error


class _ReaderGone(BrokenPipeError):
    """Standard output was closed; without an error number, so that click lets it pass."""


def _show_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from agent_trace import __version__  # noqa: PLC0415 - keeps the module import-light

        if context.ensure_object(Face).json_given:
            emit_json({"version": __version__})
        else:
            click.echo(f"agent-trace {__version__}")
        context.exit()


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version.",
)
@global_options
def cli() -> None:
    """Documents that many agents write to at once, with everything they did in git.

    The coordinator that serves a store starts by itself and leaves when idle.
    """


def main() -> None:
    """Run the command line; the entry point of `agent-trace`."""
    cli.main(prog_name="agent-trace")
