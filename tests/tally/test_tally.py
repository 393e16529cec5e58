"""Runs are added up by their last lines."""

from __future__ import annotations

from tally import added_up, cpu_seconds, total_line


def test_the_last_line_of_each_run_counts() -> None:
    since = cpu_seconds()
    first = ["noise", total_line("fuzz paths seed=1", {"executions": 5, "violations": 0}, since)]
    first.append(total_line("fuzz paths seed=1", {"executions": 9, "violations": 0}, since))
    first.append(total_line("fuzz names seed=1", {"executions": 2, "violations": 1}, since))
    second = [
        "total simulation first=7: 3 seeds, 40 operations, 0 violations, 2 CPU seconds\n",
        "total nothing: to add",
    ]

    sums = added_up([first, second])

    assert sums.keys() == {"fuzz", "simulation"}
    assert sums["fuzz"]["executions"] == 11
    assert (sums["fuzz"]["runs"], sums["fuzz"]["violations"]) == (2, 1)
    assert sums["simulation"] == {
        **{"runs": 1, "seeds": 3, "operations": 40, "violations": 0, "CPU seconds": 2}
    }


def test_the_same_run_in_two_logs_is_two_runs() -> None:
    log = [total_line("fuzz paths seed=1", {"executions": 5, "violations": 0})]
    assert added_up([log, log])["fuzz"]["executions"] == 10
