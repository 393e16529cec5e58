"""What the clients know: their calls, the answers, and which of these may be lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent_trace_protocol import Actor, Committed, Durability, ErrorCode, Refused
from crash.history import Answer, Begun, Call, LogReader, Noticed, Resumed, decode_call

__all__ = ["Cuts", "Ledger", "Session"]

_FAULTS: Final = frozenset(
    {
        ErrorCode.MALFORMED,
        ErrorCode.UNSUPPORTED_VERSION,
        ErrorCode.PERMISSION_DENIED,
        ErrorCode.REQUEST_REUSED,
        ErrorCode.CORRUPT,
        ErrorCode.INTERNAL,
    }
)
"""Refusals that nothing the clients do explains."""


class Cuts:
    """When the power was cut, and for which life of the coordinator.

    A sync that races with the shutdown of the file system can report success, so what a coordinator
    said after its cut had begun may be lost.
    """

    def __init__(self) -> None:
        self._begun: dict[int, float] = {}
        self._windows: list[tuple[float, float]] = []

    def begin(self, epoch: int, at: float) -> None:
        """The power of a life is about to be cut."""
        self._begun[epoch] = at
        self._windows.append((at, float("inf")))

    def healed(self, epoch: int, at: float) -> None:
        """The next life serves: files are what they should be again.

        A life that was cut before it had an epoch durably leaves that one to this life.
        """
        self._begun.pop(epoch, None)
        self._windows = [(begin, min(end, at)) for begin, end in self._windows]

    def doubts_answer(self, answer: Answer) -> bool:
        """Return whether what this says may have been lost."""
        begun = self._begun.get(answer.epoch)
        return begun is not None and answer.received >= begun

    def doubts_look(self, since: float, until: float) -> bool:
        """Return whether a look at files in this time may have met a disk without power."""
        return any(begin <= until and since <= end for begin, end in self._windows)


@dataclass(slots=True)
class Session:
    """What the clients know of one session."""

    id: str
    name: str
    actor: Actor
    calls: dict[int, Call] = field(default_factory=dict[int, Call])
    answers: dict[int, Answer] = field(default_factory=dict[int, Answer])
    seq_high: int = 0
    """The highest durable operation that the session was told of for certain."""
    acked_high: int = 0
    """The highest request that was acknowledged for certain."""
    doubted: set[int] = field(default_factory=set[int])
    """Requests whose answers may be lost."""


class Ledger:
    """Everything the clients noted down, and what is wrong with that already."""

    def __init__(self, cuts: Cuts, *, disk_may_fail: bool = False) -> None:
        """A disk that fails to read looks like a damaged one, and is rightly told as that."""
        self._disk_may_fail = disk_may_fail
        self.cuts = cuts
        self.sessions: dict[str, Session] = {}
        self.violations: list[str] = []
        self.refusals: Counter[str] = Counter()
        self.acked = 0
        self.doubtful = 0
        """Acknowledgements that may be lost, because the power was being cut."""
        self.unnamed = 0
        """Acknowledgements of requests that waited for git and yet name no commit."""
        self.fresh: list[tuple[Session, Answer]] = []
        """Answers that were not compared with the journal yet."""
        self._readers: list[tuple[LogReader, list[Session]]] = []

    def add_log(self, path: Path) -> None:
        """Follow a client's log."""
        self._readers.append((LogReader(path), []))

    def read(self) -> None:
        """Take in what was noted down since the last time."""
        for reader, owner in self._readers:
            for line in reader.read():
                match line:
                    case Begun():
                        session = Session(line.session, line.name, line.actor)
                        owner.append(self.sessions.setdefault(line.session, session))
                    case Resumed():
                        self._resumed(owner[-1], line.next_number)
                    case Call():
                        owner[-1].calls[line.number] = line
                    case Answer():
                        self._answered(owner[-1], line)
                    case Noticed():
                        if not self.cuts.doubts_look(line.since, line.until):
                            self.violations.append(
                                f"{owner[-1].name} noticed at request {line.number}, at "
                                f"{line.until:.3f}: {line.problem}"
                            )

    def _resumed(self, session: Session, next_number: int) -> None:
        highest = max(session.calls, default=0)
        if next_number <= session.acked_high:
            self.violations.append(
                f"{session.name} ({session.id}) is told that request {next_number} was not used; "
                f"{session.acked_high} was acknowledged and is LOST"
            )
        elif next_number > highest + 1:
            self.violations.append(
                f"{session.name} ({session.id}) is told to go on with request {next_number}; the "
                f"highest it ever sent is {highest}"
            )

    def _answered(self, session: Session, answer: Answer) -> None:
        session.answers[answer.number] = answer
        self.fresh.append((session, answer))
        reply = answer.reply
        doubted = self.cuts.doubts_answer(answer)
        if isinstance(reply, Committed):
            self.acked += 1
            self.doubtful += doubted
            waited = decode_call(session.calls[answer.number]).durability is Durability.GIT
            self.unnamed += waited and not reply.commit
        if doubted:
            session.doubted.add(answer.number)
            return
        if isinstance(reply, Committed):
            session.acked_high = max(session.acked_high, answer.number)
        who = f"request {answer.number} of {session.name} ({session.id}), epoch {answer.epoch}"
        if answer.seq < session.seq_high:
            self.violations.append(
                f"{who} was answered as of operation {answer.seq}, after {session.seq_high}"
            )
        session.seq_high = max(session.seq_high, answer.seq)
        if isinstance(reply, Refused):
            error = reply.error
            self.refusals[error.code.value] += 1
            # A request that builds on one that may be lost may be refused.
            sure = session.calls[answer.number].sure and answer.number - 1 not in session.doubted
            unread = self._disk_may_fail and error.code is ErrorCode.CORRUPT
            if (sure or error.code in _FAULTS) and not unread:
                operations = decode_call(session.calls[answer.number]).operations
                self.violations.append(
                    f"{who} was refused though nothing spoke against it: {error.code}: "
                    f"{error.message}; it was {str(operations)[:200]}"
                )
