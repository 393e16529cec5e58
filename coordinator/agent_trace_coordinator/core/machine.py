"""`step`: the one entrance of the core. It dispatches and orders; the rules lie in the modules.

Every accepted operation goes the same way: decided without touching the state, made a `Record`,
applied to the state by `apply_record`, and returned as an `Append` in front of the answer that
depends on it. A refusal changes nothing.
"""

from __future__ import annotations

from typing import assert_never

from agent_trace_protocol import (
    AcquireLease,
    Action,
    Actor,
    AgentTraceError,
    Blame,
    Brief,
    CancelLease,
    Close,
    Diff,
    DiscardDraft,
    DiscardViolation,
    Done,
    Drafts,
    DropStatement,
    Durability,
    Events,
    EvictSession,
    Heartbeat,
    InvalidRequest,
    Leases,
    ListDocuments,
    ListStatements,
    Lock,
    Log,
    NotFound,
    Open,
    Opened,
    Permissions,
    Ping,
    Read,
    RecapSession,
    RefreshDocuments,
    Refused,
    ReleaseLease,
    RenewLease,
    Request,
    Search,
    Sessions,
    SessionSuperseded,
    SessionUnknown,
    ShowDocument,
    ShowDraft,
    ShowViolation,
    Snapshot,
    Status,
    Steer,
    Stop,
    Traces,
    Transact,
    Unlock,
    Violations,
    Why,
)
from agent_trace_protocol.limits import (
    TEXT_FIELD_LENGTH_MAX,
)

from .credentials import check_opening, refuse_stranger
from .draft_views import draft_request
from .effects import Answer, AnswerContent, Effect, Leave
from .files import take_files
from .generated import generate
from .inputs import FilesChanged, Now, Received, Refresh, Tick
from .lease_queue import expire, settle, stop_waiting
from .lease_table import LeaseState
from .lease_views import held_info
from .leases import acquire, cancel, hand_over, list_leases, release, renew
from .permissions import Forbidden
from .policy import end_grants, forbid, policy_request, record_refusal
from .questions import ask_history
from .reads import confirm_briefing, note_process, note_read, take_reads
from .recording import append, introduce
from .records import SessionEnded
from .refusals import find_refusal, note_refusal
from .sessions import begin, check_resumed, check_version, due, extend, hear
from .sight import ask_trace
from .state import SessionEntry, State
from .steering import list_statements, steer
from .transactions import repeat, transact
from .views import (
    list_documents,
    list_sessions,
    read,
    read_events,
    read_log,
    read_status,
    search,
)

__all__ = ["step"]


def step(state: State, input: Received | Tick | FilesChanged | Refresh, now: Now) -> list[Effect]:
    """Take one input, change the state, and return what must be done, in order.

    Never raises for anything a client sent: a refusal is an `Answer` too.
    """
    effects: list[Effect]
    match input:
        case Received():
            # Time in which nothing ran counts for nobody, whatever comes first after it.
            extend(state, now)
            stranger = refuse_stranger(state, input)
            if stranger is not None:
                # Before anything is noted: it says nothing of the session and its requests.
                return [stranger]
            try:
                effects = _receive(state, input, now)
            except AgentTraceError as error:
                # A refusal tells of the state too, and of what is not durable in it.
                effects = [Answer(Refused(error.to_info()), state.seq)]
            note_refusal(state, input, effects)
            if state.waiters and state.leases.freed:
                effects += settle(state, now)
            return effects
        case Tick():
            return _tick(state, input, now)
        case FilesChanged():
            extend(state, now)
            return take_files(state, input, now)
        case Refresh():
            return [*generate(state, input.facts, now)]
        case _:
            assert_never(input)


