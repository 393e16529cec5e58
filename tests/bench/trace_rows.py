"""What generated documents cost writers, and how far behind the truth they are on disk.

Two stores, one that generates documents and one that does not, are written to in turn by 64 agents.
"""

from __future__ import annotations

import re
import statistics
import threading
import time
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Final

from agent_trace import connect_sync

from .processes import Coordinator, Crew, make_store
from .results import Measured, Row, Target, fold, median, milliseconds, percentile

__all__ = ["ROWS", "measure_trace"]

ROWS: Final = ("trace-cost", "trace-lag")

AGENTS: Final = 64
DOCUMENTS: Final = 100
WARM_SECONDS: Final = 0.5
POLL_SECONDS: Final = 0.01
PROBE_PAUSE_SECONDS: Final = (0.0, 0.4)
"""Drawn anew for each probe: whoever came back after a fixed time would always meet the writing of
the documents at the same moment."""

_LAST: Final = re.compile(r"^- last: operation (\d+),", re.MULTILINE)


class _Probe(threading.Thread):
    """An agent that writes now and then, and looks how long the file takes to tell of it."""

    def __init__(self, root: Path) -> None:
        super().__init__(name="probe")
        self.root = root
        self.lags: list[float] = []
        self.ending = threading.Event()

    def run(self) -> None:
        summary = self.root / "running_summary.md"
        with connect_sync(self.root, agent="probe", autostart=False) as agent:
            number, random = 0, Random(7)
            while not self.ending.wait(random.uniform(*PROBE_PAUSE_SECONDS)):
                number += 1
                seq = agent.write("probe.md", f"{number}\n").seq
                began = time.monotonic()
                while not self.ending.wait(POLL_SECONDS):
                    found = _LAST.search(summary.read_text("utf-8")) if summary.exists() else None
                    if found is not None and int(found[1]) >= seq:
                        self.lags.append(time.monotonic() - began)
                        break


def measure_trace(
    place: Path, runs: int, seconds: float, processes: int, wanted: Collection[str]
) -> list[Row]:
    """Return the rows: throughput without generated documents against with them, and their lag."""
    roots = {True: make_store(place / "with"), False: make_store(place / "without")}
    with (roots[False] / ".agent-trace" / "config.toml").open("a", encoding="utf-8") as config:
        config.write("\ngenerated = false\n")
    sides: dict[bool, list[Measured]] = {True: [], False: []}
    lags: list[float] = []
    with ExitStack() as stack:
        coordinators = {each: stack.enter_context(Coordinator(roots[each])) for each in roots}
        crews = {each: stack.enter_context(Crew(roots[each], AGENTS, processes)) for each in roots}
        for crew in crews.values():
            crew.run("put", agents=AGENTS, seconds=WARM_SECONDS, documents=DOCUMENTS)
        for _ in range(runs):
            for each, crew in crews.items():
                coordinators[each].settle()
                measured, _ = crew.run("put", agents=AGENTS, seconds=seconds, documents=DOCUMENTS)
                sides[each].append(measured)
        if "trace-lag" in wanted:
            probe = _Probe(roots[True])
            probe.start()
            crews[True].run("put", agents=AGENTS, seconds=max(5.0, seconds), documents=DOCUMENTS)
            probe.ending.set()
            probe.join()
            lags = probe.lags
    rows: list[Row] = []
    costs = [
        100 * (1 - ours.rate / plain.rate)
        for ours, plain in zip(sides[True], sides[False], strict=True)
    ]
    rate, p50, p99 = fold(sides[True])
    if "trace-cost" in wanted:
        rows.append(
            Row(
                name="trace-cost",
                title=f"throughput of {AGENTS} agents that generated documents take",
                value=median(costs),
                unit="%",
                target=Target(15, at_least=False, unit="%"),
                ours=f"{rate:,.0f}/s",
                against=f"vs {fold(sides[False])[0]:,.0f}/s without",
                p50_seconds=p50,
                p99_seconds=p99,
                samples=costs,
            )
        )
    if "trace-lag" in wanted and lags:
        rows.append(
            Row(
                name="trace-lag",
                title=f"running_summary.md on disk behind an acknowledged write, {AGENTS} agents",
                value=1000 * percentile(lags, 99),
                unit=" ms",
                target=Target(500, at_least=False, unit=" ms"),
                ours=f"p50 {milliseconds(statistics.median(lags))} ms",
                against=f"p99 of {len(lags)} writes",
                samples=lags,
            )
        )
    return rows
