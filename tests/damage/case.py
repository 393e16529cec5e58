"""One case: a copy, its damage, its repair, and whether everything is there or named."""

from __future__ import annotations

import dataclasses
import os
import shutil
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from agent_trace_coordinator.core.records import (
    Changed,
    Discarded,
    Record,
    decode_record,
    record_digests,
    split_key,
)
from agent_trace_coordinator.repair.examine import look
from agent_trace_coordinator.repair.mend import repair
from agent_trace_coordinator.storage.store import Store
from agent_trace_protocol.upkeep import Area, Loss, Outcome
from damage.kinds import BOTH, KINDS
from damage.original import Original, Snapshot, copy_store, take_snapshot

__all__ = ["Case", "run_case"]

KILLED: Final = frozenset({"log_damaged", "log_gone", "log_and_pack_damaged"})
"""Kinds that need a write-ahead log."""


@dataclass
class Case:
    """What a case came to."""

    seed: int
    kind: str
    did: list[str] = field(default_factory=list[str])
    wrong: list[str] = field(default_factory=list[str])
    lost: int = 0
    kills: int = 0


def nothing(*_: object) -> None:
    """Tell nobody."""


def run_case(original: Original, place: Path, seed: int, *, kill: bool = False) -> Case:
    """Run the case of a seed in an empty `place`; `kill` also kills repairs at random points."""
    random = Random(seed)
    kinds = list(KINDS)
    case = Case(seed, kinds[seed % len(kinds)])
    killed = case.kind in KILLED
    root = place / "store"
    shutil.rmtree(root, ignore_errors=True)
    copy_store(original.killed if killed else original.root, root)
    before = original.killed_snapshot if killed else original.snapshot
    for damage in KINDS[case.kind]:
        case.did.append(damage(root, random, original))
    store = Store(root)
    if kill:
        case.kills = _killed_repairs(store, random)
    try:
        outcome = repair(store, nothing, lambda seen, losses: True)
        case.lost = len(outcome.losses)
        case.wrong += judge(before, root, outcome, both=case.kind in BOTH, killed=killed)
    except Exception:  # passed on: as what went wrong in this case, so that the others still run
        case.wrong.append(traceback.format_exc()[-3000:])
    return case


def _killed_repairs(store: Store, random: Random) -> int:
    """Repair in processes that end at once at some call to the system; return how many did."""
    kills = 0
    for _ in range(random.randint(1, 3)):
        at = random.randint(1, 60)
        child = os.fork()
        if not child:
            _die_at(at)
            try:
                repair(store, nothing, lambda seen, losses: True)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        kills += os.waitstatus_to_exitcode(status) == 9
    return kills


def _die_at(at: int) -> None:
    """Let this process end at the `at`-th call that changes a directory or syncs."""
    left = at

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left <= 0:
                os._exit(9)
            return function(*arguments, **named)

        return call

    for name in ("rename", "replace", "link", "unlink", "fsync", "mkdir", "rmdir"):
        setattr(os, name, counted(getattr(os, name)))


# ---- judging --------------------------------------------------------------------------------


def judge(
    before: Snapshot, root: Path, outcome: Outcome, *, both: bool, killed: bool
) -> Iterator[str]:
    """Yield what is wrong with a repaired store, compared with what it was."""
    if not outcome.healthy:
        yield f"it is not whole after the repair: {outcome.done[-3:]}"
        return
    seen = look(Store(root), nothing, served=False)
    left = [each.what for each in seen.findings if each.area is not Area.FILES]
    if left:
        yield f"doctor still finds {left}"
    after = take_snapshot(root)
    lost_records = {
        seq for loss in outcome.losses if loss.what.startswith("operation") for seq in loss.seqs
    }
    # Nothing that is left tells how many there were.
    cut_off = any(loss.what.startswith("what came after") for loss in outcome.losses) or (
        both and bool(outcome.cautions)
    )
    if cut_off and (both or killed):
        kept = len(after.records)
        while kept and _is_repair(after.records[kept - 1][0]):
            kept -= 1
        before = dataclasses.replace(
            before,
            records=before.records[:kept],
            contents={k: v for k, v in before.contents.items() if split_key(k)[0] <= kept},
        )
    # What git, the other copy, did not have yet when the coordinator was killed may be lost.
    alone_after = len(before.commits) if killed else len(before.records)
    told = {seq for loss in outcome.losses for seq in loss.seqs}
    yield from _judge_records(before, after, lost_records)
    yield from _judge_contents(before, after, told, lost_records)
    if killed:
        # Git and files may be behind, and follow at the next start.
        before = dataclasses.replace(
            before, commits=after.commits if _agree(before, after) else [], files=after.files
        )
    if not outcome.losses:
        yield from _judge_rest(before, after)
    elif not both and any(seq <= alone_after for seq in lost_records):
        yield f"one copy was damaged, and operations are lost: {sorted(lost_records)}"
    elif not both and any(loss.revision and loss.seqs[0] <= alone_after for loss in outcome.losses):
        yield f"one copy was damaged, and revisions are lost: {outcome.losses}"
    elif not both and not killed and any(_waited(loss) for loss in outcome.losses):
        yield f"one copy was damaged, and texts that waited are lost: {outcome.losses}"
    yield from _judge_files(after, lenient=cut_off or bool(lost_records), killed=killed)


