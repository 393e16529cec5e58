"""The asynchronous client: `connect` and `Agent`, one method per thing one can ask for.

No method has a timeout: wrap the call in `anyio.fail_after` or `anyio.move_on_after`. The deadline
travels with the request. A cancelled write is either not carried out, or carried out as a whole;
which of the two, `log` and `read` tell.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import TypeVar

import anyio

from agent_trace_protocol import (
    AcceptDraft,
    Action,
    Add,
    Append,
    Committed,
    Delete,
    DocumentInfo,
    DocumentType,
    Done,
    Durability,
    Edit,
    InvalidRequest,
    ListDocuments,
    Log,
    LogEntry,
    LogPage,
    MalformedMessage,
    Move,
    Open,
    Operation,
    Page,
    Ping,
    Put,
    Read,
    Reply,
    Request,
    Restore,
    SectionEdit,
    SectionMode,
    SessionInfo,
    SessionKey,
    SessionKind,
    SessionList,
    Sessions,
    Status,
    StatusReport,
    Stop,
    Transact,
)
from agent_trace_protocol import replies as wire
from agent_trace_protocol.limits import (
    OPERATIONS_MAX,
    PAGE_ENTRIES_MAX,
    SESSION_KEY_BYTES,
    TEXT_FIELD_LENGTH_MAX,
)

from .config import Identity, Settings, find_identity, find_target
from .connector import EndpointConnector, StoreConnector
from .errors import CoordinatorFailed
from .launch import listening
from .results import Document, Transaction, Written
from .session import Session
from .transport.base import Connector

__all__ = ["Agent", "connect", "connect_with", "new_key"]

_Answer = TypeVar("_Answer")
_Choice = TypeVar("_Choice", bound=StrEnum)


class Agent:
    """A connected agent or user. Made by `connect`; may be used by many tasks at once."""

    def __init__(self, session: Session, identity: Identity) -> None:
        self._session = session
        self._identity = identity

    @property
    def name(self) -> str:
        """The agent's or user's name."""
        return self._identity.name

    @property
    def session_id(self) -> str:
        """The public id of this session."""
        return self._session.opened.session

    @property
    def predecessor(self) -> str:
        """The id of the session of the same agent that this one follows, or empty."""
        return self._session.opened.predecessor

    @property
    def document_bytes_max(self) -> int:
        """Bytes that a document of this store may have."""
        return self._session.opened.document_bytes_max

    @property
    def seq(self) -> int:
        """The last durable operation of the store that this session has heard of."""
        return self._session.seq

    # ---- writing ----------------------------------------------------------------------------

    async def write(
        self,
        path: str,
        text: str | bytes,
        *,
        if_revision: int | None = None,
        type: DocumentType | str | None = None,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
    ) -> Written:
        """Make the document's content exactly `text`; create the document if there is none.

        Args:
            path: from the store's root, with `/`.
            text: the content; text is written as UTF-8.
            if_revision: only if the document is at this revision; 0: only if there is none.
            type: the type of a document that this creates; scratch if not given.
            durability: `"journal"`: synced to disk; `"git"`: also committed, and the result names
                the commit.
            message: one line about why, kept in the commit.

        Raises:
            Conflict: the document is not at `if_revision`; `info` says what changed.
            PermissionDenied: this actor may not write documents of this type.
        """
        kind = None if type is None else _choice(DocumentType, type)
        return await self._one(Put(path, _content(text), if_revision, kind), durability, message)

    async def append(
        self,
        path: str,
        text: str | bytes,
        *,
        if_revision: int | None = None,
        type: DocumentType | str | None = None,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
    ) -> Written:
        """Add `text` to the end of the document; create the document if there is none.

        Arguments and errors as for `write`.
        """
        kind = None if type is None else _choice(DocumentType, type)
        return await self._one(Append(path, _content(text), if_revision, kind), durability, message)

    async def edit(
        self,
        path: str,
        old: str | bytes,
        new: str | bytes,
        *,
        all: bool = False,
        if_revision: int | None = None,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
    ) -> Written:
        """Replace the exact text `old`, which must occur once, by `new`.

        Args:
            all: replace every occurrence; there must be at least one.

        Other arguments and errors as for `write`.

        Raises:
            NoMatch: `old` does not occur, or occurs more than once without `all`.
            NotFound: there is no such document.
        """
        edit = Edit(path, _content(old), _content(new), all, if_revision)
        return await self._one(edit, durability, message)

    async def edit_section(
        self,
        path: str,
        heading: str,
        text: str | bytes,
        *,
        mode: SectionMode | str = SectionMode.REPLACE,
        if_revision: int | None = None,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
    ) -> Written:
        """Replace the text under a Markdown heading, or with `mode="append"` add to its end.

        Args:
            heading: the heading's text, or its line with the leading `#`s.

        Other arguments and errors as for `edit`.
        """
        edit = SectionEdit(path, heading, _content(text), _choice(SectionMode, mode), if_revision)
        return await self._one(edit, durability, message)

    async def delete(
        self,
        path: str,
        *,
        if_revision: int | None = None,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
    ) -> Written:
        """Remove the document; its history stays, and `restore` brings it back."""
        return await self._one(Delete(path, if_revision), durability, message)

    async def move(
        self,
        path: str,
        new_path: str,
        *,
        if_revision: int | None = None,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
    ) -> Written:
        """Rename the document; it keeps its type and history."""
        return await self._one(Move(path, new_path, if_revision), durability, message)

    async def restore(
        self,
        path: str,
        revision: int,
        *,
        if_revision: int | None = None,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
    ) -> Written:
        """Make an earlier revision's content the newest revision, also of a deleted document."""
        return await self._one(Restore(path, revision, if_revision), durability, message)

    async def add(
        self,
        path: str,
        type: DocumentType | str = DocumentType.SCRATCH,
        *,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
    ) -> Written:
        """Make a file that lies in the store's directory a document, with the content it has."""
        return await self._one(Add(path, _choice(DocumentType, type)), durability, message)

    async def accept(
        self,
        draft: str,
        *,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
    ) -> Written:
        """Write the merge that a conflict offered: `draft` is the `info.draft` of its error."""
        return await self._one(AcceptDraft(draft), durability, message)

    async def transact(
        self,
        operations: Sequence[Operation],
        *,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
    ) -> Transaction:
        """Do several operations in order, all or nothing: one journal record, one commit.

        Raises:
            AgentTraceError: the first refusal; nothing was done.
        """
        if not 1 <= len(operations) <= OPERATIONS_MAX:
            raise InvalidRequest(
                f"a transaction has 1 to {OPERATIONS_MAX} operations, not {len(operations)}"
            )
        request = Transact(tuple(operations), _choice(Durability, durability), message)
        committed = await self._ask(request, Committed)
        seq, commit = committed.seq, committed.commit
        written = tuple(
            Written(made.path, made.revision, seq, commit, made.action, made.added, made.removed)
            for made in committed.results
        )
        return Transaction(seq, commit, written)

    async def _one(self, operation: Operation, durability: Durability | str, why: str) -> Written:
        request = Transact((operation,), _choice(Durability, durability), why)
        committed = await self._ask(request, Committed)
        if not committed.results:
            raise MalformedMessage("the coordinator's answer names no document")
        made = committed.results[0]
        return Written(
            made.path,
            made.revision,
            committed.seq,
            committed.commit,
            made.action,
            made.added,
            made.removed,
        )

    # ---- reading ----------------------------------------------------------------------------

    async def read(self, path: str, revision: int | None = None) -> Document:
        """Return a document: the current revision, or an earlier one.

        Raises:
            NotFound: there is no such document or revision.
        """
        if revision is not None and revision < 1:
            raise InvalidRequest(f"{revision} is not a revision; they count from 1")
        found = await self._ask(Read(path, revision or 0), wire.Document)
        return Document(
            found.path,
            found.type,
            found.revision,
            found.content,
            found.seq,
            found.time_ms,
            found.author,
        )

    async def list(
        self, *, prefix: str = "", type: DocumentType | str | None = None
    ) -> tuple[DocumentInfo, ...]:
        """Return what is known of all documents, ordered by path.

        Documents that come or go meanwhile may or may not be in it.

        Args:
            prefix: only paths that start with this text.
            type: only documents of this type.
        """
        kind = None if type is None else _choice(DocumentType, type)
        documents: list[DocumentInfo] = []
        while True:
            after = documents[-1].path if documents else ""
            request = ListDocuments(after, PAGE_ENTRIES_MAX, kind, prefix)
            page = await self._ask(request, Page)
            documents += page.documents
            if not page.more or not page.documents:
                return tuple(documents)

    async def log(
        self,
        path: str | None = None,
        *,
        limit: int = 50,
        before: int | None = None,
        author: str = "",
        session: str = "",
        action: Action | str | None = None,
    ) -> tuple[LogEntry, ...]:
        """Return what happened, newest first.

        Args:
            path: only this document, followed through its moves.
            limit: at most so many entries.
            before: only entries with a smaller seq.
            author: only what this agent or user did.
            session: only what this session did.
            action: only entries of this kind.
        """
        if limit < 1:
            raise InvalidRequest(f"{limit} is no number of entries; ask for at least 1")
        kind = None if action is None else _choice(Action, action)
        entries: list[LogEntry] = []
        while True:
            count = min(limit - len(entries), PAGE_ENTRIES_MAX)
            lowest = entries[-1].seq if entries else before or 0
            request = Log(path or "", count, lowest, author, session, kind)
            page = await self._ask(request, LogPage)
            entries += page.entries
            if not page.more or not page.entries or len(entries) >= limit:
                return tuple(entries)

    async def status(self) -> StatusReport:
        """Return how the coordinator and the store are."""
        return await self._ask(Status(), StatusReport)

    async def sessions(self) -> tuple[SessionInfo, ...]:
        """Return the sessions that the coordinator knows, live ones first."""
        return (await self._ask(Sessions(), SessionList)).sessions

    async def ping(self) -> None:
        """Return when the coordinator has answered."""
        await self._ask(Ping(), Done)

    async def stop(self) -> None:
        """Ask the coordinator to finish its work and leave; the session ends with it.

        Raises:
            PermissionDenied: only a user may.
        """
        await self._ask(Stop(), Done)
        self._session.abandon()

    async def _ask(self, request: Request, expected: type[_Answer]) -> _Answer:
        reply: Reply = await self._session.request(request)
        if not isinstance(reply, expected):
            raise MalformedMessage(
                f"{type(request).__name__} was answered with {type(reply).__name__}"
            )
        return reply


