"""Commands that change documents: add, write, append, edit, section, rm, mv, restore, accept.

They wait for git by default: a person does not notice it, and the commit id is proof.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import BinaryIO

import click

from agent_trace.client import Agent
from agent_trace.config import find_target
from agent_trace.results import Written
from agent_trace_protocol import (
    Add,
    Delete,
    DocumentType,
    Durability,
    NoMatch,
    NotFound,
    SectionMode,
)
from agent_trace_protocol.layout import STORE_DIRECTORY
from agent_trace_protocol.limits import OPERATIONS_MAX

from .face import (
    Face,
    durability_option,
    find_trouble,
    global_options,
    message_option,
    pass_face,
)
from .failures import hinting
from .output import emit_json, emit_note, shown
from .reading import split_revision

__all__ = ["COMMANDS", "run_one", "run_writing"]

_TYPES = [each.value for each in DocumentType]
_if_revision = click.option(
    "--if-revision",
    type=click.IntRange(min=0),
    help="Only if the document is at this revision; 0: only if there is none.",
)
_type = click.option(
    "--type", "kind", type=click.Choice(_TYPES), help="The type of a document that this creates."
)
_text = click.option(
    "--text", help="The content itself, as whole lines: a missing final newline is added."
)
_file = click.option(
    "--file",
    type=click.File("rb"),
    help="A file with the content, taken byte for byte; - for standard input.",
)


def _content(text: str | None, file: BinaryIO | None) -> bytes:
    """Return the content from the one place it was given: --text, --file or standard input."""
    if text is not None and file is not None:
        raise click.UsageError("give the content by --text or by --file, not both")
    if text is not None:
        # A shell's argument rarely ends its last line, and a document's should.
        ending = "" if not text or text.endswith("\n") else "\n"
        return (text + ending).encode("utf-8", "surrogateescape")
    if file is not None:
        return file.read()
    if sys.stdin.isatty():
        raise click.UsageError("give the content by --text, --file or standard input")
    content = sys.stdin.buffer.read()
    if not content:
        # Programs that are started without one often have an empty standard input.
        raise click.UsageError("standard input is empty; to write nothing, say --text ''")
    return content


def run_writing(
    face: Face, durability: str, work: Callable[[Agent], Awaitable[Sequence[Written]]]
) -> None:
    """Do the work, and say what it made; also why git has not got it, if it was waited for."""

    async def main(agent: Agent) -> tuple[Sequence[Written], bool, str]:
        results = await work(agent)
        behind = durability == Durability.GIT and not all(each.commit for each in results)
        # Programs see the empty commit id; only people are told more.
        told = behind and not face.json
        return results, told, await find_trouble(agent) if told else ""

    results, behind, trouble = face.run(main)
    _tell(face, results)
    for lease in {each.token: each for result in results for each in result.warnings}.values():
        emit_note(
            f"{lease.holder} holds lease {lease.token} on {lease.path} for another "
            f"{lease.left_seconds:.0f} s; agree before you go on"
        )
    for notice in dict.fromkeys(each for result in results for each in result.notices):
        emit_note(notice)
    if behind:
        reason = f": {trouble}" if trouble else ""
        emit_note(f"it is durable in the journal, and git follows when it can{reason}")


def _tell(face: Face, results: Sequence[Written]) -> None:
    if face.json:
        for written in results:
            emit_json(written)
        return
    for written in results:
        lines = f" (+{written.added} -{written.removed})"
        commit = f" {written.commit[:10]}" if written.commit else ""
        click.echo(shown(f"{written.action.value} {written}{lines}{commit}"))


def run_one(face: Face, durability: str, work: Callable[[Agent], Awaitable[Written]]) -> None:
    """Do one write, and say what it made; see `run_writing`."""

    async def main(agent: Agent) -> Sequence[Written]:
        return (await work(agent),)

    run_writing(face, durability, main)


@click.command()
@click.argument("kind", metavar="TYPE", type=click.Choice(_TYPES))
@click.argument("files", nargs=-1, required=True)
@durability_option
@message_option
@global_options
@pass_face
def add(face: Face, kind: str, files: tuple[str, ...], durability: str, message: str) -> None:
    """Make files that lie in the store documents.

    All FILES become documents of TYPE, or none does.
    """
    if len(files) > OPERATIONS_MAX:
        raise click.UsageError(
            f"add at most {OPERATIONS_MAX} files at once, or a whole folder with init --scan"
        )
    operations = [Add(face.document_path(file), DocumentType(kind)) for file in files]

    async def work(agent: Agent) -> Sequence[Written]:
        done = await agent.transact(operations, durability=durability, message=message)
        return done.results

    with hinting(
        NotFound, "put the file there first, or make the document with: agent-trace write"
    ):
        run_writing(face, durability, work)


@click.command()
@click.argument("path")
@_text
@_file
@_type
@_if_revision
@durability_option
@message_option
@global_options
@pass_face
def write(
    face: Face,
    path: str,
    text: str | None,
    file: BinaryIO | None,
    kind: str | None,
    if_revision: int | None,
    durability: str,
    message: str,
) -> None:
    """Set a document's whole content.

    It is what --text, --file or standard input says; the document is created if there is none.
    """
    content = _content(text, file)
    target = face.document_path(path)

    async def work(agent: Agent) -> Written:
        return await agent.write(
            target,
            content,
            if_revision=if_revision,
            type=kind,
            durability=durability,
            message=message,
        )

    run_one(face, durability, work)


@click.command()
@click.argument("path")
@_text
@_file
@_type
@_if_revision
@durability_option
@message_option
@global_options
@pass_face
def append(
    face: Face,
    path: str,
    text: str | None,
    file: BinaryIO | None,
    kind: str | None,
    if_revision: int | None,
    durability: str,
    message: str,
) -> None:
    """Add to the end of a document, or create it."""
    content = _content(text, file)
    target = face.document_path(path)

    async def work(agent: Agent) -> Written:
        return await agent.append(
            target,
            content,
            if_revision=if_revision,
            type=kind,
            durability=durability,
            message=message,
        )

    run_one(face, durability, work)


@click.command()
@click.argument("path")
@click.option("--old", required=True, help="The exact text to replace; it must occur once.")
@click.option("--new", required=True, help="What stands there afterwards.")
@click.option("--all", "everywhere", is_flag=True, help="Replace every occurrence.")
@_if_revision
@durability_option
@message_option
@global_options
@pass_face
def edit(
    face: Face,
    path: str,
    old: str,
    new: str,
    everywhere: bool,
    if_revision: int | None,
    durability: str,
    message: str,
) -> None:
    """Replace exact text in a document."""
    target = face.document_path(path)

    async def work(agent: Agent) -> Written:
        return await agent.edit(
            target,
            old,
            new,
            all=everywhere,
            if_revision=if_revision,
            durability=durability,
            message=message,
        )

    run_one(face, durability, work)


@click.command()
@click.argument("path")
@click.argument("heading")
@_text
@_file
@click.option("--append", "appending", is_flag=True, help="Add to the section's end instead.")
@_if_revision
@durability_option
@message_option
@global_options
@pass_face
def section(
    face: Face,
    path: str,
    heading: str,
    text: str | None,
    file: BinaryIO | None,
    appending: bool,
    if_revision: int | None,
    durability: str,
    message: str,
) -> None:
    """Replace the text under a Markdown heading, or add to it.

    HEADING is the heading's text, or its line with the leading #s. The section ends before the next
    heading of the same level or a higher one.
    """
    content = _content(text, file)
    target = face.document_path(path)
    mode = SectionMode.APPEND if appending else SectionMode.REPLACE

    async def work(agent: Agent) -> Written:
        return await agent.edit_section(
            target,
            heading,
            content,
            mode=mode,
            if_revision=if_revision,
            durability=durability,
            message=message,
        )

    with hinting(NoMatch, f"the headings there are, shows: agent-trace read {shlex.quote(path)}"):
        run_one(face, durability, work)


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@durability_option
@message_option
@global_options
@pass_face
def rm(face: Face, paths: tuple[str, ...], durability: str, message: str) -> None:
    """Remove documents, all or none; their history stays."""
    operations = [Delete(face.document_path(path)) for path in paths]

    async def work(agent: Agent) -> Sequence[Written]:
        done = await agent.transact(operations, durability=durability, message=message)
        return done.results

    run_writing(face, durability, work)


@click.command()
@click.argument("path")
@click.argument("new_path")
@durability_option
@message_option
@global_options
@pass_face
def mv(face: Face, path: str, new_path: str, durability: str, message: str) -> None:
    """Rename a document; it keeps its type and history."""
    source, target = face.document_path(path), face.document_path(new_path)

    async def work(agent: Agent) -> Written:
        return await agent.move(source, target, durability=durability, message=message)

    run_one(face, durability, work)


@click.command()
@click.argument("path", metavar="PATH@REVISION")
@click.option("--revision", type=click.IntRange(min=1), help="For a path that itself holds an @.")
@durability_option
@message_option
@global_options
@pass_face
def restore(face: Face, path: str, revision: int | None, durability: str, message: str) -> None:
    """Bring an earlier revision back, also of a removed document.

    It becomes the newest revision; those between stay in the history.
    """
    if revision is None:
        path, revision = split_revision(path)
    if revision is None:
        raise click.UsageError(f"say which revision: {path}@N; agent-trace log {path} lists them")
    target, number = face.document_path(path), revision

    async def work(agent: Agent) -> Written:
        return await agent.restore(target, number, durability=durability, message=message)

    run_one(face, durability, work)


@click.command()
@click.argument("draft")
@durability_option
@message_option
@global_options
@pass_face
def accept(face: Face, draft: str, durability: str, message: str) -> None:
    """Write the merge that a conflict offered."""

    async def work(agent: Agent) -> Written:
        return await agent.accept(draft, durability=durability, message=message)

    with hinting(NotFound, _drafts_hint(face)):
        run_one(face, durability, work)


def _drafts_hint(face: Face) -> str:
    root, _ = find_target(face.store)
    if root is None:
        return "the answer of the write that came too late names its draft"
    repository = shlex.quote(str(root / STORE_DIRECTORY / "repo"))
    return (
        "which drafts there were, shows: "
        f"git --git-dir={repository} log --format='%an: %s' --grep='^keep draft-'"
    )


COMMANDS = {
    "add": add,
    "write": write,
    "append": append,
    "edit": edit,
    "section": section,
    "rm": rm,
    "mv": mv,
    "restore": restore,
    "accept": accept,
}
