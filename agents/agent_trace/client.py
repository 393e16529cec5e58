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
from typing import Final, TypeVar

import anyio

from agent_trace_protocol import (
    AcceptDraft,
    AcquireLease,
    Action,
    Add,
    Append,
    ApplyViolation,
    CancelLease,
    Committed,
    Delete,
    DiscardViolation,
    DocumentInfo,
    DocumentType,
    Done,
    Durability,
    Edit,
    EventPage,
    Events,
    EvictSession,
    InvalidRequest,
    Leased,
    LeaseInfo,
    LeaseList,
    Leases,
    ListDocuments,
    Lock,
    Log,
    LogEntry,
    LogPage,
    MalformedMessage,
    Move,
    Open,
    Operation,
    Page,
    PermissionReport,
    Permissions,
    Ping,
    Put,
    Read,
    Reclassify,
    ReleaseLease,
    RenewLease,
    Reply,
    Request,
    Restore,
    SectionEdit,
    SectionMode,
    SessionError,
    SessionInfo,
    SessionKey,
    SessionKind,
    SessionList,
    Sessions,
    ShowViolation,
    StaleLease,
    Status,
    StatusReport,
    Stop,
    Transact,
    Unavailable,
    Unlock,
    ViolationInfo,
    ViolationPage,
    ViolationReport,
    Violations,
)
from agent_trace_protocol import replies as wire
from agent_trace_protocol.limits import (
    LEASE_SECONDS_DEFAULT,
    OPERATIONS_MAX,
    PAGE_ENTRIES_MAX,
    SESSION_KEY_BYTES,
    TEXT_FIELD_LENGTH_MAX,
    UNLOCK_SECONDS_MAX,
)

from .config import Identity, Settings, find_identity, find_target
from .connector import EndpointConnector, StoreConnector
from .errors import CoordinatorNotRunning
from .launch import listening
from .leases import HeldLeases, Lease
from .results import Document, Transaction, Written
from .session import CLOSE_SECONDS_MAX, Session
from .transport.base import Connector

__all__ = ["Agent", "connect", "connect_with", "new_key"]

POLL_SECONDS: Final = 30.0
"""How long one request of a follower waits; then it asks again. Proxies and people who look at a
connection like to see that somebody is there."""

BEATS_OF_LEASE: Final = 4
"""Signs of life within the duration of the shortest lease: some may get lost."""

_Answer = TypeVar("_Answer")
_Choice = TypeVar("_Choice", bound=StrEnum)


