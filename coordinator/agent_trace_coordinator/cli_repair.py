"""The commands that look after a store from outside, without a coordinator or beside one."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import click
import msgspec

from agent_trace_protocol import AgentTraceError
from agent_trace_protocol.layout import CONFIG_FILE, STORE_DIRECTORY
from agent_trace_protocol.upkeep import Loss, MirrorState

from .cli_failures import explain, printable, say
from .errors import StoreInvalid

__all__ = ["COMMANDS"]

BAR_CHARACTERS: Final = 30


class Progress:
    """What is being done, on one line of standard error that is written over; a terminal only."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._last = ("", -1)

    def __call__(self, what: str, done: int, of: int) -> None:
        full = BAR_CHARACTERS if of <= 0 else BAR_CHARACTERS * done // of
        if not self._shown or (what, full) == self._last:
            return
        self._last = (what, full)
        bar = "#" * full + "-" * (BAR_CHARACTERS - full)
        click.echo(f"\r\x1b[K{printable(what)}  [{bar}]  {done}/{of}", nl=False, err=True)

    def clear(self) -> None:
        """Take the line away."""
        if self._shown and self._last[0]:
            click.echo("\r\x1b[K", nl=False, err=True)
            self._last = ("", -1)


def find_store(start: Path) -> Path:
    """Return the store that a directory lies in, also one that has lost its settings."""
    for directory in (start, *start.parents):
        own = directory / STORE_DIRECTORY
        if (directory / CONFIG_FILE).is_file() or (
            own.is_dir() and any((own / name).exists() for name in ("state.db", "repo"))
        ):
            return directory
    raise StoreInvalid(
        f"{start} is not in a store; name one with --store DIR, or make one: agent-trace init"
    )


