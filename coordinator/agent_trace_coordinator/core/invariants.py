"""What is true of every state. Checked after each load, and after every step in simulations."""

from __future__ import annotations

from agent_trace_protocol import Actor, fold_path

from .lease_guard import check_leases
from .state import DraftCount, State

__all__ = ["check"]


def check(state: State) -> None:
    """Return if the state is whole.

    Raises:
        AssertionError: it is not; the message says what contradicts what.
    """
    live = {id: each for id, each in state.documents.items() if not each.deleted}
    assert state.by_path == {each.path: id for id, each in live.items()}, "paths and documents"
    assert state.paths == sorted(state.by_path), "the list of paths is not sorted or not complete"
    assert state.by_fold == {fold_path(path): path for path in state.by_path}, "two names are one"
    for folded in state.by_fold:
        assert folded not in state.folders, f"{folded!r} is a document and a folder"
    for id, document in state.documents.items():
        assert document.id == id
        assert 1 <= document.revision, document
        assert 1 <= document.seq <= state.seq, document
        assert document.deleted == (document.content_key == 0), document
    for key, session in state.sessions.items():
        assert session.id == key
    for name, key in state.holders.items():
        holder = state.sessions.get(key)
        assert holder is not None, f"{name} is held by {key}, which is not open"
        assert holder.name == name and holder.actor is Actor.AGENT and not holder.ephemeral
    check_leases(state)
    _check_what_waits(state)


def _check_what_waits(state: State) -> None:
    """Drafts, violations and unlocks: what is counted is what is there. How much there may be is
    the settings' to say, and is not checked: they can be lowered."""
    drafts, violations = state.drafts, state.violations
    assert state.draft_attempts.keys() <= {each.body.attempt for each in drafts.values()}, (
        "attempts"
    )
    counts: dict[tuple[Actor, str], DraftCount] = {}
    for draft in drafts.values():
        writer = draft.actor, draft.author
        counts[writer] = counts.get(writer, DraftCount()).plus(1, draft.size)
    assert state.draft_counts == counts, "drafts of writers"
    total = DraftCount(len(drafts), sum(each.size for each in counts.values()))
    assert state.drafts_total == total, "all drafts"
    assert set(state.attempts.values()) <= violations.keys(), "an attempt of no violation"
    assert state.repeats.keys() <= violations.keys(), "repeats of no violation"
    kept = sum(each.size for each in violations.values())
    assert state.quarantine_bytes == kept, "the texts of violations"
    for grant in state.grants.values():
        assert grant.document in state.documents, grant