@asynccontextmanager
async def connect(
    store: str | os.PathLike[str] | None = None,
    *,
    agent: str | None = None,
    user: str | None = None,
    kind: SessionKind = SessionKind.LIBRARY,
    program: str = "",
    model: str = "",
    ephemeral: bool = False,
    takeover: bool = False,
    autostart: bool = True,
) -> AsyncGenerator[Agent, None]:
    """Open a session on a store, and close it at the end of the block.

    Args:
        store: a directory in the store, or a coordinator's address; `AGENT_TRACE_STORE`, else the
            current directory if not given.
        agent: the agent's name; `AGENT_TRACE_AGENT` if neither it nor `user` is given.
        user: the user's name; the login name if there is no agent either.
        kind: how the session reaches the coordinator; it sets its grace after a silence.
        program: what runs, for listings; the program's name if not given.
        model: the language model behind the agent, for listings.
        ephemeral: a one-shot: it leaves no trace of its own unless it changes something.
        takeover: supersede a live session of the same agent.
        autostart: start a coordinator if nobody serves the store.

    Raises:
        StoreNotFound: the directory is in no store.
        CoordinatorFailed: nobody serves the store, and no coordinator could be started.
        AgentBusy: the agent has a live session elsewhere.
    """
    root, endpoint = find_target(store)
    settings = Settings(
        identity=find_identity(agent, user),
        root=root,
        endpoint=endpoint,
        kind=kind,
        program=program,
        model=model,
        ephemeral=ephemeral,
        takeover=takeover,
        autostart=autostart,
    )
    async with connect_with(settings) as connected:
        yield connected