class Agent:
    """A connected agent or user. Made by `connect`; may be used by many tasks at once."""

    def __init__(self, session: Session, identity: Identity, *, confirm: bool = False) -> None:
        self._session = session
        self._identity = identity
        self._confirm = confirm
        self._held = HeldLeases(session.opened.leases)
        self._keep_alive()

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
    def inherited(self) -> tuple[LeaseInfo, ...]:
        """The leases that this session held when it was opened: its predecessor's, with new
        tokens, or its own if it came back. Release those that are not needed."""
        return self._session.opened.leases

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
        confirm: bool = False,
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
            confirm: override what only needs a user's confirmation; it is recorded. Users only.

        Raises:
            Conflict: the document is not at `if_revision`; `info` says what changed.
            PermissionDenied: this actor may not write documents of this type.
        """
        kind = None if type is None else _choice(DocumentType, type)
        return await self._one(
            Put(path, _content(text), if_revision, kind), durability, message, confirm
        )

    async def append(
        self,
        path: str,
        text: str | bytes,
        *,
        if_revision: int | None = None,
        type: DocumentType | str | None = None,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
        confirm: bool = False,
    ) -> Written:
        """Add `text` to the end of the document; create the document if there is none.

        Arguments and errors as for `write`.
        """
        kind = None if type is None else _choice(DocumentType, type)
        return await self._one(
            Append(path, _content(text), if_revision, kind), durability, message, confirm
        )

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
        confirm: bool = False,
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
        return await self._one(edit, durability, message, confirm)

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
        confirm: bool = False,
    ) -> Written:
        """Replace the text under a Markdown heading, or with `mode="append"` add to its end.

        Args:
            heading: the heading's text, or its line with the leading `#`s.

        Other arguments and errors as for `edit`.
        """
        edit = SectionEdit(path, heading, _content(text), _choice(SectionMode, mode), if_revision)
        return await self._one(edit, durability, message, confirm)

    async def delete(
        self,
        path: str,
        *,
        if_revision: int | None = None,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
        confirm: bool = False,
    ) -> Written:
        """Remove the document; its history stays, and `restore` brings it back."""
        return await self._one(Delete(path, if_revision), durability, message, confirm)

    async def move(
        self,
        path: str,
        new_path: str,
        *,
        if_revision: int | None = None,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
        confirm: bool = False,
    ) -> Written:
        """Rename the document; it keeps its type and history."""
        return await self._one(Move(path, new_path, if_revision), durability, message, confirm)

    async def restore(
        self,
        path: str,
        revision: int,
        *,
        if_revision: int | None = None,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
        confirm: bool = False,
    ) -> Written:
        """Make an earlier revision's content the newest revision, also of a deleted document."""
        return await self._one(Restore(path, revision, if_revision), durability, message, confirm)

    async def add(
        self,
        path: str,
        type: DocumentType | str = DocumentType.SCRATCH,
        *,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
        confirm: bool = False,
    ) -> Written:
        """Make a file that lies in the store's directory a document, with the content it has."""
        return await self._one(Add(path, _choice(DocumentType, type)), durability, message, confirm)

    async def accept(
        self,
        draft: str,
        *,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
        confirm: bool = False,
    ) -> Written:
        """Write the merge that a conflict offered: `draft` is the `info.draft` of its error."""
        return await self._one(AcceptDraft(draft), durability, message, confirm)

    async def reclassify(
        self,
        path: str,
        type: DocumentType | str,
        *,
        if_revision: int | None = None,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
        confirm: bool = False,
    ) -> Written:
        """Change the document's type, and with it who may write it. Users only."""
        change = Reclassify(path, _choice(DocumentType, type), if_revision)
        return await self._one(change, durability, message, confirm)

    async def apply_violation(
        self,
        violation: str,
        *,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
        confirm: bool = False,
    ) -> Transaction:
        """Write what was refused, joined with what has changed since. Users only.

        Raises:
            Conflict: what was refused touches what has changed since.
        """
        return await self.transact(
            (ApplyViolation(violation),), durability=durability, message=message, confirm=confirm
        )

    async def transact(
        self,
        operations: Sequence[Operation],
        *,
        durability: Durability | str = Durability.JOURNAL,
        message: str = "",
        confirm: bool = False,
        leases: Sequence[int] | None = None,
    ) -> Transaction:
        """Do several operations in order, all or nothing: one journal record, one commit.

        Args:
            leases: tokens of the leases under which it is done; those that cover a path of it if
                none are given.

        Raises:
            StaleLease: one of the leases has ended; `info` says who holds it, and the draft that
                keeps the text.
            AgentTraceError: the first refusal; nothing was done.
        """
        if not 1 <= len(operations) <= OPERATIONS_MAX:
            raise InvalidRequest(
                f"a transaction has 1 to {OPERATIONS_MAX} operations, not {len(operations)}"
            )
        request = Transact(
            tuple(operations),
            _choice(Durability, durability),
            message,
            self._tokens(operations) if leases is None else tuple(leases),
            confirm=confirm or self._confirm,
        )
        committed = await self._ask(request, Committed)
        seq, commit = committed.seq, committed.commit
        written = tuple(
            Written(
                made.path,
                made.revision,
                seq,
                commit,
                made.action,
                made.added,
                made.removed,
                committed.warnings,
            )
            for made in committed.results
        )
        return Transaction(seq, commit, written, committed.warnings)

    async def _one(
        self, operation: Operation, durability: Durability | str, why: str, confirm: bool
    ) -> Written:
        request = Transact(
            (operation,),
            _choice(Durability, durability),
            why,
            self._tokens((operation,)),
            confirm=confirm or self._confirm,
        )
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
            committed.warnings,
        )

    def _tokens(self, operations: Sequence[Operation]) -> tuple[int, ...]:
        paths: list[str] = []
        for operation in operations:
            if not isinstance(operation, AcceptDraft | ApplyViolation):
                paths.append(operation.path)
            if isinstance(operation, Move):
                paths.append(operation.new_path)
        return self._held.covering(paths)[:OPERATIONS_MAX]

    # ---- leases -----------------------------------------------------------------------------

    async def acquire(
        self,
        path: str,
        *,
        shared: bool = False,
        ttl_seconds: float = LEASE_SECONDS_DEFAULT,
        wait_seconds: float = 0.0,
        steal: bool = False,
    ) -> Lease:
        """Get a lease on a path or a glob; `lease` does so for the length of a block.

        It is renewed for as long as this session lives. Cancelled, the request is undone.

        Args:
            path: a document's path, or a glob with `*`, `?` and `**`.
            shared: whether others may hold shared leases on the same documents.
            ttl_seconds: how long it lasts after the session's last sign of life, 1 s to a day.
            wait_seconds: how long to wait behind others, at most an hour.
            steal: end the leases that are in the way. Users only.

        Raises:
            LeaseHeld: it is not free; `info` says who has it, until when, and whether both wait
                for each other.
        """
        request = AcquireLease(path, shared, ttl_seconds, wait_seconds, steal)
        reply = await self._session.request(request, undo=CancelLease)
        if not isinstance(reply, Leased):
            raise MalformedMessage(f"AcquireLease was answered with {type(reply).__name__}")
        self._held.enter(reply.lease)
        self._keep_alive()
        return Lease(reply.lease, self._session)

    @asynccontextmanager
    async def lease(
        self,
        path: str,
        *,
        shared: bool = False,
        ttl_seconds: float = LEASE_SECONDS_DEFAULT,
        wait_seconds: float = 0.0,
        steal: bool = False,
    ) -> AsyncGenerator[Lease, None]:
        """Hold a lease for the length of a block. Arguments and errors as for `acquire`."""
        lease = await self.acquire(
            path, shared=shared, ttl_seconds=ttl_seconds, wait_seconds=wait_seconds, steal=steal
        )
        try:
            yield lease
        finally:
            with anyio.move_on_after(CLOSE_SECONDS_MAX, shield=True):
                try:
                    await self.release(lease)
                except (StaleLease, SessionError, Unavailable):
                    # It has ended already, or ends with its time: nothing is left to do.
                    pass

    async def renew(self, lease: Lease | int, *, ttl_seconds: float | None = None) -> LeaseInfo:
        """Let a lease last for its whole duration from here on, or for another one.

        Raises:
            StaleLease: this session does not hold it any more.
        """
        token = lease if isinstance(lease, int) else lease.token
        leased = await self._ask(RenewLease(token, ttl_seconds or 0.0), Leased)
        self._held.enter(leased.lease)
        self._keep_alive()
        return leased.lease

    async def release(self, lease: Lease | int) -> None:
        """End a lease of this session.

        Raises:
            StaleLease: this session does not hold it any more.
        """
        token = lease if isinstance(lease, int) else lease.token
        self._held.leave(token)
        self._keep_alive()
        await self._ask(ReleaseLease(token), Done)

    def _keep_alive(self) -> None:
        shortest = self._held.ttl_seconds_min
        self._session.beat_every(None if shortest is None else shortest / BEATS_OF_LEASE)

    async def leases(self, path: str = "", *, session: str = "") -> LeaseList:
        """Return the leases in the order in which they were granted, and who waits for one.

        Args:
            path: only leases that cover this path, or overlap this glob.
            session: only this session's.
        """
        page = await self._ask(Leases(path, session, 0, PAGE_ENTRIES_MAX), LeaseList)
        leases, waiters = [*page.leases], page.waiters
        while page.more and page.leases:
            after = page.leases[-1].token
            page = await self._ask(Leases(path, session, after, PAGE_ENTRIES_MAX), LeaseList)
            leases += page.leases
        return LeaseList(tuple(leases), waiters, False)

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

    # ---- rights and refused writes ----------------------------------------------------------

    async def permissions(self, path: str = "") -> PermissionReport:
        """Return what this session may do to documents of each type, or to one document."""
        return await self._ask(Permissions(path), PermissionReport)

    async def unlock(self, path: str, *, agent: str = "", seconds: int = 600) -> None:
        """Let agents, or the one that is named, write a protected document for a while.

        Raises:
            PermissionDenied: only a user may.
        """
        if not 1 <= seconds <= UNLOCK_SECONDS_MAX:
            raise InvalidRequest(
                f"an unlock lasts 1 to {UNLOCK_SECONDS_MAX} seconds, not {seconds}"
            )
        await self._ask(Unlock(path, agent, seconds), Done)

    async def lock(self, path: str, *, agent: str = "") -> None:
        """End the document's unlocks, or that for one agent, before their time. Users only."""
        await self._ask(Lock(path, agent), Done)

    async def violations(
        self, *, limit: int = 50, before: int | None = None
    ) -> tuple[ViolationInfo, ...]:
        """Return refused writes that wait, newest first; an agent sees its own."""
        found: list[ViolationInfo] = []
        while True:
            count = min(limit - len(found), PAGE_ENTRIES_MAX)
            lowest = found[-1].seq if found else before or 0
            page = await self._ask(Violations(lowest, count), ViolationPage)
            found += page.violations
            if not page.more or not page.violations or len(found) >= limit:
                return tuple(found)

    async def violation(self, id: str) -> ViolationReport:
        """Return one refused write with its text, and what it would change. Users only."""
        return await self._ask(ShowViolation(id), ViolationReport)

    async def discard_violation(self, id: str) -> None:
        """Throw a refused write's text away; that it was refused stays on record. Users only."""
        await self._ask(DiscardViolation(id), Done)

    async def status(self) -> StatusReport:
        """Return how the coordinator and the store are."""
        return await self._ask(Status(), StatusReport)

    async def sessions(
        self,
        *,
        id: str = "",
        name: str = "",
        ended: bool = False,
        limit: int = PAGE_ENTRIES_MAX,
    ) -> tuple[SessionInfo, ...]:
        """Return sessions: the open ones, those seen last first, then ended ones, newest first.

        Args:
            id: only sessions whose id begins with this.
            name: only this agent's or user's.
            ended: also those that have ended.
            limit: at most so many, up to 1000.
        """
        return (await self._ask(Sessions(id, name, ended, limit), SessionList)).sessions

    async def evict(self, session: str, *, reason: str = "") -> None:
        """End another session: its leases are free, and its process can change nothing. Users only.

        Raises:
            NotFound: there is no open session with this id.
        """
        await self._ask(EvictSession(session, reason), Done)

    # ---- following --------------------------------------------------------------------------

    async def event_page(
        self,
        since: int,
        *,
        limit: int = 100,
        wait_seconds: float = 0.0,
        path: str = "",
        author: str = "",
        actions: Sequence[Action | str] = (),
    ) -> EventPage:
        """Return what happened after operation `since`, oldest first, waiting if nothing has yet.

        Going on with `since=page.cursor` gives everything, once, however much later.

        Args:
            limit: about so many events; those of one operation are never parted.
            wait_seconds: how long to wait for the first one, at most 300.
            path: only what concerns this path, or paths that this glob matches.
            author: only what this agent or user did.
            actions: only entries of these kinds.
        """
        kinds = tuple(_choice(Action, each) for each in actions)
        return await self._ask(Events(since, limit, wait_seconds, path, author, kinds), EventPage)

    async def events(
        self,
        since: int | None = None,
        *,
        follow: bool = False,
        path: str = "",
        author: str = "",
        actions: Sequence[Action | str] = (),
    ) -> AsyncGenerator[LogEntry, None]:
        """Yield what happened after operation `since`, oldest first, without gaps.

        Args:
            since: the `seq` of the last event that was dealt with; 0 for everything. If not given,
                everything, or with `follow` what happens from now on.
            follow: go on when there is no more, and wait for what comes.

        Other arguments as for `event_page`, which tells a cursor as well. An operation on several
        documents has several events with one `seq`: who stores it should have seen all of them.
        """
        cursor = since if since is not None else self.seq if follow else 0
        wait_seconds = POLL_SECONDS if follow else 0.0
        while True:
            page = await self.event_page(
                cursor,
                limit=PAGE_ENTRIES_MAX,
                wait_seconds=wait_seconds,
                path=path,
                author=author,
                actions=actions,
            )
            for event in page.events:
                yield event
            cursor = page.cursor
            if not (follow or page.more):
                return

    async def ping(self) -> None:
        """Return when the coordinator has answered."""
        await self._ask(Ping(), Done)

    async def wait_ended(self) -> None:
        """Wait until this session can go on no more, and raise why: it was evicted, superseded, or
        its coordinator did not come back."""
        raise await self._session.wait_end()

    def stop_renewing(self) -> None:
        """Give no more signs of life by itself, because what the agent runs in is gone.

        The session and its leases end when their time is over, unless requests renew them.
        """
        self._session.stop_renewing()

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
    reader: str | None = None,
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
        reader: the name of somebody who may read and change nothing, in the place of the two.
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
        identity=find_identity(agent, user, reader),
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
            yield Agent(session, settings.identity, confirm=settings.confirm)
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
        raise CoordinatorNotRunning(
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
        transport=transport_of(settings),
    )


def transport_of(settings: Settings) -> str:
    """Return by what a session is connected, as listings show it."""
    return settings.transport or settings.endpoint.partition(":")[0] or "ipc"


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
