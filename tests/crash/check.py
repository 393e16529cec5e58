"""The laws, checked on what is really on the disk: state.db by SQLite, history by plain git.

`Ledger` knows what the clients called and were told; `check_journal` compares that with new records
after every crash, `check_store` everything at the end. Nothing here writes to the store.
"""

from __future__ import annotations

import bisect
import hashlib
import os
import re
import sqlite3
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent_trace_coordinator.core.records import (
    Changed,
    Drafted,
    Record,
    SessionClosed,
    SessionOpened,
    decode_record,
)
from agent_trace_coordinator.storage.commit import CommitTrailers, ForeignCommit, parse_trailers
from agent_trace_protocol import Actor, Committed, Durability, Put, Refused
from crash.history import Answer, Begun, Call, LogReader, Noticed, decode_call
from crash.model import Effect, Impossible, Model

__all__ = [
    "Checker",
    "Cuts",
    "Ledger",
    "Snapshot",
    "check_store",
    "commits_in_git",
    "find_damage",
    "run_git",
    "take_snapshot",
]

VIOLATIONS_MAX: Final = 50
"""Violations that are told; one broken thing tends to show in many places."""

STORE_DIRECTORY: Final = ".agent-trace"

_TEMPORARY: Final = re.compile(
    r".*\.(?:lock|tmp|rewriting|new|keep)|tmp_.*|\.tmp-.*|fast_import_crash_.*"
)

_LASTING: Final = frozenset({"coordinator.lock"})
"""Names that look temporary and are not."""


class Cuts:
    """When the power was cut. What was told after a cut had begun may be lost."""

    def __init__(self) -> None:
        self._begun: list[float] = []
        self._over: list[float] = []

    def begin(self, at: float) -> None:
        """The cut begins; until `end` nothing that is told counts."""
        self._begun.append(at)
        self._over.append(float("inf"))

    def end(self, at: float) -> None:
        """Nobody of the life before can speak any more."""
        self._over[-1] = at

    def hit(self, at: float) -> bool:
        """Return whether something that was heard at this time may have been said in a cut."""
        index = bisect.bisect_right(self._begun, at) - 1
        return index >= 0 and at < self._over[index]


@dataclass(slots=True)
class Session:
    """What the clients know of one session."""

    name: str
    actor: Actor
    calls: dict[int, Call] = field(default_factory=dict[int, Call])
    answers: dict[int, Answer] = field(default_factory=dict[int, Answer])


class Ledger:
    """Everything the clients noted down, and what is wrong with that already."""

    def __init__(self, cuts: Cuts) -> None:
        self.cuts = cuts
        self.sessions: dict[str, Session] = {}
        self.violations: list[str] = []
        self.refusals: Counter[str] = Counter()
        self.acked = 0
        self.doubtful = 0
        """Answers that came when the power was already being cut."""
        self.unnamed = 0
        """Answers to requests that waited for git and yet name no commit."""
        self.fresh: list[tuple[str, int]] = []
        """(session, number) of the answers since the last check of the journal."""
        self._readers: list[tuple[LogReader, list[Session]]] = []
        self._seen: dict[str, int] = {}

    def add_log(self, path: Path) -> None:
        """Follow a client's log."""
        self._readers.append((LogReader(path), []))

    def read(self) -> None:
        """Take in what was noted down since the last time."""
        for reader, owner in self._readers:
            for line in reader.read():
                match line:
                    case Begun():
                        session = self.sessions.setdefault(
                            line.session, Session(line.name, line.actor)
                        )
                        owner.append(session)
                        self._seen.setdefault(line.session, 0)
                        self._names[id(session)] = line.session
                    case Call():
                        owner[-1].calls[line.number] = line
                    case Answer():
                        self._answered(owner[-1], line)
                    case Noticed():
                        if not self.cuts.hit(line.at):
                            self.violations.append(
                                f"noticed by {owner[-1].name}, request {line.number}, at "
                                f"{line.at:.3f}: {line.problem}"
                            )

    @property
    def _names(self) -> dict[int, str]:
        return self.__dict_names

    __dict_names: dict[int, str]
