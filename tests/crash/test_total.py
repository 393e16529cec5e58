"""Figures of many runs are added up, each harness for itself."""

from __future__ import annotations

from crash.total import add_up, total_line


def test_totals_are_added_up_by_harness_and_everything_else_is_passed_over() -> None:
    lines = [
        "seed 1: 3 cycles",
        total_line("kills", kills=3, violations=0),
        total_line("kills", kills=4, violations=1),
        total_line("blocks", block_states=7),
        "total",
    ]

    assert add_up(lines) == {
        "kills": {"runs": 2, "kills": 7, "violations": 1},
        "blocks": {"runs": 1, "block_states": 7},
    }