def _waited(loss: Loss) -> bool:
    """Return whether it is a text of which a file was kept: of a draft or a refused write that
    waited. The file of what was accepted or applied is removed."""
    return "the text of" in loss.what and "which was" not in loss.what


def _agree(before: Snapshot, after: Snapshot) -> bool:
    shorter = min(len(before.commits), len(after.commits))
    return before.commits[:shorter] == after.commits[:shorter]


def _judge_records(before: Snapshot, after: Snapshot, lost: set[int]) -> Iterator[str]:
    if len(after.records) < len(before.records):
        gone = range(len(after.records) + 1, len(before.records) + 1)
        yield f"operations {list(gone)} are gone, and nobody says so"
    for seq, (ours, theirs) in enumerate(zip(before.records, after.records, strict=False), 1):
        if seq not in lost and ours[0] != theirs[0]:
            yield f"operation {seq} is {decode_record(theirs[0])}, not {decode_record(ours[0])}"
        if not lost and ours != theirs:
            yield f"the chain of operation {seq} is another one"
    for encoded, _ in after.records[len(before.records) :]:
        if not _is_repair(encoded):
            yield f"there is an operation that nobody did: {decode_record(encoded)}"


def _is_repair(encoded: bytes) -> bool:
    body = decode_record(encoded).body
    return isinstance(body, Changed) and body.source == "repair"


def _judge_contents(
    before: Snapshot, after: Snapshot, told: set[int], lost: set[int]
) -> Iterator[str]:
    discarded = {each.body.violation for each in after.decoded if isinstance(each.body, Discarded)}
    for key, data in before.contents.items():
        seq, _ = split_key(key)
        found = after.contents.get(key)
        if found is not None and found != data and seq not in lost:
            yield f"content {key} is another one"
        elif found is None and seq not in told | lost:
            yield f"content {key} of operation {seq} is gone, and nobody says so"
    named = {key for each in after.decoded for key in record_digests(each.body)}
    for key in after.contents:
        if key not in named or split_key(key)[0] in discarded:
            yield f"content {key} is of nothing"


def _judge_rest(before: Snapshot, after: Snapshot) -> Iterator[str]:
    if before.contents != after.contents:
        yield "the contents are not what they were"
    for name, rows in before.tables.items():
        if after.tables.get(name) != rows:
            yield f"the table {name} is {after.tables.get(name)}, not {rows}"
    if before.commits != after.commits:
        yield f"the commits are {len(after.commits)} others"
    if before.files != after.files:
        yield "the files are not what they were"
    if before.quarantine != after.quarantine:
        yield (
            f"the quarantine holds {sorted(after.quarantine)}, not {sorted(before.quarantine)}, "
            "or other texts"
        )
    if before.drafts != after.drafts:
        yield f"the drafts are {sorted(after.drafts)}, not {sorted(before.drafts)}, or other texts"


def _judge_files(after: Snapshot, *, lenient: bool, killed: bool) -> Iterator[str]:
    """Every file and every document hold the same bytes, those that the journal says.

    Where operations are lost, files are newer than what is known of them: they stay, and the next
    start judges them as edits.
    """
    current = current_contents(after.decoded)
    for path, key in current.items():
        if key not in after.contents:
            yield f"{path} has no content"
        elif after.files.get(path) != after.contents[key] and not lenient:
            yield f"the file {path} is not what its document holds"
    extra = after.files.keys() - current.keys()
    if extra and not lenient:
        yield f"there are files of no document: {sorted(extra)}"
    if len(after.commits) != len(after.records) and not killed:
        yield f"there are {len(after.commits)} commits for {len(after.records)} operations"


def current_contents(records: list[Record]) -> dict[str, int]:
    """Return the content key of each document, by its path."""
    paths: dict[int, str] = {}
    keys: dict[int, int] = {}
    for record in records:
        if isinstance(record.body, Changed):
            for change in record.body.changes:
                paths[change.document] = change.path
                keys[change.document] = change.content_key
    return {paths[id]: key for id, key in keys.items() if key}