def _receive(state: State, input: Received, now: Now) -> list[Effect]:
    request = input.request
    if isinstance(request, Open):
        return _open(state, input, request, now)
    session = state.sessions.get(input.session)
    if session is None:
        previous = input.facts.previous
        if isinstance(request, Transact) and previous is not None:
            # The session has ended, and what it did stays done: its answer is still its answer.
            in_git = request.durability is Durability.GIT
            return [find_refusal(state, input) or repeat(previous, in_git)]
        if input.facts.session_ended:
            raise SessionSuperseded(
                f"session {input.session} ended ({input.facts.session_ended}); connect anew"
            )
        raise SessionUnknown(f"there is no open session {input.session}; open it first")
    hear(session, now)
    if session.briefing:
        confirm_briefing(session, input.number)
    refused = find_refusal(state, input)
    if refused is not None:
        return [refused]
    # Whether an unlock still holds is known before anything is decided by it.
    writes = isinstance(request, (Transact, Unlock, Lock, DiscardViolation, DiscardDraft))
    if writes or isinstance(request, Events):
        session.watching = not writes
    ended = end_grants(state, now) if writes and input.facts.takes_writes else []
    try:
        return ended + _answer(state, session, input, request, now)
    except Forbidden as forbidden:
        if not input.facts.takes_writes:
            raise forbidden.error from forbidden
        return ended + record_refusal(state, session, input, forbidden, now)
    except AgentTraceError as error:
        if not ended:
            raise
        return [*ended, Answer(Refused(error.to_info()), state.seq)]


def _answer(
    state: State, session: SessionEntry, input: Received, request: Request, now: Now
) -> list[Effect]:
    assert not isinstance(request, Open), "opening comes before there is a session"
    match request:
        case Transact():
            return transact(state, session, input, request, now)
        case (
            Permissions() | Unlock() | Lock() | Violations() | ShowViolation() | DiscardViolation()
        ):
            return policy_request(state, session, input, request, now)
        case Heartbeat() | Ping():
            return [Answer(Done(), 0)]
        case Read():
            answer = read(state, request, input.facts)
            if isinstance(answer, AnswerContent):
                note_read(session, answer.document, answer.revision)
            return [answer]
        case Brief() | Why() | RecapSession():
            return [ask_trace(state, session, request, input.number, now)]
        case ListDocuments():
            return [Answer(list_documents(state, request), state.seq)]
        case Log():
            return [read_log(state, request)]
        case Status():
            return [read_status(state, now)]
        case Drafts() | ShowDraft() | DiscardDraft():
            return draft_request(state, session, input, request, now)
        case Sessions():
            return [list_sessions(state, request, now)]
        case EvictSession():
            return _evict(state, session, request, input.facts.evicted, now)
        case AcquireLease():
            if session.actor is Actor.READER:
                message = "a reader takes no leases; nobody can grant it: connect as an agent"
                raise forbid("reader", Action.REFUSE, request.path, message)
            if request.steal and session.actor is not Actor.USER:
                message = (
                    "only a user takes a lease away from its holder: wait for it, or ask one to "
                    "run agent-trace lease steal"
                )
                raise forbid("only-users-steal", Action.LEASE, request.path, message)
            return acquire(state, session, input, request, now)
        case RenewLease():
            return renew(state, session, request, now)
        case ReleaseLease():
            return release(state, session, input, request, now)
        case CancelLease():
            return cancel(state, session, input, request, now)
        case Leases():
            return [Answer(list_leases(state, request, now), state.seq)]
        case Diff() | Blame() | ShowDocument() | Snapshot() | Traces():
            return [ask_history(state, request, now)]
        case Search():
            return [search(state, request)]
        case Events():
            return [read_events(state, request)]
        case RefreshDocuments():
            if not state.rules.generated:
                raise InvalidRequest("this store generates no documents; see its config.toml")
            effects: list[Effect] = [*generate(state, input.facts, now)]
            return [*effects, Answer(Done(), state.seq)]
        case Steer() | DropStatement():
            return steer(state, session, input, request, now)
        case ListStatements():
            return [Answer(list_statements(state), state.seq)]
        case Close():
            return [*_end(state, session, _reason(request.reason), now), Answer(Done(), state.seq)]
        case Stop():
            if session.actor is not Actor.USER:
                message = "only a user may stop the coordinator; nobody can grant it"
                raise forbid("only-users-stop", Action.CLOSE, "", message)
            return [Answer(Done(), state.seq), Leave(session.name)]
        case _:
            assert_never(request)


