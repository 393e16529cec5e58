"""Commands about how documents came to be what they are: diff, show, blame, export."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import click

from agent_trace.client import Agent
from agent_trace.moments import Moment, moment
from agent_trace.results import Blamed, Exported, Past
from agent_trace_protocol import (
    DiffReport,
    InvalidRequest,
    LogEntry,
    NotFound,
    SnapshotDocument,
)
from agent_trace_protocol.limits import OPERATIONS_MAX

from .completing import DOCUMENT
from .face import Face, global_options, pass_face
from .failures import hinting
from .output import counted, emit_json, emit_lines, emit_note, emit_table, local_time, shown, size
from .revisions import (
    number_argument,
    revision_option,
    split_lines,
    split_range,
    which_revision,
)

__all__ = ["COMMANDS", "MOMENT", "emit_diff", "progress"]

_SESSION_SHOWN: Final = 8
"""Characters of a session id that tell it from others in a listing."""

_COLORS: Final = {"+": "green", "-": "red", "@": "cyan"}


class _Moment(click.ParamType[Moment]):
    """An operation's seq, a time ago, or an ISO date or time."""

    name = "when"

    def convert(
        self, value: str | Moment, param: click.Parameter | None, ctx: click.Context | None
    ) -> Moment:
        try:
            return moment(value, end=param is not None and param.name in ("until", "at"))
        except InvalidRequest as error:
            self.fail(error.message, param, ctx)


MOMENT: Final = _Moment()
_at = click.option(
    "--at",
    type=MOMENT,
    help="As of operation WHEN, or of a time: 2h, 2026-11-22, 2026-11-22T14:30.",
)


def emit_diff(report: DiffReport, new_name: str = "") -> None:
    """Print a diff for people, in colour on a terminal."""
    old = f"{report.old_path}@{report.old_revision}" if report.old_revision else "/dev/null"
    new = new_name or f"{report.new_path}@{report.new_revision}"
    click.echo(shown(f"--- {old}"))
    click.echo(shown(f"+++ {new}"))
    for line in report.diff.split("\n")[:-1]:
        click.secho(shown(line, lines=True), fg=_COLORS.get(line[:1]))
    if report.left_out:
        emit_note(f"{counted(report.left_out, 'line')} of the diff left out: it is too long")


@click.command()
@click.argument("path", type=DOCUMENT)
@click.argument("first", required=False, metavar="[A]")
@click.argument("second", required=False, metavar="[B]")
@click.option("--disk", is_flag=True, help="Against the file as it lies in the store's directory.")
@global_options
@pass_face
def diff(face: Face, path: str, first: str | None, second: str | None, disk: bool) -> None:
    """Show what changed between two revisions of a document.

    Without A and B: between the last revision and the one before. With A: between A and the last
    one. --disk compares A, or the last revision, with the file. PATH@A, PATH@A PATH@B and
    PATH@A..B say the same.
    """
    path, numbers = split_range(path, first, second)
    old, new = (*numbers, None, None)[:2]
    if disk and new is not None:
        raise click.UsageError("--disk takes the place of B; name A only")
    target = face.document_path(path)
    text: bytes | None = None
    if disk:
        try:
            text = (face.root() / target).read_bytes()
        except OSError as error:
            raise NotFound(
                f"{target} can not be read from the disk: {error.strerror or error}"
            ) from error

    async def work(agent: Agent) -> DiffReport:
        return await agent.diff(target, old, new, text=text)

    report = face.run(work)
    if face.json:
        emit_json(report)
    elif report.diff:
        emit_diff(report, f"{target} on disk" if disk else "")
    elif disk:
        emit_note(f"the file holds what revision {report.old_revision} does")
    else:
        emit_note(
            f"revisions {report.old_revision} and {report.new_revision} hold the same text; what "
            "else changed, shows: agent-trace log"
        )


