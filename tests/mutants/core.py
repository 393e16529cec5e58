"""Bugs of the rules: documents, permissions, sessions, time."""

from __future__ import annotations

from typing import Final

from agent_trace_coordinator.core import (
    apply,
    changes,
    documents,
    drafts,
    machine,
    merge,
    places,
    recording,
    refusals,
    sessions,
    texts,
    transactions,
)
from agent_trace_coordinator.core.state import State

from .plant import Mutant

__all__ = ["CORE_MUTANTS"]

_DECISION = documents.Operations

CORE_MUTANTS: Final = (
    # -- documents --
    Mutant(
        "if_revision is ignored",
        _DECISION.check_revision,
        "if expected is None or",
        "if True or",
        "the last writer silently destroys what others wrote",
    ),
    Mutant(
        "a draft is merged against the wrong base",
        _DECISION.accept_text,
        "base = self.facts.revisions.get((document.id, kept.base_revision))",
        "base = current",
        "accepting a draft throws the other's change away",
    ),
    Mutant(
        "a draft forgets the other texts of its transaction",
        drafts.drafted,
        "for text in late.texts:",
        "for text in late.texts[:1]:",
        "what else a refused writer wanted to write is lost",
    ),
    Mutant(
        "a merge does not see collisions",
        merge._joined,  # pyright: ignore[reportPrivateUsage] - where the bug is planted
        "elif _collide(one, other):",
        "elif False:",
        "two changes of one line both end up in the text",
    ),
    Mutant(
        "permissions fail open",
        _DECISION.allow,
        "if permit is Permit.YES:",
        "if permit is Permit.YES or verb is Verb.CREATE:",
        "an agent creates a reference or a log",
    ),
    Mutant(
        "a draft can be accepted by everybody",
        drafts.check_own,
        "if actor is Actor.USER or (draft.actor, draft.author) == (actor, author):",
        "if True:",
        "an agent writes another one's text under its own name",
    ),
    Mutant(
        "move forgets the type",
        changes.renamed,
        "type=document.type,",
        "type=DocumentType.SCRATCH,",
        "a renamed reference can be written by agents",
        first=225,
    ),
    Mutant(
        "move forgets a revision",
        changes.renamed,
        "revision=document.revision + 1,",
        "revision=document.revision,",
        "two states of a document have one revision",
    ),
    Mutant(
        "restore makes a new document",
        _DECISION.restore,
        'self.change(past, Action.RESTORE, b"", content)',
        "self.create(path, past.type, content)",
        "the history of a restored document is cut off",
    ),
    Mutant(
        "restore finds the wrong document",
        State.deleted_at,
        "ids[-1]",
        "ids[0]",
        "what comes back is not what was deleted last",
    ),
    Mutant(
        "a transaction is partially applied",
        documents.decide,
        "            decision.take(operation)\n",
        "            try:\n"
        "                decision.take(operation)\n"
        "            except Exception:\n"
        "                if not decision.decided.changes:\n"
        "                    raise\n",
        "half of an all-or-nothing operation happens",
    ),
    Mutant(
        "a refused transaction is not taken back",
        documents.decide,
        "decision.take_back()",
        "decision.decided.changes or decision.take_back()",
        "the memory holds what was refused",
    ),
    Mutant(
        "replace all replaces one",
        texts._replace,  # pyright: ignore[reportPrivateUsage]
        "return before.replace(operation.old, operation.new)",
        "return before.replace(operation.old, operation.new, 1)",
        "an edit does less than it says",
    ),
    Mutant(
        "two names of one file",
        places.check_free,
        "folded = fold_path(path)",
        "folded = path",
        "two documents are one file on some systems",
    ),
    # -- exactly once --
    Mutant(
        "a repeated request is carried out again",
        transactions.transact,
        "if previous is not None:",
        "if False:",
        "a lost reply doubles a write",
    ),
    Mutant(
        "a reused number is taken for a repetition",
        refusals.find_refusal,
        "if earlier is not None and earlier != input.fingerprint:",
        "if False:",
        "a write is answered with another one's result and never done",
        first=55,
    ),
    Mutant(
        "request numbers are forgotten",
        apply.apply_record,
        "session.request_high = record.request",
        "pass",
        "a session that comes back uses its numbers again",
    ),
    # -- order --
    Mutant(
        "a refusal tells of what is not durable",
        machine.step,
        "Answer(Refused(error.to_info()), state.seq)",
        "Answer(Refused(error.to_info()), 0)",
        "an agent acts on a change that a power cut undoes",
    ),
    Mutant(
        "a list shows what is not durable",
        machine._answer,  # pyright: ignore[reportPrivateUsage]
        "Answer(list_documents(state, request), state.seq)",
        "Answer(list_documents(state, request), 0)",
        "an agent acts on a document that a power cut removes",
    ),
    Mutant(
        "time goes backward",
        recording.append,
        "max(now.wall_ms, state.time_ms)",
        "now.wall_ms",
        "a clock step turns the order of events round",
    ),
    # -- sessions --
    Mutant(
        "a superseded session goes on",
        machine._open,  # pyright: ignore[reportPrivateUsage]
        "if superseded is not None:",
        "if False:",
        "the old process writes after its successor has begun",
    ),
    Mutant(
        "a live session is taken over unasked",
        sessions.begin,
        "if not (stale or facts.holder_gone or request.takeover):",
        "if False:",
        "a second agent of the same name throws the first one out",
    ),
    Mutant(
        "a session comes back after its end",
        sessions.begin,
        "if facts.session_ended:",
        "if False:",
        "one session has two lives, and the journal refuses the second",
    ),
    Mutant(
        "the name of a closed session stays taken",
        apply.apply_record,
        "del state.holders[session.name]",
        "pass",
        "nobody can work under the name of an agent that has left",
    ),
    Mutant(
        "the predecessor is forgotten",
        State.enter_session,
        "self.latest[session.name] = session.id",
        "pass",
        "a successor does not know where the last session stopped",
    ),
    Mutant(
        "a pause of the coordinator ends sessions",
        sessions.extend,
        "if gap > TICK_SECONDS:",
        "if False:",
        "closing the lid of a laptop throws every agent out",
    ),
    Mutant(
        "a pause counts for whoever comes first after it",
        machine.step,
        "            extend(state, now)\n            stranger",
        "            stranger",
        "after a pause a live session is taken over before its heartbeat is read",
        first=130,
    ),
    Mutant(
        "a slow start counts as silence",
        sessions.extend,
        "session.seen = now.monotonic\n",
        "pass\n",
        "a coordinator that replays for a minute ends every session it finds",
    ),
    # -- bounded memory --
    Mutant(
        "a draft that is gone is still looked for",
        State.leave_draft,
        "if self.draft_attempts.get(draft.body.attempt) == seq:",
        "if False:",
        "a coordinator grows with every draft, and points to one that is not there",
    ),
    Mutant(
        "refusals are remembered for ever",
        refusals.note_refusal,
        "while len(refusals) > REFUSALS_MAX:",
        "while len(refusals) > 10 * REFUSALS_MAX:",
        "an agent that is refused again and again fills the coordinator's memory",
    ),
    Mutant(
        "refused texts that were thrown away still count",
        State.leave_violation,
        "self.quarantine_bytes -= violation.size",
        "pass",
        "the quarantine is full for ever, and refused texts are not kept",
    ),
)
