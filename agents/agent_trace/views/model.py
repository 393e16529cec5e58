"""What both views show, made of what the client library returns: who is at work, what happened,
what waits for a person, and the sessions over time.

Pure: no input or output, no clock (`now_ms` is an argument), no colours and no markup. Texts are as
they came; each view makes them harmless for what it writes to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from agent_trace.wording import counted
from agent_trace_protocol import (
    Action,
    Actor,
    DocumentInfo,
    DocumentType,
    LeaseInfo,
    LogEntry,
    SessionInfo,
    SessionState,
    StatusReport,
)

__all__ = [
    "Activity",
    "Concern",
    "Kind",
    "Now",
    "Tone",
    "Worker",
    "activity",
    "by_type",
    "concerns",
    "join_recent",
    "now_of",
]

RECENT_MAX: Final = 200
"""Entries that a view keeps of what happened last."""


class Kind(StrEnum):
    """What sort of thing happened: what a view tells apart at a glance."""

    WRITE = "write"
    REMOVE = "remove"
    CONFLICT = "conflict"
    """A write came too late and is kept as a draft."""
    REFUSAL = "refusal"
    SESSION = "session"
    LEASE = "lease"
    RIGHTS = "rights"
    STEERING = "steering"


class Tone(StrEnum):
    """How something should strike the reader."""

    GOOD = "good"
    QUIET = "quiet"
    WARNING = "warning"
    BAD = "bad"


_SAID: Final[Mapping[Action, tuple[Kind, str]]] = {
    Action.CREATE: (Kind.WRITE, "created"),
    Action.PUT: (Kind.WRITE, "wrote"),
    Action.APPEND: (Kind.WRITE, "added to"),
    Action.EDIT: (Kind.WRITE, "edited"),
    Action.DELETE: (Kind.REMOVE, "deleted"),
    Action.MOVE: (Kind.WRITE, "moved"),
    Action.RESTORE: (Kind.WRITE, "restored"),
    Action.MERGE: (Kind.WRITE, "merged"),
    Action.DRAFT: (Kind.CONFLICT, "came too late for"),
    Action.OPEN: (Kind.SESSION, "connected"),
    Action.CLOSE: (Kind.SESSION, "left"),
    Action.LEASE: (Kind.LEASE, "leased"),
    Action.RENEW: (Kind.LEASE, "renewed the lease on"),
    Action.RELEASE: (Kind.LEASE, "released"),
    Action.RECLASSIFY: (Kind.RIGHTS, "reclassified"),
    Action.ANNOTATE: (Kind.WRITE, "annotated"),
    Action.UNTRACK: (Kind.REMOVE, "untracked"),
    Action.REFUSE: (Kind.REFUSAL, "was refused"),
    Action.REPEAT: (Kind.REFUSAL, "tried again"),
    Action.DISCARD: (Kind.RIGHTS, "discarded a text"),
    Action.UNLOCK: (Kind.RIGHTS, "unlocked"),
    Action.LOCK: (Kind.RIGHTS, "locked"),
    Action.STEER: (Kind.STEERING, "said"),
    Action.UNSTEER: (Kind.STEERING, "took back"),
    Action.REPAIR: (Kind.REMOVE, "lost"),
}

_SUPERSEDED: Final = "superseded"
_ENDINGS: Final = {_SUPERSEDED: "was superseded", "expired": "expired", "evicted": "was evicted"}
"""How sessions that did not end by themselves are told of, by how the reason begins."""


@dataclass(frozen=True, slots=True)
class Activity:
    """One thing that happened, as a line: *who* *did* *what*, then the detail."""

    seq: int
    time_ms: int
    """UTC milliseconds."""
    kind: Kind
    actor: Actor
    who: str
    did: str
    """The verb, in the past: `edited`."""
    path: str
    """The document's path, or the lease's path or glob; empty for what is about none."""
    revision: int
    """The revision made; 0 if none was."""
    added: int
    removed: int
    detail: str
    """One line about what it was in substance; never what the writer says of it."""
    message: str
    """The writer's own words, or empty."""
    session: str
    commit: str

    @property
    def what(self) -> str:
        """What it was done to: `plan.md@3`, `plans/*.md`, or nothing."""
        return f"{self.path}@{self.revision}" if self.revision else self.path


def activity(entry: LogEntry) -> Activity:
    """Return an entry of the log, or an event, as a line."""
    kind, did = _SAID[entry.action]
    detail = entry.summary
    if entry.action is Action.CLOSE:
        did = next((told for how, told in _ENDINGS.items() if detail.startswith(how)), did)
        detail = "" if detail in ("closed", "expired") else detail
    return Activity(
        seq=entry.seq,
        time_ms=entry.time_ms,
        kind=kind,
        actor=entry.actor,
        who=entry.author,
        did=did,
        path=entry.path,
        revision=entry.revision,
        added=entry.added,
        removed=entry.removed,
        detail=detail,
        message=entry.message,
        session=entry.session,
        commit=entry.commit,
    )