_store_option = click.option(
    "--store",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="AGENT_TRACE_STORE",
    help="The store's directory; found from the current one if not given.",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _print_json(value: Any) -> None:
    click.echo(msgspec.json.encode(value))


def _say(line: str) -> None:
    """Print a line of what is being done; it is done all the same if nobody reads on."""
    try:
        click.echo(line)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _named(store: Path | None) -> Path:
    return find_store((store or Path.cwd()).absolute())


class _Ended(KeyboardInterrupt):
    """A signal came by which others end this process; it takes away what it made, as for Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _signals() -> Generator[None]:
    """Let the signals that would kill at once be exceptions, unless somebody has decided else."""

    def end(number: int, frame: FrameType | None) -> None:
        raise _Ended(number)

    taken: list[int] = []
    if threading.current_thread() is threading.main_thread():
        taken = [
            each
            for each in (signal.SIGTERM, signal.SIGHUP)
            if signal.getsignal(each) is signal.SIG_DFL
        ]
    for each in taken:
        signal.signal(each, end)
    try:
        yield
    finally:
        for each in taken:
            signal.signal(each, signal.SIG_DFL)


def _ending(work: Callable[[], int], progress: Progress, as_json: bool) -> None:
    """Run a command's work and end with its exit code; errors become messages with a next step."""
    # What a start would write to its log, such as where it put the branch, is said by the command.
    logging.getLogger("agent_trace").addHandler(logging.NullHandler())
    try:
        with _signals():
            code = work()
    except BrokenPipeError:
        # The reader of our output has seen enough; whoever runs commands knows how that ends.
        progress.clear()
        raise
    except (AgentTraceError, OSError) as error:
        progress.clear()
        message, hint = explain(error)
        say(error, message, hint, as_json=as_json)
        code = 1
    except KeyboardInterrupt as error:
        progress.clear()
        click.echo("interrupted; nothing is lost, and the same command goes on from here", err=True)
        code = 128 + (error.number if isinstance(error, _Ended) else signal.SIGINT)
    progress.clear()
    sys.exit(code)


@click.command()
@_store_option
@_json_option
def doctor(store: Path | None, as_json: bool) -> None:
    """Check a store, and change nothing.

    Works with or without a running coordinator. Exits with 1 if something is wrong.
    """
    progress = Progress()

    def work() -> int:
        from .repair.examine import examination, is_served, look  # noqa: PLC0415 - slow to import
        from .storage.store import Store  # noqa: PLC0415

        opened = Store(_named(store).resolve())
        found = examination(look(opened, progress, served=is_served(opened)))
        progress.clear()
        if as_json:
            _print_json(found)
            return 0 if found.healthy else 1
        for line in found.checked:
            click.echo(printable(line))
        for finding in found.findings:
            click.echo(f"wrong: {finding.area}: {printable(finding.what)}")
        if found.healthy:
            click.echo("nothing is wrong")
            return 0
        fixable = sum(bool(each.fix) for each in found.findings)
        count = len(found.findings)
        click.echo("1 thing is wrong" if count == 1 else f"{count} things are wrong", err=True)
        if fixable:
            stop = "agent-trace stop, then " if found.served else ""
            click.echo(f"hint: {stop}agent-trace repair", err=True)
        return 1

    _ending(work, progress, as_json)


@click.command()
@_store_option
@click.option("--dry-run", is_flag=True, help="Say what is wrong and what would be done.")
@click.option("--yes", is_flag=True, help="Do it without asking.")
@_json_option
def repair(store: Path | None, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Put a damaged store right.

    From whatever is left of it: state.db page by page, git object by object.

    No coordinator may run. Says first what is wrong, what will be done and what is lost for good;
    what it replaces is kept in .agent-trace/damaged.
    """
    progress = Progress()

    def work() -> int:
        from .repair.examine import Look  # noqa: PLC0415 - slow to import
        from .repair.mend import repair as mend  # noqa: PLC0415
        from .storage.store import Store  # noqa: PLC0415

        def decide(seen: Look, losses: list[Loss]) -> bool:
            progress.clear()
            if not as_json:
                for finding in seen.findings:
                    _say(f"wrong: {finding.area}: {printable(finding.what)}")
                    _say(f"       {finding.fix or 'left as it is'}")
                for loss in losses:
                    _say(f"lost:  {printable(loss.what)}")
            if dry_run:
                return False
            if yes:
                return True
            if as_json or not sys.stdin.isatty():
                return False
            return click.confirm("Do it?", err=True)

        outcome = mend(Store(_named(store).resolve()), progress, decide)
        progress.clear()
        if as_json:
            _print_json(outcome)
        elif outcome.changed:
            for line in outcome.done:
                click.echo(f"done:  {printable(line)}")
            for line in outcome.cautions:
                click.echo(f"note:  {line}")
            if outcome.kept_as:
                click.echo(f"what was replaced is in {outcome.kept_as}")
        elif not outcome.findings:
            click.echo("nothing is wrong")
        elif outcome.healthy:
            for finding in outcome.findings:
                click.echo(f"wrong: {finding.area}: {printable(finding.what)}")
            click.echo("there is nothing that a repair could do")
        else:
            click.echo("nothing was changed; to do it: agent-trace repair --yes", err=True)
        return 0 if outcome.healthy and not outcome.losses else 1

    _ending(work, progress, as_json)


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_store_option
@_json_option
def backup(file: Path, store: Path | None, as_json: bool) -> None:
    """Write a store to one new FILE.

    All of it, while it is in use.

    Keys are in it, so only you can read it. Files that are no documents are not.
    """
    progress = Progress()

    def work() -> int:
        from .repair.archive import back_up  # noqa: PLC0415 - slow to import
        from .storage.store import Store  # noqa: PLC0415

        report = back_up(Store(_named(store).resolve()), file, progress)
        progress.clear()
        if as_json:
            _print_json(report)
        else:
            click.echo(
                f"{printable(str(file))}: {report.operations} operations, {report.documents} "
                f"documents, {report.commits} commits"
            )
        return 0

    _ending(work, progress, as_json)


@click.command("restore-backup")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("directory", type=click.Path(path_type=Path))
@_json_option
def restore_backup(file: Path, directory: Path, as_json: bool) -> None:
    """Make a store from a backup FILE.

    In a new DIRECTORY, or an empty one.

    All of it is verified before anything is put in place, and nothing is overwritten.
    """
    progress = Progress()

    def work() -> int:
        from .repair.archive import restore_backup as restore  # noqa: PLC0415 - slow to import

        report = restore(file, directory, progress)
        progress.clear()
        if as_json:
            _print_json(report)
        else:
            click.echo(
                f"{printable(str(directory))}: {report.operations} operations, {report.documents} "
                "documents, all verified"
            )
        return 0

    _ending(work, progress, as_json)


@click.group()
def mirror() -> None:
    """Keep copies of the history elsewhere.

    In plain git repositories.

    The coordinator pushes in the background; `agent-trace status` says how far behind they are.
    """


_url_argument = click.argument("url")


def _mirror_command(store: Path | None, as_json: bool, change: Callable[[Any], str]) -> None:
    progress = Progress()

    def work() -> int:
        from .storage.store import Store  # noqa: PLC0415 - slow to import

        opened = Store(_named(store).resolve())
        said = change(opened)
        if as_json:
            from .repair.mirrors import mirror_states  # noqa: PLC0415

            _print_json(mirror_states(opened))
        else:
            click.echo("\n".join(map(printable, said.split("\n"))))
        return 0

    _ending(work, progress, as_json)


@mirror.command("add")
@_url_argument
@_store_option
@_json_option
def mirror_add(url: str, store: Path | None, as_json: bool) -> None:
    """Push the history to URL from now on: file:///path, ssh://user@host/path, https://host/path.

    The repository there should be empty, and its own. Nothing in it is ever overwritten.
    """

    def change(opened: Any) -> str:
        from .repair.mirrors import add_mirror  # noqa: PLC0415 - slow to import

        add_mirror(opened, url)
        return f"the history is pushed to {url} while a coordinator runs"

    _mirror_command(store, as_json, change)


@mirror.command("remove")
@_url_argument
@_store_option
@_json_option
def mirror_remove(url: str, store: Path | None, as_json: bool) -> None:
    """Push to URL no more. What is there stays there."""

    def change(opened: Any) -> str:
        from .repair.mirrors import remove_mirror  # noqa: PLC0415 - slow to import

        remove_mirror(opened, url)
        return f"{url} is no mirror any more"

    _mirror_command(store, as_json, change)


@mirror.command("ls")
@_store_option
@_json_option
def mirror_ls(store: Path | None, as_json: bool) -> None:
    """List the mirrors and how far each has come."""

    def change(opened: Any) -> str:
        from .repair.mirrors import mirror_states  # noqa: PLC0415 - slow to import

        return _mirrors_text(mirror_states(opened))

    _mirror_command(store, as_json, change)


@mirror.command("push")
@click.option("--due", is_flag=True, help="Leave out those that failed a moment ago.")
@_store_option
@_json_option
def mirror_push(due: bool, store: Path | None, as_json: bool) -> None:
    """Push now, and wait for it. Exits with 1 if a mirror could not be pushed to."""
    progress = Progress()

    def work() -> int:
        from .repair.mirrors import push_all  # noqa: PLC0415 - slow to import
        from .storage.store import Store  # noqa: PLC0415

        states = push_all(Store(_named(store).resolve()), now=not due, tell=progress)
        progress.clear()
        if as_json:
            _print_json(states)
        else:
            click.echo("\n".join(map(printable, _mirrors_text(states).split("\n"))))
        return 1 if any(each.failure for each in states) else 0

    _ending(work, progress, as_json)


def _mirrors_text(states: list[MirrorState]) -> str:
    """Return what there is to say of the mirrors, on one line each."""
    if not states:
        return "there are no mirrors; add one with: agent-trace mirror add URL"
    return "\n".join(
        f"{each.url}  up to operation {each.seq}"
        + (f"; failed: {' '.join(each.failure.split())}" if each.failure else "")
        for each in states
    )


COMMANDS: list[click.Command] = [doctor, repair, backup, restore_backup, mirror]
