"""Commands that change documents: add, write, append, edit, section, rm, mv, restore.

They wait for git by default: a person does not notice it, and the commit id is proof.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, TypeVar, cast

import click

from agent_trace.client import Agent
from agent_trace.results import Written
from agent_trace.scanning import guess_file_type
from agent_trace_protocol import (
    Actor,
    Add,
    Delete,
    DocumentType,
    NoMatch,
    NotFound,
    SectionMode,
)
from agent_trace_protocol.limits import OPERATIONS_MAX

from .completing import DOCUMENT, FILE_OR_TYPE
from .face import (
    Face,
    durability_option,
    global_options,
    message_option,
    pass_face,
)
from .failures import hinting
from .output import emit_note
from .revisions import number_argument, revision_option, which_revision
from .written import run_one, run_writing

__all__ = ["COMMANDS"]

_F = TypeVar("_F", bound=Callable[..., Any])

_TYPES = [each.value for each in DocumentType]
_AGENTS_TYPES = (DocumentType.PLAN, DocumentType.SCRATCH)
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


def _writing(command: _F) -> _F:
    """Give a command the options of everything that changes one document's text; they come to it
    as `how`: `if_revision`, `durability` and `message`."""
    options = (_if_revision, durability_option, message_option, global_options, pass_face)
    made: Any = command
    for option in reversed(options):
        made = option(made)
    return cast(_F, made)


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


@click.command()
@click.argument("words", metavar="[TYPE] FILE...", nargs=-1, required=True, type=FILE_OR_TYPE)
@click.option("--type", "kind", type=click.Choice(_TYPES), help="The same as TYPE.")
@durability_option
@message_option
@global_options
@pass_face
def add(
    face: Face, words: tuple[str, ...], kind: str | None, durability: str, message: str
) -> None:
    """Make files that lie in the store documents.

    All FILES become documents of TYPE (plan, context, log, reference, scratch), or none does.
    Without TYPE, each file's front matter, name and folder decide, and it is said what they did.
    """
    files = words
    if kind is None and words[0] in _TYPES:
        kind, files = words[0], words[1:]
    if not files:
        raise click.UsageError(
            f"name the files: agent-trace add {kind} FILE; if {kind} is one: "
            f"agent-trace add ./{kind}"
        )
    if len(files) > OPERATIONS_MAX:
        raise click.UsageError(
            f"add at most {OPERATIONS_MAX} files at once, or a whole folder with init --scan"
        )
    paths = [face.document_path(file) for file in files]
    guesses = [] if kind else _guesses(face, paths)
    types = [DocumentType(kind)] * len(paths) if kind else [type for type, _ in guesses]
    operations = [Add(path, type) for path, type in zip(paths, types, strict=True)]

    async def work(agent: Agent) -> Sequence[Written]:
        done = await agent.transact(operations, durability=durability, message=message)
        return done.results

    with hinting(
        NotFound, "put the file there first, or make the document with: agent-trace write"
    ):
        run_writing(face, durability, work)
    for path, (type, why) in zip(paths, guesses, strict=False):
        emit_note(
            f"{face.path_here(path)} was taken for a {type.value} ({why}); to change it: "
            f"agent-trace reclassify {face.typed_path(path)} TYPE"
        )


def _guesses(face: Face, paths: list[str]) -> list[tuple[DocumentType, str]]:
    """Return a type for each file, and what it was taken from."""
    guesses = [guess_file_type(face.root() / path, path) for path in paths]
    if face.identity().actor is not Actor.USER:
        # What an agent may not register is no guess for it, but a refused write.
        guesses = [
            (type, why) if type in _AGENTS_TYPES else (DocumentType.SCRATCH, "agents add no others")
            for type, why in guesses
        ]
    return guesses


@click.command()
@click.argument("path", type=DOCUMENT)
@_text
@_file
@_type
@_writing
def write(
    face: Face, path: str, text: str | None, file: BinaryIO | None, kind: str | None, **how: Any
) -> None:
    """Set a document's whole content.

    It is what --text, --file or standard input says; the document is created if there is none.
    """
    content = _content(text, file)
    target = face.attempted_path(path)
    run_one(face, how["durability"], lambda agent: agent.write(target, content, type=kind, **how))


@click.command()
@click.argument("path", type=DOCUMENT)
@_text
@_file
@_type
@_writing
def append(
    face: Face, path: str, text: str | None, file: BinaryIO | None, kind: str | None, **how: Any
) -> None:
    """Add to the end of a document, or create it."""
    content = _content(text, file)
    target = face.attempted_path(path)
    run_one(face, how["durability"], lambda agent: agent.append(target, content, type=kind, **how))


@click.command()
@click.argument("path", type=DOCUMENT)
@click.option("--old", required=True, help="The exact text to replace; it must occur once.")
@click.option("--new", required=True, help="What stands there afterwards.")
@click.option("--all", "everywhere", is_flag=True, help="Replace every occurrence.")
@_writing
def edit(face: Face, path: str, old: str, new: str, everywhere: bool, **how: Any) -> None:
    """Replace exact text in a document."""
    target = face.attempted_path(path)
    run_one(
        face, how["durability"], lambda agent: agent.edit(target, old, new, all=everywhere, **how)
    )


@click.command()
@click.argument("path", type=DOCUMENT)
@click.argument("heading")
@_text
@_file
@click.option("--append", "appending", is_flag=True, help="Add to the section's end instead.")
@_writing
def section(
    face: Face,
    path: str,
    heading: str,
    text: str | None,
    file: BinaryIO | None,
    appending: bool,
    **how: Any,
) -> None:
    """Replace the text under a Markdown heading, or add to it.

    HEADING is the heading's text, or its line with the leading #s. The section ends before the next
    heading of the same level or a higher one.
    """
    content = _content(text, file)
    target = face.attempted_path(path)
    mode = SectionMode.APPEND if appending else SectionMode.REPLACE
    with hinting(
        NoMatch,
        f"the lines of its headings begin with #; see them with: agent-trace read "
        f"{shlex.quote(path)}",
    ):
        run_one(
            face,
            how["durability"],
            lambda agent: agent.edit_section(target, heading, content, mode=mode, **how),
        )


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=DOCUMENT)
@durability_option
@message_option
@global_options
@pass_face
def rm(face: Face, paths: tuple[str, ...], durability: str, message: str) -> None:
    """Remove documents, all or none; their history stays."""
    operations = [Delete(face.attempted_path(path)) for path in paths]

    async def work(agent: Agent) -> Sequence[Written]:
        done = await agent.transact(operations, durability=durability, message=message)
        return done.results

    run_writing(face, durability, work)


@click.command()
@click.argument("path", type=DOCUMENT)
@click.argument("new_path", type=DOCUMENT)
@durability_option
@message_option
@global_options
@pass_face
def mv(face: Face, path: str, new_path: str, durability: str, message: str) -> None:
    """Rename a document; it keeps its type and history."""
    source, target = face.attempted_path(path), face.attempted_path(new_path)

    async def work(agent: Agent) -> Written:
        return await agent.move(source, target, durability=durability, message=message)

    run_one(face, durability, work)


@click.command()
@click.argument("path", metavar="PATH@REVISION", type=DOCUMENT)
@number_argument
@revision_option
@durability_option
@message_option
@global_options
@pass_face
def restore(
    face: Face,
    path: str,
    number: int | None,
    revision: int | None,
    durability: str,
    message: str,
) -> None:
    """Bring an earlier revision back.

    Also of a removed document. It becomes the newest revision; those between stay in the history.
    """
    path, named = which_revision(path, number, revision)
    if named is None:
        raise click.UsageError(f"say which revision: {path}@N; agent-trace log {path} lists them")
    target, which = face.document_path(path), named

    async def work(agent: Agent) -> Written:
        return await agent.restore(target, which, durability=durability, message=message)

    run_one(face, durability, work)


COMMANDS = {
    "add": add,
    "write": write,
    "append": append,
    "edit": edit,
    "section": section,
    "rm": rm,
    "mv": mv,
    "restore": restore,
}
