"""How long a destroyed state.db takes to come back from git, and whether all of it does."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from agent_trace_coordinator.repair.mend import repair
from agent_trace_coordinator.storage.store import Store
from damage.original import take_snapshot

from .processes import BenchFailed, Coordinator, make_store
from .results import Row

if TYPE_CHECKING:
    from .scenarios import Settings

__all__ = ["measure_rebuild"]


def measure_rebuild(
    revise: Callable[[Path, int, int, int], None], settings: Settings, wanted: Collection[str]
) -> list[Row]:
    """Fill a store, remove its state.db, repair it, and compare every field with what was there."""
    del wanted
    root = make_store(settings.place / "rebuilt")
    settings.tell(f"rebuild: {settings.documents:,} documents, {settings.revisions:,} revisions")
    with Coordinator(root) as coordinator:
        revise(root, settings.documents, settings.revisions, settings.processes)
        coordinator.settle()
    before = take_snapshot(root)
    for name in ("state.db", "state.db-wal", "state.db-shm"):
        (root / ".agent-trace" / name).unlink(missing_ok=True)

    def tell(what: str, done: int, of: int) -> None:
        settings.tell(f"rebuild: {what}, {done:,} of {of:,}")

    began, spent = time.monotonic(), time.process_time()
    outcome = repair(Store(root), tell, lambda seen, losses: True)
    seconds, own = time.monotonic() - began, time.process_time() - spent
    after = take_snapshot(root)
    different = [
        name
        for name in ("records", "contents", "tables", "commits", "files", "quarantine")
        if getattr(before, name) != getattr(after, name)
    ]
    if different or outcome.losses or not outcome.healthy:
        raise BenchFailed(f"what came back differs in {different}: {outcome.losses[:3]}")
    return [
        Row(
            name="rebuild",
            title=f"a removed state.db made again from git, checked before and after: "
            f"{settings.documents:,} documents, {settings.revisions:,} revisions",
            value=seconds,
            unit="s",
            ours=f"{seconds:.1f} s, {len(after.records):,} operations, {own:.1f} s of processor "
            "time in Python",
            against="every record, content, row, commit and file is what it was",
            samples=[seconds],
        )
    ]