@click.command()
@click.argument("path", metavar="[PATH[@REVISION]]", required=False, type=DOCUMENT)
@number_argument
@revision_option
@_at
@global_options
@pass_face
def show(
    face: Face, path: str | None, number: int | None, revision: int | None, at: Moment | None
) -> None:
    """Show a revision, or the store as it was.

    A revision is shown with where it comes from; --at lists all documents as of a moment. The
    content alone prints: agent-trace read.
    """
    if path is None:
        if at is None:
            raise click.UsageError("name a document, or say --at for the whole store")
        _show_store(face, at)
        return
    if at is not None:
        if number is not None or revision is not None:
            raise click.UsageError("say a revision or --at, not both")
        _show_then(face, face.document_path(path), at)
        return
    path, which = which_revision(path, number, revision)
    target = face.document_path(path)

    async def work(agent: Agent) -> tuple[str, LogEntry]:
        document = await agent.read(target, which)
        # A transaction may have made several revisions.
        entries = await agent.log(target, before=document.seq + 1, limit=OPERATIONS_MAX)
        made = next(each for each in entries if each.revision == document.revision)
        return document.content.decode("utf-8", "replace"), made

    with hinting(NotFound, f"which revisions there are, shows: agent-trace log {path}"):
        text, entry = face.run(work)
    if face.json:
        emit_json({"entry": entry, "text": text})
        return
    click.echo(shown(f"{face.path_here(entry.path)}@{entry.revision}  {entry.summary}"))
    commit = f", commit {entry.commit}" if entry.commit else ""
    session = f", session {entry.session}" if entry.session else ""
    click.echo(
        shown(
            f"{entry.action.value} by {entry.author} ({entry.actor.value}), "
            f"{local_time(entry.time_ms)}, operation {entry.seq}{session}{commit}"
        )
    )
    click.echo("")
    click.echo(shown(text, lines=True), nl=False)


def _show_store(face: Face, at: Moment) -> None:
    async def work(agent: Agent) -> Past:
        return await agent.snapshot(at)

    past = face.run(work)
    if face.json:
        emit_json(past)
        return
    if past.documents:
        rows = [
            (face.path_here(each.path), each.type.value, str(each.revision), size(each.size),
             each.author, local_time(each.time_ms))
            for each in past.documents
        ]  # fmt: skip
        emit_table(("PATH", "TYPE", "REV", "SIZE", "AUTHOR", "CHANGED"), rows)
    when = f" ({local_time(past.time_ms)})" if past.time_ms else ""
    count = counted(len(past.documents), "document")
    emit_note(f"{count} as of operation {past.seq}{when}")


def _show_then(face: Face, target: str, at: Moment) -> None:
    async def work(agent: Agent) -> tuple[int, list[SnapshotDocument]]:
        seq, found = 0, list[SnapshotDocument]()
        async for page in agent.snapshot_pages(at, contents=True, path=target):
            seq, found = page.seq, [*found, *page.documents]
        return seq, found

    seq, found = face.run(work)
    if not found:
        raise NotFound(f"there was no document {target} as of operation {seq}")
    info, text = found[0].info, (found[0].content or b"").decode("utf-8", "replace")
    if face.json:
        emit_json({"seq": seq, "document": info, "text": text})
        return
    emit_note(
        f"{face.path_here(info.path)}@{info.revision}, by {info.author}, as of operation {seq}"
    )
    click.echo(shown(text, lines=True), nl=False)