# ---- sessions -------------------------------------------------------------------------------


def _open(state: State, input: Received, request: Open, now: Now) -> list[Effect]:
    protocol = check_version(request)
    request = check_opening(request, input.credential)
    effects: list[Effect] = []
    session = state.sessions.get(input.session)
    if session is not None:
        check_resumed(session, request)
        hear(session, now)
        note_process(session, request.pid, request.pid_started)
    else:
        session, superseded = begin(state, input.session, request, input.facts, now)
        note_process(session, request.pid, request.pid_started)
        session.key = "" if input.credential is None else input.credential.key
        inherited: list[LeaseState] = []
        if superseded is not None:
            inherited = state.leases.held_by(superseded.id)
            effects += _end(state, superseded, f"superseded by {session.id}", now)
        if session.ephemeral:
            state.sessions[session.id] = session
        else:
            effects += introduce(state, session, now)
            hear(state.sessions[session.id], now)
            # Before anybody who waits gets them.
            effects += hand_over(state, inherited, session, now)
    opened = Opened(
        session=session.id,
        protocol=protocol,
        epoch=state.epoch,
        store=state.store,
        heartbeat_seconds=state.rules.heartbeat_seconds,
        stale_seconds=state.rules.stale_seconds,
        document_bytes_max=state.rules.document_bytes_max,
        next_number=_next_number(state, session),
        predecessor=session.predecessor,
        leases=held_info(state, session.id, now),
    )
    effects.append(Answer(opened, state.seq))
    return effects


def _next_number(state: State, session: SessionEntry) -> int:
    """Return the smallest request number that is certainly unused: one that waits, or was refused
    without a record, is not in the journal, and a program that comes back does not know of it."""
    waiting = (number for id, number in state.waiters if id == session.id)
    return 1 + max(session.request_high, session.refused_high, *waiting)


def _evict(
    state: State, session: SessionEntry, request: EvictSession, ended: str, now: Now
) -> list[Effect]:
    if session.actor is not Actor.USER:
        which = request.session if request.session in state.sessions else "ID"
        message = f"only a user ends another's session; ask one: agent-trace sessions evict {which}"
        raise forbid("only-users-evict", Action.CLOSE, request.session[:64], message)
    if request.session == session.id:
        raise InvalidRequest("this is the asking session itself; close it")
    if not request.reason.isprintable() or len(request.reason) > TEXT_FIELD_LENGTH_MAX:
        raise InvalidRequest(
            f"a reason is one line of at most {TEXT_FIELD_LENGTH_MAX} printable characters"
        )
    why = f": {request.reason}" if request.reason else ""
    reason = _reason(f"evicted by {session.name}{why}")
    evicted = state.sessions.get(request.session)
    if evicted is None:
        if ended == reason:
            # The same again, because its answer was lost: it is done.
            return [Answer(Done(), state.seq)]
        raise NotFound(f"there is no open session {request.session[:64]}")
    effects = _end(state, evicted, reason, now)
    return [*effects, Answer(Done(), state.seq)]


def _end(state: State, session: SessionEntry, reason: str, now: Now) -> list[Effect]:
    if session.journaled:
        # Whoever waited is told of the end, so not before that is durable.
        # By the clock of the journal, which a wall clock that was put back is behind.
        heard_ms = min(session.heard_ms, max(state.time_ms, now.wall_ms))
        body = SessionEnded(reason, take_reads(session), session.looked, heard_ms)
        return [append(state, session, body, now), *stop_waiting(state, session.id, reason)]
    del state.sessions[session.id]
    return stop_waiting(state, session.id, reason)


def _reason(text: str) -> str:
    return text[:TEXT_FIELD_LENGTH_MAX] if text and text.isprintable() else "closed"


def _tick(state: State, input: Tick, now: Now) -> list[Effect]:
    extend(state, now)
    effects: list[Effect] = []
    for session in due(state, now):
        effects += _end(state, session, "expired", now)
    for id in sorted(input.revoked & state.sessions.keys()):
        effects += _end(state, state.sessions[id], "its key was revoked", now)
    return effects + expire(state, input.gone, now) + end_grants(state, now)
