"""The second copies of drafts on disk."""

from __future__ import annotations

from pathlib import Path

from agent_trace_coordinator.storage.drafts import DraftFiles


def test_what_a_failed_write_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    """Found by failing calls: the text lay there for good, also when the draft was discarded."""
    for name in (".draft-7-a.md.txt.tmp", "draft-7-a.md.txt", ".draft-7-a.md.txt", "other.tmp"):
        (tmp_path / name).write_bytes(b"text")

    DraftFiles(tmp_path).remove_litter()

    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".draft-7-a.md.txt", "draft-7-a.md.txt", "other.tmp"]