class _Lines(click.ParamType[tuple[int, int]]):
    """`7` or `7,20` or `7,`."""

    name = "first,last"

    def convert(
        self,
        value: str | tuple[int, int],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        first, comma, last = value.partition(",")
        if not first.isdigit() or (last and not last.isdigit()):
            self.fail(
                f"{value!r} are no lines; say 7 or 7,20, or 7, for all from there", param, ctx
            )
        return int(first), int(last or 0) if comma else int(first)


@click.command()
@click.argument("path", metavar="PATH[@REVISION][:LINES]", type=DOCUMENT)
@number_argument
@revision_option
@click.option("-L", "--lines", type=_Lines(), help="Only these lines: 7 or 7,20.")
@global_options
@pass_face
def blame(
    face: Face,
    path: str,
    number: int | None,
    revision: int | None,
    lines: tuple[int, int] | None,
) -> None:
    """Show which revision brought each line, and who made it.

    PATH:7 and PATH:7-20 say the same as --lines.
    """
    path, named = split_lines(path)
    if lines is not None and named is not None:
        raise click.UsageError("name the lines once, behind the path or by --lines")
    first, last = lines or named or (1, 0)
    path, which = which_revision(path, number, revision)
    target = face.document_path(path)

    async def work(agent: Agent) -> Blamed:
        return await agent.blame(target, which, first_line=first, last_line=last or None)

    blamed = face.run(work)
    if face.json:
        emit_lines(blamed.lines)
        return
    cells = [
        (
            f"{'' if each.found else '<='}{each.revision}",
            each.author,
            each.session[:_SESSION_SHOWN],
            local_time(each.time_ms),
            str(each.number),
        )
        for each in blamed.lines
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line, row in zip(blamed.lines, cells, strict=True):
        head = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(shown(f"{head} | {line.text}").rstrip())
    if not all(each.found for each in blamed.lines):
        emit_note("<= marks lines of this revision or an earlier one, too far back to look for")


@click.command()
@click.argument("destination", required=False, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["files", "json", "agent-trace"]),
    default="files",
    show_default=True,
    help="Files in a new directory, one JSON object, or Agent Trace records (agent-trace.dev).",
)
@_at
@click.option("--since", type=MOMENT, help="Agent Trace records after WHEN only.")
@click.option("--until", type=MOMENT, help="Agent Trace records up to WHEN only.")
@global_options
@pass_face
def export(
    face: Face,
    destination: Path | None,
    form: str,
    at: Moment | None,
    since: Moment | None,
    until: Moment | None,
) -> None:
    """Copy documents, or who wrote which line, out of the store.

    DESTINATION is a directory that is empty or not there yet, for --format files; else a file, or
    standard output if it is - or not given. All of it is of one moment, whatever is written
    meanwhile.
    """
    if form != "agent-trace" and (since or until):
        raise click.UsageError("--since and --until are for --format agent-trace; say --at")
    if form == "agent-trace" and at:
        raise click.UsageError("--at is for documents; say --until")
    if form == "files":
        if destination is None:
            raise click.UsageError("name the directory to export to")
        done = _export_files(face, destination, at)
        told = {"directory": str(destination), "seq": done.seq, "documents": done.documents}
        if face.json:
            emit_json({**told, "time_ms": done.time_ms, "bytes": done.size})
        else:
            what = counted(done.documents, "document")
            click.echo(
                shown(f"{what} ({size(done.size)}) as of operation {done.seq} in {destination}")
            )
        return
    with _output(destination) as file, progress(face) as told_of:

        async def work(agent: Agent) -> None:
            if form == "json":
                await agent.export_json(file, at, on_progress=told_of)
            else:
                await agent.export_traces(file, since, until, on_progress=told_of)

        face.run(work)


def _export_files(face: Face, directory: Path, at: Moment | None) -> Exported:
    with progress(face) as told_of:

        async def work(agent: Agent) -> Exported:
            return await agent.export(directory, at, on_progress=told_of)

        return face.run(work)


@contextmanager
def _output(destination: Path | None) -> Generator[BinaryIO]:
    """Yield where an export is written: standard output, or a file that appears when whole."""
    if destination is None or str(destination) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    partial = destination.with_name(f".{destination.name}.partial")
    try:
        with open(partial, "wb") as file:
            yield file
        partial.replace(destination)
    except OSError as error:
        raise InvalidRequest(f"{destination} can not be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def progress(face: Face) -> Generator[Callable[[int], None]]:
    """Yield what counts on a terminal how far it has got."""
    count = 0
    visible = sys.stderr.isatty() and not face.json

    def told_of(more: int) -> None:
        nonlocal count
        count += more
        if visible:
            click.echo(f"\r{count} done", nl=False, err=True)

    yield told_of
    if visible and count:
        click.echo("\r\x1b[K", nl=False, err=True)


COMMANDS = {"diff": diff, "show": show, "blame": blame, "export": export}
