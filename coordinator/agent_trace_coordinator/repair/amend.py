"""Operations by which a repair makes whole again what a loss has left in pieces.

Pure. Nothing is made up. What a current document held and nothing holds any more is replaced by the
newest revision that is left, where none is left the document is deleted; each as an operation of
the system that says so, on top of a history that keeps every number it had.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from agent_trace_coordinator.core.records import (
    Change,
    Changed,
    Entry,
    Record,
    chain_hash,
    content_key,
    encode_record,
)
from agent_trace_protocol import Action, Actor, fold_path

from .settle import SYSTEM_NAME, Proven

__all__ = ["amend"]


def amend(
    records: Sequence[Proven],
    gone: Collection[int],
    orphans: Collection[int],
    content: Callable[[Change], bytes],
) -> Iterator[tuple[Entry, str]]:
    """Yield the entries to be added, and what each does for people.

    `gone` are the keys of the contents that were found nowhere, `orphans` of those whose own
    operation was lost; `content` returns any that is not gone.
    """
    if not records:
        return
    history: dict[int, list[Change]] = {}
    moments: dict[int, int] = {}
    for record, _, _ in records:
        if isinstance(record.body, Changed):
            for change in record.body.changes:
                history.setdefault(change.document, []).append(change)
                moments[change.document] = record.seq
    last, _, chain = records[-1]
    # The latest writer of a path is the one who has it.
    live = sorted(
        (each for each in history.values() if each[-1].content_key),
        key=lambda changes: moments[changes[-1].document],
        reverse=True,
    )
    taken: dict[str, str] = {}
    seq = last.seq
    for changes in live:
        now = changes[-1]
        rival = _rival(taken, fold_path(now.path))
        spare = next(
            (
                each
                for each in reversed(changes)
                if each.content_key and each.content_key not in gone
            ),
            None,
        )
        if rival:
            message = f"what became of it was lost; {rival} has its place"
            action = Action.DELETE
        elif now.content_key not in gone and now.content_key not in orphans:
            taken[fold_path(now.path)] = now.path
            continue
        elif spare is None:
            message = f"revision {now.revision} was lost, and nothing older is left"
            action = Action.DELETE
        elif spare is now:
            message = f"the operation of revision {now.revision} was lost; this is its text"
            action = Action.RESTORE
            taken[fold_path(now.path)] = now.path
        else:
            message = f"revision {now.revision} was lost; this is revision {spare.revision}"
            action = Action.RESTORE
            taken[fold_path(now.path)] = now.path
        seq += 1
        data = content(spare) if action is Action.RESTORE and spare is not None else None
        key = content_key(seq, 0) if data is not None else 0
        change = Change(
            document=now.document,
            action=action,
            path=now.path,
            previous_path="",
            type=now.type,
            revision=now.revision + 1,
            content_key=key,
            digest=spare.digest if data is not None and spare is not None else b"",
            size=len(data or b""),
            added=0,
            removed=0,
        )
        record = Record(
            seq,
            last.epoch,
            last.time_ms,
            Actor.SYSTEM,
            SYSTEM_NAME,
            "",
            0,
            b"",
            Changed((change,), f"repair: {message}", source="repair"),
        )
        encoded = encode_record(record)
        chain = chain_hash(chain, encoded)
        contents = ((key, data),) if data is not None else ()
        yield Entry(record, encoded, chain, contents), f"{now.path}: {message}"


def _rival(taken: dict[str, str], folded: str) -> str:
    """Return who has the place: the same name, a folder of it, or something below it."""
    if folded in taken:
        return taken[folded]
    parents = folded.split("/")
    for length in range(1, len(parents)):
        above = "/".join(parents[:length])
        if above in taken:
            return taken[above]
    return next((path for name, path in taken.items() if name.startswith(f"{folded}/")), "")
