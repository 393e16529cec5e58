"""Bugs of the shell: what is answered when, what is looked up where, what a full disk leaves."""

from __future__ import annotations

from typing import Final

from agent_trace_coordinator.server.event_feed import EventFeed
from agent_trace_coordinator.server.journal_stage import JournalStage
from agent_trace_coordinator.server.lookup import Lookup
from agent_trace_coordinator.server.runtime import Runtime
from agent_trace_coordinator.server.shares import Shares

from .plant import Mutant

__all__ = ["SHELL_MUTANTS"]

# pyright: reportPrivateUsage=false

SHELL_MUTANTS: Final = (
    # -- durable before visible --
    Mutant(
        "acknowledged before durable",
        Runtime._when_durable,
        "if seq <= self._journal.durable_seq:",
        "if True:",
        "a power cut loses acknowledged writes",
    ),
    Mutant(
        "read before durable",
        Runtime._answer_content,
        "self._when_durable(answer.after, peer, number, send)",
        "send()",
        "an agent reads what a power cut undoes",
    ),
    Mutant(
        "answers leave one batch early",
        Runtime.on_durable,
        "self._held.pop(entry.record.seq, ())",
        "self._held.pop(entry.record.seq + 1, ())",
        "the last operation of a batch is acknowledged with the batch before",
    ),
    Mutant(
        "a reply names a seq that is not durable",
        Runtime._send,
        "self._journal.durable_seq",
        "self._state.seq",
        "a client believes to have seen what never was",
    ),
    Mutant(
        "a held answer goes to another request",
        Runtime._answer,
        "send = partial(self._send, peer, number, answer.reply)",
        "send = partial(self._send, peer, max(number - 1, 0), answer.reply)",
        "an agent is told of another request's outcome",
    ),
    Mutant(
        "the commit is not waited for",
        Runtime._when_in_git,
        "if self._shown_seq() >= seq:",
        "if True:",
        "an answer that promised a commit names none",
    ),
    Mutant(
        "a commit of an earlier life is not found",
        Runtime._commit_of,
        " or self._lookup.commit(seq)",
        "",
        "a repeated request gets another answer than the first time",
    ),
    # -- who asks --
    Mutant(
        "whoever spoke first is everybody",
        Runtime.receive,
        "self._sessions.get(envelope.key)",
        "next(iter(self._sessions.values()), None)",
        "what one agent writes is another one's in the history",
    ),
    # -- looking things up --
    Mutant(
        "a repetition is not looked for among what is pending",
        Lookup._previous,
        "for entry in self._pending.values():",
        "for entry in list[Entry]():",
        "a write that is sent again at once is done twice",
        first=270,
    ),
    Mutant(
        "an end is not looked for among what is pending",
        Lookup._session_ended,
        "for entry in self._pending.values():",
        "for entry in list[Entry]():",
        "a session that is just being closed opens again, and the journal refuses it",
        first=60,
    ),
    Mutant(
        "pending contents are not known",
        Lookup.pend,
        "self._pending_contents.update(entry.contents)",
        "pass",
        "a write on top of a write that is not durable yet fails",
    ),
    Mutant(
        "our own old file is taken for somebody else's",
        Lookup._find,  # pyright: ignore[reportPrivateUsage]
        "None if self._is_vacated(path) else self._tree.read(path)",
        "self._tree.read(path)",
        "a document can not be written again right after it was deleted",
    ),
    # -- a full disk --
    Mutant(
        "a full disk leaves the state as it was",
        Runtime.on_full,
        "before, self._state = self._state, self._reload()",
        "before = self._state",
        "what was refused is there until the next restart, and then is not",
    ),
    Mutant(
        "a full disk leaves what was pending",
        Runtime.on_full,
        "self._lookup.forget()",
        "pass",
        "operations that never happened decide over those that follow",
    ),
    Mutant(
        "a full disk leaves askers waiting",
        Runtime.on_full,
        "for waiting in held.values():",
        "for waiting in list[list[_Held]]():",
        "an agent waits for ever for an answer",
    ),
    Mutant(
        "a full disk refuses what is done",
        Runtime._decide,
        "if not self._repeated:",
        "if True:",
        "an agent is told that nothing was done, and it was",
    ),
    Mutant(
        "who opened on a full disk stays nobody",
        Runtime.on_healed,
        "self._state.sessions.pop(id, None)",
        "pass",
        "two sessions write under one name, and neither is told",
    ),
    # -- the journal --
    Mutant(
        "a batch is written backward",
        JournalStage._take,
        "self._pending[:count]",
        "self._pending[:count][::-1]",
        "the order of operations is not the order of their records",
    ),
    Mutant(
        "what did not fit into a batch is dropped",
        JournalStage._take,
        "self._pending[count:]",
        "list[Entry]()",
        "operations are lost between two batches",
        first=50,
    ),
    # -- bounded memory --
    Mutant(
        "a connection is remembered for ever",
        Shares.settle,
        "if count == 1:",
        "if False:",
        "a coordinator grows with every command that is run",
    ),
    Mutant(
        "questions are counted for ever",
        Runtime._finish,
        "del self._queries_of[peer]",
        "pass",
        "a coordinator grows with every command that is run",
    ),
    # -- events --
    Mutant(
        "a page of events ends one too late",
        EventFeed._page,
        "EventPage(tuple(found), record.seq - 1, True)",
        "EventPage(tuple(found), record.seq, True)",
        "a follower never hears of what came after a full page",
    ),
    Mutant(
        "a follower skips what came since it asked last",
        EventFeed._recent_page,
        "request.since + 1 -",
        "request.since + 2 -",
        "an agent that waits for another one misses what it waits for",
    ),
    Mutant(
        "a follower that waits is told from the end of the batch",
        EventFeed.add,
        "since=page.cursor",
        "since=page.cursor + 1",
        "an agent that waits for another one misses what it waits for",
        seeds=100,
    ),
)
