"""The part of the oracle that knows leases and unlocks: who may be granted what, and until when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from agent_trace_coordinator.core.records import (
    Changed,
    LeaseExtended,
    LeaseGranted,
    LeaseReleased,
    Locked,
    Record,
    SessionClosed,
    Unlocked,
)
from agent_trace_coordinator.core.state import State
from agent_trace_protocol import (
    AcquireLease,
    Actor,
    ErrorCode,
    Leased,
    LeaseList,
    Leases,
    Lock,
    Refused,
    ReleaseLease,
    RenewLease,
    Reply,
    Request,
    Unlock,
)

from .leases import ModelGrant, ModelLease, overlap
from .model import Snapshot

__all__ = ["LEASE_RECORDS", "LeaseOracle", "LeaseRecord", "SentRequest"]

LeaseRecord = LeaseGranted | LeaseExtended | LeaseReleased | Unlocked | Locked
LEASE_RECORDS = (LeaseGranted, LeaseExtended, LeaseReleased, Unlocked, Locked)


class SentRequest(Protocol):
    """A request that somebody sent; see `checker.Sent`."""

    @property
    def session(self) -> str: ...
    @property
    def number(self) -> int: ...
    @property
    def request(self) -> Request: ...
    @property
    def fingerprint(self) -> bytes: ...


@dataclass
class LeaseOracle:
    """Watches leases and unlocks."""

    sent: Callable[[str, int], Sequence[SentRequest]]
    """What a session sent under a number."""
    sent_by: Callable[[str], Sequence[SentRequest]]
    """Everything that a session ever sent."""
    fail: Callable[[str], Exception]
    granted_count: int = 0
    written_count: int = 0
    """Writes under a lease that were carried out."""
    stale_count: int = 0
    """Writes that came too late for their lease, and were refused."""
    unlocked_count: int = 0
    """Writes to protected documents that an unlock allowed."""
    granted_at: dict[int, float] = field(default_factory=dict[int, float])
    ttl_seconds: dict[int, float] = field(default_factory=dict[int, float])
    """When each lease and unlock was granted or renewed, by the time of the world."""
    first_at: dict[int, float] = field(default_factory=dict[int, float])
    """When each unlock was granted."""
    starts: list[float] = field(default_factory=list[float])
    """When coordinators began to serve."""
    seconds: dict[int, int] = field(default_factory=dict[int, int])
    waiting: set[str] = field(default_factory=set[str])
    """Sessions that have ever asked to wait for a lease."""
    inherited: dict[str, list[ModelLease]] = field(default_factory=dict[str, list[ModelLease]])
    """Leases of superseded sessions, by the session that is to get them."""

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """How much was watched: the trials."""
        return self.granted_count, self.written_count, self.stale_count, self.unlocked_count

    # -- time ------------------------------------------------------------------------------

    def reloaded(self, last: Snapshot) -> None:
        """The coordinator knows what is durable, and nothing that it had decided since."""
        self.ttl_seconds = {token: each.ttl_ms / 1000 for token, each in last.leases.items()}

    def submitted(self, record: Record, now: float) -> int:
        """The coordinator has decided something; return the lease that it lets expire, or 0."""
        body = record.body
        if isinstance(body, (LeaseGranted, LeaseExtended)):
            token = record.seq if isinstance(body, LeaseGranted) else body.token
            self.granted_at[token] = now
            self.ttl_seconds[token] = body.ttl_ms / 1000
        elif isinstance(body, Unlocked):
            self.first_at[record.seq] = now
            self.seconds[record.seq] = body.seconds
        elif isinstance(body, LeaseReleased) and body.reason == "expired":
            return body.token
        elif isinstance(body, Changed) and record.actor is Actor.AGENT:
            for rule in body.override.split():
                self._check_unlock(record, int(rule.removeprefix("unlock-")), now)
        return 0

    def _check_unlock(self, record: Record, seq: int, now: float) -> None:
        """However often the coordinator was restarted, and whatever its wall clock did."""
        self.unlocked_count += 1
        since = [self.first_at[seq], *(each for each in self.starts if each > self.first_at[seq])]
        if len(since) > 2 or now > since[-1] + self.seconds[seq] + 0.001:
            raise self.fail(
                f"record {record.seq} at {now:.3f} is allowed by unlock {seq} of "
                f"{self.seconds[seq]} s; granted, and coordinators started, at {since}"
            )

    # -- records ---------------------------------------------------------------------------

    def closed(self, last: Snapshot, record: Record, body: SessionClosed) -> dict[int, ModelLease]:
        """A session ends, and its leases with it; return those that are left."""
        own = [each for each in last.leases.values() if each.session == record.session]
        successor = body.reason.removeprefix("superseded by ")
        if successor != body.reason:
            self.inherited[successor] = own
        return {token: each for token, each in last.leases.items() if each not in own}

    def take(self, last: Snapshot, record: Record, body: LeaseRecord) -> Snapshot:
        """Return the store after a record about leases or unlocks."""
        match body:
            case LeaseGranted():
                return self._granted(last, record, body)
            case LeaseExtended():
                self._asked(record, RenewLease, AcquireLease)
                lease = last.leases.get(body.token)
                if lease is None or lease.session != record.session:
                    raise self.fail(f"record {record.seq} extends another session's lease")
                changed = replace(lease, ttl_ms=body.ttl_ms)
                return replace(last, leases={**last.leases, body.token: changed})
            case LeaseReleased():
                return self._released(last, record, body)
            case Unlocked():
                self._asked(record, Unlock)
                if record.actor is not Actor.USER:
                    raise self.fail(f"record {record.seq} unlocks, and is no user's")
                grant = ModelGrant(record.seq, body.document, body.agent, body.seconds)
                return replace(last, grants={**last.grants, record.seq: grant})
            case Locked():
                if record.actor is not Actor.SYSTEM:
                    self._asked(record, Lock)
                gone = set(body.unlocks)
                if not gone <= last.grants.keys():
                    raise self.fail(f"record {record.seq} locks what was not unlocked")
                left = {seq: each for seq, each in last.grants.items() if seq not in gone}
                return replace(last, grants=left)

    def _asked(self, record: Record, *kinds: type[Request]) -> Request:
        """Return the request behind a record; what has no number was part of another request."""
        known = (
            self.sent(record.session, record.request)
            if record.request
            else self.sent_by(record.session)
        )
        for each in known:
            same = not record.request or each.fingerprint == record.fingerprint
            if same and isinstance(each.request, kinds):
                return each.request
        raise self.fail(f"record {record.seq} is of a request that nobody sent")

    def _granted(self, last: Snapshot, record: Record, body: LeaseGranted) -> Snapshot:
        session = last.sessions.get(record.session)
        if session is None or (session.name, session.actor) != (record.author, record.actor):
            raise self.fail(f"record {record.seq} grants a lease to no open session")
        leases = dict(last.leases)
        if record.request:
            asked = self._asked(record, AcquireLease)
            assert isinstance(asked, AcquireLease)
            told = (asked.path.lower(), asked.shared, round(asked.ttl_seconds * 1000))
            if told != (body.path.lower(), body.shared, body.ttl_ms):
                raise self.fail(f"record {record.seq} grants {body}, asked for was {asked}")
            own = leases.pop(body.previous, None)
            if own is not None and own.session != record.session:
                raise self.fail(f"record {record.seq} takes the place of another's lease")
        else:
            waiting = self.inherited.get(record.session, [])
            before = next((each for each in waiting if each.token == body.previous), None)
            if before is None:
                raise self.fail(f"record {record.seq} hands a lease over that was nobody's")
            told = (before.pattern, before.shared, before.ttl_ms)
            if told != (body.path, body.shared, body.ttl_ms):
                raise self.fail(f"record {record.seq} hands {before} over as {body}")
            waiting.remove(before)
        for other in leases.values():
            both = other.shared and body.shared
            if other.session != record.session and not both and overlap(other.pattern, body.path):
                raise self.fail(f"record {record.seq} grants {body.path} beside {other}")
        self.granted_count += 1
        leases[record.seq] = ModelLease(
            record.seq, record.session, body.path, body.shared, body.ttl_ms
        )
        return replace(last, leases=leases)

    def _released(self, last: Snapshot, record: Record, body: LeaseReleased) -> Snapshot:
        lease = last.leases.get(body.token)
        if lease is None:
            raise self.fail(f"record {record.seq} ends lease {body.token}, which is not held")
        if body.reason.startswith("stolen by "):
            asked = self._asked(record, AcquireLease)
            steals = any(
                isinstance(each.request, AcquireLease) and each.request.steal
                for each in self.sent_by(record.session)
            )
            if record.actor is not Actor.USER or not steals:
                raise self.fail(f"record {record.seq} steals for {record.author}: {asked}")
        elif lease.session != record.session:
            raise self.fail(f"record {record.seq} ends the lease of another session")
        elif body.reason == "released":
            self._asked(record, ReleaseLease)
        elif body.reason != "expired":
            raise self.fail(f"record {record.seq} ends a lease because of {body.reason!r}")
        left = {token: each for token, each in last.leases.items() if token != body.token}
        return replace(last, leases=left)

    def compare(self, state: State, mine: Snapshot) -> None:
        """Compare what the coordinator holds with what its records make of it."""
        theirs = {
            token: ModelLease(token, each.session, each.pattern.text, each.shared, each.ttl_ms)
            for token, each in state.leases.by_token.items()
        }
        if theirs != mine.leases:
            raise self.fail(f"the leases are {theirs}, the records say {mine.leases}")
        grants = {
            seq: ModelGrant(seq, each.document, each.agent, each.seconds)
            for seq, each in state.grants.items()
        }
        if grants != mine.grants:
            raise self.fail(f"the unlocks are {grants}, the records say {mine.grants}")

    # -- replies ---------------------------------------------------------------------------

    def check(
        self, sent: SentRequest, reply: Reply, snapshots: Sequence[Snapshot], record: Record | None
    ) -> str | None:
        """Return why the reply can not be the request's, empty if it can; None: not of leases."""
        request = sent.request
        match request:
            case AcquireLease() | RenewLease():
                if isinstance(reply, Refused):
                    return self._refused(sent, reply.error.code, snapshots, record)
                if not isinstance(reply, Leased):
                    return "it is no lease"
                token = reply.lease.token
                for each in snapshots:
                    lease = each.leases.get(token)
                    if lease is not None and lease.session == sent.session:
                        return ""
                return f"lease {token} was not this session's in any state in between"
            case ReleaseLease():
                if isinstance(reply, Refused):
                    return self._refused(sent, reply.error.code, snapshots, record)
                return "" if record is not None else "the lease is not released on record"
            case Leases():
                if not isinstance(reply, LeaseList):
                    return "it is no list of leases"
                told = {each.token for each in reply.leases}
                if any(each.leases.keys() == told for each in snapshots):
                    return ""
                return "no state in between has these leases"
            case Unlock() | Lock():
                if not isinstance(reply, Refused):
                    return "" if record is not None else "it is not on record"
                if reply.error.code is ErrorCode.REQUEST_REUSED:
                    return self._reused(sent)
                if reply.error.code is ErrorCode.NOT_FOUND:
                    if isinstance(request, Lock):
                        return ""
                    gone = any(each.at(request.path) is None for each in snapshots)
                    return "" if gone else "the document was there all the time"
                return f"it is not refused as {reply.error.code}"
            case _:
                return None

    def _reused(self, sent: SentRequest) -> str:
        # The program was killed, and came back with a number that had been on its way.
        others = [each for each in self.sent(sent.session, sent.number) if each is not sent]
        return "" if others else "nobody used the number for anything else"

    def _refused(
        self,
        sent: SentRequest,
        code: ErrorCode,
        snapshots: Sequence[Snapshot],
        record: Record | None,
    ) -> str:
        request = sent.request
        if code is ErrorCode.REQUEST_REUSED:
            return self._reused(sent)
        if code is ErrorCode.LEASE_HELD and isinstance(request, AcquireLease):
            for each in snapshots:
                for lease in each.leases.values():
                    both = lease.shared and request.shared
                    if (
                        lease.session != sent.session
                        and not both
                        and overlap(lease.pattern, request.path)
                    ):
                        return ""
            # Somebody may have come before it; who waits is in no record.
            return "" if self.waiting - {sent.session} else "nobody had it, and nobody waited"
        if code is ErrorCode.STALE_LEASE:
            token = request.token if isinstance(request, (RenewLease, ReleaseLease)) else 0
            if record is not None and isinstance(request, AcquireLease):
                token = record.seq
            for each in snapshots:
                held = each.leases.get(token)
                if held is None or held.session != sent.session:
                    return ""
            return "the lease was this session's all the time"
        return f"it is not refused as {code}"