def join_recent(
    recent: Sequence[LogEntry], events: Iterable[LogEntry], limit: int = RECENT_MAX
) -> tuple[LogEntry, ...]:
    """Return what happened last, newest first, after more has come.

    Args:
        recent: what was known, newest first.
        events: what came, oldest first; what is known already is not taken twice.
        limit: entries that are kept at most.
    """
    seq = recent[0].seq if recent else 0
    came = [event for event in events if event.seq > seq]
    return (*reversed(came), *recent)[:limit]


# ---- what is going on now ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Worker:
    """An open session, and what it is doing."""

    session: SessionInfo
    last: Activity | None
    """The last thing it did that is about documents, leases or rights; None if nothing recent."""
    leases: tuple[LeaseInfo, ...]
    """Those it holds."""
    writes: int
    """Its writes among the recent entries."""

    @property
    def tone(self) -> Tone:
        """Live is good; a session that has fallen silent is a warning."""
        return Tone.GOOD if self.session.state is SessionState.LIVE else Tone.WARNING


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that a person should know of or decide."""

    tone: Tone
    text: str
    about: str
    """Where to look: `health`, `sessions`, `violations` or `drafts`."""


@dataclass(frozen=True, slots=True)
class Now:
    """What is going on in the store."""

    status: StatusReport
    workers: tuple[Worker, ...]
    """Open sessions, agents first, those that did something last before the others."""
    recent: tuple[Activity, ...]
    """Newest first."""
    concerns: tuple[Concern, ...]
    """The worst first; empty if all is well."""


def now_of(
    status: StatusReport,
    sessions: Sequence[SessionInfo],
    leases: Sequence[LeaseInfo],
    entries: Sequence[LogEntry],
    *,
    own_session: str = "",
) -> Now:
    """Return what is going on.

    Args:
        sessions: the open ones; others are left out.
        entries: what happened lately, newest first.
        own_session: the view's own, which is nobody's work and is left out.
    """
    recent = tuple(activity(entry) for entry in entries)
    last: dict[str, Activity] = {}
    writes: dict[str, int] = {}
    for each in recent:
        if each.kind is not Kind.SESSION:
            last.setdefault(each.session, each)
        if each.kind in (Kind.WRITE, Kind.REMOVE):
            writes[each.session] = writes.get(each.session, 0) + 1
    workers = [
        Worker(
            session,
            last.get(session.id),
            tuple(lease for lease in leases if lease.session == session.id),
            writes.get(session.id, 0),
        )
        for session in sessions
        if session.state is not SessionState.ENDED and session.id != own_session
    ]
    workers.sort(key=_eminence)
    return Now(status, tuple(workers), recent, concerns(status))


def _eminence(worker: Worker) -> tuple[bool, int, str]:
    seq = worker.last.seq if worker.last is not None else 0
    return worker.session.actor is not Actor.AGENT, -seq, worker.session.id


def concerns(status: StatusReport) -> tuple[Concern, ...]:
    """Return what a person should know of or decide, the worst first."""
    over = 0 < status.repository_budget_bytes < status.repository_bytes
    found = (
        (Tone.BAD, status.trouble, "health"),
        (Tone.BAD, status.read_only and f"writes are refused: {status.read_only}", "health"),
        (Tone.WARNING, "the repository is over its budget" if over else "", "health"),
        (Tone.WARNING, _some(status.violations, "refused write"), "violations"),
        (Tone.WARNING, _some(status.drafts, "draft"), "drafts"),
        (Tone.WARNING, _some(status.sessions_stale, "silent session", ""), "sessions"),
    )
    return tuple(Concern(tone, text, about) for tone, text, about in found if text)


def _some(count: int, noun: str, verb: str = "wait") -> str:
    if not count:
        return ""
    return f"{counted(count, noun)} {verb + 's' * (count == 1) if verb else ''}".rstrip()


def by_type(documents: Iterable[DocumentInfo]) -> dict[DocumentType, tuple[DocumentInfo, ...]]:
    """Return documents by their type, in the types' own order, without the types that have none;
    within one in the order in which they came."""
    found: dict[DocumentType, list[DocumentInfo]] = {type: [] for type in DocumentType}
    for document in documents:
        found[document.type].append(document)
    return {type: tuple(those) for type, those in found.items() if those}
