"""Tools that change documents.

A document is never replaced unseen: a write is bound to the revision that its client has seen
last, so what somebody else has written meanwhile comes back as a conflict, with both texts kept.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from agent_trace.results import Written
from agent_trace_protocol import (
    Action,
    AgentTraceError,
    Conflict,
    ConflictInfo,
    Durability,
    NoMatch,
    NotFound,
)

from .convert import COMMIT_DIGITS, acknowledged, notes_about
from .tools import Call, Outcome, Profile, Tool, adding, changing, destroying

__all__ = ["TOOLS"]

_EVERYWHERE: Final = frozenset(Profile)
_FULL: Final = frozenset({Profile.FULL})

_GIT: Final = Durability.GIT
"""A model does not notice the milliseconds, and `git show` of the commit is proof."""

Kind = Literal["plan", "scratch"]
Why = Annotated[str, Meta(description="why, in one line")]


class Change(msgspec.Struct, omit_defaults=True):
    """What a write made."""

    path: str
    revision: int
    commit: str = ""
    also: list[str] = []
    """What else was written with it, as `path@revision`."""
    note: str = ""
    """What is to be looked at: leases of others, changes that were not seen."""


def _knows(call: Call, written: Written) -> bool:
    """Return whether the client knows all that a document says after a change to a part of it: it
    has made the document, or had seen the revision before."""
    return written.action is Action.CREATE or call.seat.seen(written.path) == written.revision - 1


async def _told(call: Call, written: Written, *, known: bool) -> Outcome:
    """Return what a write says.

    Args:
        known: whether the client knows all that the document says now. What it does not know it
            may not replace: the revision that it has seen last stays the one before.
    """
    unseen = 0
    if known:
        call.seat.saw(written.path, 0 if written.action is Action.DELETE else written.revision)
    else:
        unseen = call.seat.seen(written.path) or 0
    trouble = ""
    if not written.commit:
        try:
            trouble = (await call.agent.status()).trouble
        except AgentTraceError:
            # The explanation is a courtesy; its loss must not look like the loss of the write.
            trouble = ""
    notes = notes_about(written, trouble, unseen)
    change = Change(written.path, written.revision, written.commit[:COMMIT_DIGITS], note=notes)
    return Outcome("; ".join(filter(None, (acknowledged(written), notes))), change)


# ---- write_file -------------------------------------------------------------------------------


class WriteFile(msgspec.Struct, forbid_unknown_fields=True):
    path: str
    content: str
    type: Annotated[Kind | None, Meta(description="of a new document; scratch if not given")] = None
    if_revision: Annotated[
        int | None, Meta(description="the one you replace (0: none); else the one you read last")
    ] = None
    message: Why = ""


async def write_file(call: Call, given: WriteFile) -> Outcome:
    expected = given.if_revision
    if expected is None:
        expected = call.seat.seen(given.path) or 0
    written = await call.agent.write(
        given.path,
        given.content,
        if_revision=expected,
        type=given.type,
        durability=_GIT,
        message=given.message,
    )
    return await _told(call, written, known=True)


# ---- edit_file, append_file -------------------------------------------------------------------


class EditFile(msgspec.Struct, forbid_unknown_fields=True):
    path: str
    old_string: Annotated[str, Meta(description="exact text, which occurs once")]
    new_string: str
    replace_all: bool = False
    message: Why = ""


async def edit_file(call: Call, given: EditFile) -> Outcome:
    try:
        written = await call.agent.edit(
            given.path,
            given.old_string,
            given.new_string,
            all=given.replace_all,
            durability=_GIT,
            message=given.message,
        )
    except NoMatch as error:
        raise await _because_changed(call, given.path, error) from error
    return await _told(call, written, known=_knows(call, written))


async def _because_changed(call: Call, path: str, error: NoMatch) -> AgentTraceError:
    """Return what an edit is told whose text is not there: what others changed since its client has
    read the document, if that may be why."""
    seen = call.seat.seen(path)
    if not seen:
        return error
    try:
        report = await call.agent.diff(path, seen)
    except AgentTraceError:
        # It is an explanation only.
        return error
    if not report.diff:
        return error
    info = ConflictInfo(path, seen, report.new_revision, diff=report.diff)
    message = error.message.removesuffix("; read it again")
    return Conflict(f"{message}; it is at revision {info.current} by now, not {seen}", info=info)


class AppendFile(msgspec.Struct, forbid_unknown_fields=True):
    path: str
    content: Annotated[str, Meta(description="whole lines")]
    message: Why = ""


async def append_file(call: Call, given: AppendFile) -> Outcome:
    ending = "" if not given.content or given.content.endswith("\n") else "\n"
    written = await call.agent.append(
        given.path, given.content + ending, durability=_GIT, message=given.message
    )
    return await _told(call, written, known=_knows(call, written))


# ---- accept_draft -----------------------------------------------------------------------------


class AcceptDraft(msgspec.Struct, forbid_unknown_fields=True):
    draft: str


async def accept_draft(call: Call, given: AcceptDraft) -> Outcome:
    try:
        first, *others = (await call.agent.accept(given.draft, durability=_GIT)).results
    except NotFound as error:
        error.add_note("read_file tells what the document says now")
        raise
    told = await _told(call, first, known=_knows(call, first))
    if not others:
        return told
    for each in others:
        if _knows(call, each):
            call.seat.saw(each.path, 0 if each.action is Action.DELETE else each.revision)
    change = Change(
        first.path,
        first.revision,
        first.commit[:COMMIT_DIGITS],
        [str(each) for each in others],
        notes_about(first),
    )
    return Outcome("\n".join([told.text, *map(acknowledged, others)]), change)


# ---- add_document, move_file, delete_file, restore_file ---------------------------------------


class AddDocument(msgspec.Struct, forbid_unknown_fields=True):
    path: str
    type: Kind = "scratch"


async def add_document(call: Call, given: AddDocument) -> Outcome:
    try:
        written = await call.agent.add(given.path, given.type, durability=_GIT)
    except NotFound as error:
        error.add_note(f'write_file(path="{given.path}", ...) makes a document of your text')
        raise
    return await _told(call, written, known=False)


class MoveFile(msgspec.Struct, forbid_unknown_fields=True):
    source: str
    destination: str
    message: Why = ""


async def move_file(call: Call, given: MoveFile) -> Outcome:
    written = await call.agent.move(
        given.source, given.destination, durability=_GIT, message=given.message
    )
    known = call.seat.seen(given.source) == written.revision - 1
    call.seat.saw(given.source, 0)
    return await _told(call, written, known=known)


class DeleteFile(msgspec.Struct, forbid_unknown_fields=True):
    path: str
    message: Why = ""


async def delete_file(call: Call, given: DeleteFile) -> Outcome:
    seen = call.seat.seen(given.path)
    if not seen:
        current = await call.agent.read(given.path)
        raise Conflict(
            f"{current} is not what you have read last: you have read nothing of it; read it "
            "before you remove it"
        )
    written = await call.agent.delete(
        given.path, if_revision=seen, durability=_GIT, message=given.message
    )
    return await _told(call, written, known=True)


class RestoreFile(msgspec.Struct, forbid_unknown_fields=True):
    path: str
    revision: Annotated[int, Meta(ge=1)]
    message: Why = ""


async def restore_file(call: Call, given: RestoreFile) -> Outcome:
    written = await call.agent.restore(
        given.path, given.revision, durability=_GIT, message=given.message
    )
    return await _told(call, written, known=False)


TOOLS: Final[tuple[Tool[Any], ...]] = (
    Tool(
        "write_file",
        "Create a document, or replace one that you have read. If somebody changed it since, "
        "nothing is lost: the error shows their change and keeps your text as a draft.",
        WriteFile,
        write_file,
        changing(idempotent=True),
        Change,
        _EVERYWHERE,
    ),
    Tool(
        "edit_file",
        "Replace exact text in a document. Prefer it to write_file for small changes.",
        EditFile,
        edit_file,
        changing(),
        Change,
        _EVERYWHERE,
    ),
    Tool(
        "append_file",
        "Add lines to the end of a document; creates it if there is none.",
        AppendFile,
        append_file,
        adding(),
        Change,
    ),
    Tool(
        "accept_draft",
        "Write the text that a conflict kept as a draft, merged with what changed meanwhile.",
        AcceptDraft,
        accept_draft,
        changing(idempotent=True),
        Change,
        _EVERYWHERE,
    ),
    Tool(
        "add_document",
        "Make a file that lies in the store's folder already a document.",
        AddDocument,
        add_document,
        adding(idempotent=True),
        Change,
    ),
    Tool(
        "move_file",
        "Rename a document; its type and history stay.",
        MoveFile,
        move_file,
        changing(),
        Change,
        _FULL,
    ),
    Tool(
        "delete_file",
        "Remove a document that you have read; restore_file brings it back.",
        DeleteFile,
        delete_file,
        destroying(),
        Change,
        _FULL,
    ),
    Tool(
        "restore_file",
        "Make an earlier revision of a document, also of a removed one, the newest.",
        RestoreFile,
        restore_file,
        changing(),
        Change,
        _FULL,
    ),
)
