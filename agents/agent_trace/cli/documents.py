"""Commands that change documents: add, write, append, edit, rm, mv, restore, accept.

They wait for git by default: a person does not notice it, and the commit id is proof.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import BinaryIO

import click

from agent_trace.client import Agent
from agent_trace.results import Transaction, Written
from agent_trace_protocol import Add, Delete, DocumentType
from agent_trace_protocol.limits import OPERATIONS_MAX

from .face import Face, durability_option, global_options, message_option, pass_face
from .output import emit_json, shown
from .reading import split_revision

__all__ = ["COMMANDS"]

_TYPES = [each.value for each in DocumentType]
_if_revision = click.option(
    "--if-revision",
    type=click.IntRange(min=0),
    help="Only if the document is at this revision; 0: only if there is none.",
)
_type = click.option(
    "--type", "kind", type=click.Choice(_TYPES), help="The type of a document that this creates."
)
_text = click.option("--text", help="The content itself.")
_file = click.option(
    "--file", type=click.File("rb"), help="A file with the content; - for standard input."
)


def _content(text: str | None, file: BinaryIO | None) -> bytes:
    """Return the content from the one place it was given: --text, --file or standard input."""
    if text is not None and file is not None:
        raise click.UsageError("give the content by --text or by --file, not both")
    if text is not None:
        return text.encode("utf-8", "surrogateescape")
    if file is not None:
        return file.read()
    if sys.stdin.isatty():
        raise click.UsageError("give the content by --text, --file or standard input")
    return sys.stdin.buffer.read()


def _tell(face: Face, results: Sequence[Written]) -> None:
    if face.json:
        for written in results:
            emit_json(written)
        return
    for written in results:
        lines = f" (+{written.added} -{written.removed})"
        commit = f" {written.commit[:10]}" if written.commit else ""
        click.echo(shown(f"{written.action.value} {written}{lines}{commit}"))


def _run_one(face: Face, work: Callable[[Agent], Awaitable[Written]]) -> None:
    _tell(face, (face.run(work),))


@click.command()
@click.argument("kind", metavar="TYPE", type=click.Choice(_TYPES))
@click.argument("files", nargs=-1, required=True)
@durability_option
@message_option
@global_options
@pass_face
def add(face: Face, kind: str, files: tuple[str, ...], durability: str, message: str) -> None:
    """Make FILES that lie in the store documents of TYPE, all or none."""
    if len(files) > OPERATIONS_MAX:
        raise click.UsageError(
            f"add at most {OPERATIONS_MAX} files at once, or a whole folder with init --scan"
        )
    operations = [Add(face.document_path(file), DocumentType(kind)) for file in files]

    async def work(agent: Agent) -> Transaction:
        return await agent.transact(operations, durability=durability, message=message)

    _tell(face, face.run(work).results)


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
    """Make a document's content exactly what --text, --file or standard input says."""
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

    _run_one(face, work)


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
    """Add to the end of a document."""
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

    _run_one(face, work)


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

    _run_one(face, work)


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@durability_option
@message_option
@global_options
@pass_face
def rm(face: Face, paths: tuple[str, ...], durability: str, message: str) -> None:
    """Remove documents, all or none; their history stays."""
    operations = [Delete(face.document_path(path)) for path in paths]

    async def work(agent: Agent) -> Transaction:
        return await agent.transact(operations, durability=durability, message=message)

    _tell(face, face.run(work).results)


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

    _run_one(face, work)


@click.command()
@click.argument("path", metavar="PATH@REVISION")
@click.option("--revision", type=click.IntRange(min=1), help="For a path that itself holds an @.")
@durability_option
@message_option
@global_options
@pass_face
def restore(face: Face, path: str, revision: int | None, durability: str, message: str) -> None:
    """Make an earlier revision the newest one, also of a removed document."""
    if revision is None:
        path, revision = split_revision(path)
    if revision is None:
        raise click.UsageError(f"say which revision: {path}@N; agent-trace log {path} lists them")
    target, number = face.document_path(path), revision

    async def work(agent: Agent) -> Written:
        return await agent.restore(target, number, durability=durability, message=message)

    _run_one(face, work)


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

    _run_one(face, work)


COMMANDS = {
    "add": add,
    "write": write,
    "append": append,
    "edit": edit,
    "rm": rm,
    "mv": mv,
    "restore": restore,
    "accept": accept,
}