@asynccontextmanager
async def connect_with(
    settings: Settings, connector: Connector | None = None
) -> AsyncGenerator[Agent, None]:
    """Open the session that `settings` describe; what `connect` is made of.

    Args:
        connector: where connections come from, if not from what the settings name.
    """
    opening = _opening(settings)
    session = Session(
        connector or _connector(settings),
        opening,
        settings.key or new_key(),
        reconnect_seconds=settings.reconnect_seconds,
    )
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(session.run)
        try:
            await session.wait_opened()
            yield Agent(session, settings.identity)
        except Exception as error:  # passed on: raised again outside of the task group
            # The task group would wrap what the caller's block raised in an exception group; it
            # goes on from outside of it, as itself.
            failure = error
        finally:
            if settings.keep:
                session.abandon()
            else:
                await session.close()
            group.cancel_scope.cancel()
    if failure is not None:
        raise failure


def new_key() -> SessionKey:
    """Return the key of a new session."""
    return SessionKey(secrets.token_bytes(SESSION_KEY_BYTES))


def _connector(settings: Settings) -> Connector:
    if settings.root is None:
        return EndpointConnector(settings.endpoint)
    if not settings.autostart and listening(settings.root) is None:
        # Later losses are waited out, but nobody waits for what was never there.
        raise CoordinatorFailed(
            f"no coordinator is running for {settings.root}; start one with agent-trace serve"
        )
    return StoreConnector(settings.root, settings.autostart)


def _opening(settings: Settings) -> Open:
    program = settings.program or os.path.basename(sys.argv[0] if sys.argv else "")
    return Open(
        name=settings.identity.name,
        actor=settings.identity.actor,
        kind=settings.kind,
        program=_field(program),
        model=_field(settings.model),
        host=_field(socket.gethostname()),
        pid=os.getpid(),
        pid_started=_process_started(),
        takeover=settings.takeover,
        ephemeral=settings.ephemeral,
    )


def _field(text: str) -> str:
    """Return a descriptive text so that the coordinator takes it: it must never cost a session."""
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return shown[:TEXT_FIELD_LENGTH_MAX]


def _process_started() -> int:
    """Return this process's start in clock ticks since boot; 0 where that can not be told."""
    try:
        with open("/proc/self/stat", "rb") as file:
            # The program's name comes second, in brackets, and may hold anything.
            fields = file.read().rpartition(b")")[2].split()
        return int(fields[19])
    except (OSError, IndexError, ValueError):
        return 0


def _content(text: str | bytes) -> bytes:
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"the text can not be written as UTF-8: {error}") from error


def _choice(choices: type[_Choice], value: str) -> _Choice:
    try:
        return choices(value)
    except ValueError as error:
        allowed = ", ".join(choices)
        raise InvalidRequest(f"{value!r} is not one of {allowed}") from error
