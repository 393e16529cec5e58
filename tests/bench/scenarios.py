"""What is measured, and how it becomes rows. A scenario makes its stores, repeats its measurements
side by side, and returns the rows it was asked for."""

from __future__ import annotations

import math
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import msgspec

from agent_trace import connect
from agent_trace.launch import listening

from .baselines import GitBaseline, import_rate, sync_latencies
from .briefing_rows import measure_briefing
from .documents import FOLDER_DOCUMENTS
from .history_rows import HISTORY_ROWS, LISTING_ROWS, measure_history, measure_listing
from .load import CONTENDED_PATH, contended_line, contended_text
from .processes import BenchFailed, Coordinator, Crew, make_store, spawn
from .rebuild import measure_rebuild
from .results import (
    Measured,
    Row,
    Target,
    fold,
    median,
    milliseconds,
    percentile,
    ratios,
)
from .startup import StartReport
from .trace_rows import ROWS as TRACE_ROWS
from .trace_rows import measure_trace

__all__ = ["ROWS", "SCENARIOS", "Scenario", "Settings"]

AGENTS: Final = (1, 16, 64)
"""How many agents write at once."""

DOCUMENTS: Final = 100
DOCUMENTS_MANY: Final = 10_000
SESSIONS_IDLE: Final = 1000
REVISIONS_MANY: Final = 100_000
REVISIONS_FEW: Final = 1000

CONTENDERS: Final = 8
CONTENDED_WRITES: Final = 10

WARM_SECONDS: Final = 0.5
"""Writes before the first measurement, which belong to nothing."""

_PIPELINE_AGENTS: Final = 8
_PIPELINE_DEPTH: Final = 32
_MEMORY_SAMPLES: Final = 10
_SYNCS: Final = 500


@dataclass(frozen=True)
class Settings:
    """How thorough a run is."""

    place: Path
    """An empty directory of ours."""
    runs: int
    seconds: float
    """Of each measurement of a rate."""
    git_commits: int
    """Of each measurement of plain git."""
    processes: int
    revisions: int
    """What `REVISIONS_MANY` is in this run."""
    documents: int
    """What `DOCUMENTS_MANY` is in this run."""
    sessions: int
    tell: Callable[[str], None]
    """Where progress goes."""

    @property
    def reduced(self) -> bool:
        """Whether the large rows are smaller than what the issues ask about."""
        return self.revisions < REVISIONS_MANY or self.documents < DOCUMENTS_MANY


@dataclass(frozen=True)
class Scenario:
    """Rows that are measured together."""

    rows: tuple[str, ...]
    measure: Callable[[Settings, Collection[str]], list[Row]]
    long: bool = False
    """Whether it prepares a store for a minute or more."""


def _fill(root: Path, documents: int, processes: int) -> None:
    with Crew(root, 4 * processes, processes, "filler") as crew:
        crew.run("create", agents=4 * processes, documents=documents, depth=2)


def _rate(value: float) -> str:
    return f"{value:,.0f}/s" if value >= 100 else f"{value:.1f}/s"


def _layout(documents: int) -> str:
    folders = math.ceil(documents / FOLDER_DOCUMENTS)
    return f"{folders} folder{'s' if folders > 1 else ''} of {FOLDER_DOCUMENTS}"


# ---- acknowledged writes against git commit --------------------------------------------------


class _Side:
    """The measurements of one thing, one of each run."""

    def __init__(self) -> None:
        self.runs: list[Measured] = []

    @property
    def rates(self) -> list[float]:
        return [run.rate for run in self.runs]

    def row(
        self,
        name: str,
        title: str,
        against: list[float],
        described: str,
        *,
        target: Target | None = None,
        note: str = "",
        asked: bool = True,
    ) -> Row:
        """Return the row of this thing's rate against another's."""
        rate, p50, p99 = fold(self.runs)
        samples = ratios(self.rates, against)
        return Row(
            name=name,
            title=title,
            value=median(samples),
            target=target,
            ours=_rate(rate),
            against=described,
            p50_seconds=p50,
            p99_seconds=p99,
            note=note,
            samples=samples,
            asked=asked,
        )


def _against_commits(plain: _Side) -> str:
    return f"vs git commit {_rate(median(plain.rates))}"


def measure_writes(settings: Settings, wanted: Collection[str]) -> list[Row]:
    """100 documents: writes of 1, 16, 64 agents, no-ops, commits waited for, syncs of the disk."""
    writes = {agents: _Side() for agents in AGENTS}
    pings, committed, plain = _Side(), _Side(), _Side()
    syncs: list[Measured] = []
    needs_plain = not {"acked-1", "acked-16", "acked-64", "durable-git"}.isdisjoint(wanted)
    needed = [
        agents
        for agents in AGENTS
        if f"acked-{agents}" in wanted
        or (agents == 64 and not {"noop", "spread"}.isdisjoint(wanted))
        or (agents == 1 and "sync" in wanted)
    ]
    root = make_store(settings.place / "writes")
    baseline = GitBaseline(settings.place / "writes-git", DOCUMENTS) if needs_plain else None
    with Coordinator(root) as coordinator:
        _fill(root, DOCUMENTS, settings.processes)
        with Crew(root, max(AGENTS), settings.processes) as crew:
            crew.run("put", agents=max(AGENTS), seconds=WARM_SECONDS, documents=DOCUMENTS)
            for run in range(1, settings.runs + 1):
                settings.tell(f"{DOCUMENTS} documents: run {run} of {settings.runs}")
                coordinator.settle()
                if "sync" in wanted:
                    latencies = sync_latencies(settings.place, _SYNCS)
                    syncs.append(Measured(sum(latencies), latencies))
                for agents in needed:
                    measured, _ = crew.run(
                        "put", agents=agents, seconds=settings.seconds, documents=DOCUMENTS
                    )
                    writes[agents].runs.append(measured)
                    coordinator.settle()
                if "noop" in wanted:
                    measured, _ = crew.run("ping", agents=64, seconds=settings.seconds)
                    pings.runs.append(measured)
                if "durable-git" in wanted:
                    measured, _ = crew.run(
                        "put",
                        agents=64,
                        seconds=settings.seconds,
                        documents=DOCUMENTS,
                        durability="git",
                    )
                    committed.runs.append(measured)
                if baseline is not None:
                    plain.runs.append(baseline.measure(settings.git_commits))
    rows: list[Row] = []
    rows += _acked_rows("acked", DOCUMENTS, writes, plain, wanted, 100.0)
    if "durable-git" in wanted:
        rows.append(
            committed.row(
                "durable-git",
                'writes with durability="git" of 64 agents',
                plain.rates,
                _against_commits(plain),
                target=Target(40),
            )
        )
    if "noop" in wanted:
        rate, p50, p99 = fold(pings.runs)
        samples = [100 * one for one in ratios(writes[64].rates, pings.rates)]
        rows.append(
            Row(
                name="noop",
                title="acked writes vs no-op requests, 64 agents",
                value=median(samples),
                unit="%",
                target=Target(50, unit="%"),
                ours=_rate(median(writes[64].rates)),
                against=f"vs ping {_rate(rate)}",
                p50_seconds=p50,
                p99_seconds=p99,
                note="p50 and p99 are those of a ping",
                samples=samples,
            )
        )
    if "sync" in wanted:
        samples = ratios([run.p50 for run in writes[1].runs], [run.p50 for run in syncs])
        _, p50, p99 = fold(writes[1].runs)
        _, sync_p50, sync_p99 = fold(syncs)
        rows.append(
            Row(
                name="sync",
                title="one agent, p50 of a write vs fdatasync of as many bytes",
                value=median(samples),
                target=Target(4, at_least=False),
                ours=f"{milliseconds(p50)} ms",
                against=f"vs fdatasync {milliseconds(sync_p50)} ms (p99 {milliseconds(sync_p99)})",
                p50_seconds=p50,
                p99_seconds=p99,
                samples=samples,
            )
        )
    if "spread" in wanted:
        _, p50, p99 = fold(writes[64].runs)
        samples = [run.p99 / run.p50 for run in writes[64].runs]
        rows.append(
            Row(
                name="spread",
                title="64 agents, p99 vs p50",
                value=median(samples),
                target=Target(5, at_least=False),
                ours=f"{milliseconds(p99)} ms",
                against=f"vs p50 {milliseconds(p50)} ms",
                p50_seconds=p50,
                p99_seconds=p99,
                samples=samples,
            )
        )
    return rows


def _acked_rows(
    prefix: str,
    documents: int,
    writes: dict[int, _Side],
    plain: _Side,
    wanted: Collection[str],
    asked_ratio: float,
    *,
    asked: bool = True,
) -> list[Row]:
    _, plain_p50, plain_p99 = fold(plain.runs)
    return [
        writes[agents].row(
            f"{prefix}-{agents}",
            f"acked durable writes of {agents} agent{'s' if agents > 1 else ''}, "
            f"{documents:,} documents",
            plain.rates,
            _against_commits(plain),
            target=Target(asked_ratio) if agents == 64 else None,
            note=f"{_layout(documents)}; git commit p50 {milliseconds(plain_p50)} ms, "
            f"p99 {milliseconds(plain_p99)} ms",
            asked=asked,
        )
        for agents in AGENTS
        if f"{prefix}-{agents}" in wanted
    ]


def measure_many_documents(settings: Settings, wanted: Collection[str]) -> list[Row]:
    """The same writes where there are 10,000 documents, on both sides."""
    writes = {agents: _Side() for agents in AGENTS}
    plain = _Side()
    documents = settings.documents
    settings.tell(f"{documents:,} documents: preparing")
    root = make_store(settings.place / "many")
    baseline = GitBaseline(settings.place / "many-git", documents)
    with Coordinator(root) as coordinator:
        _fill(root, documents, settings.processes)
        with Crew(root, max(AGENTS), settings.processes) as crew:
            crew.run("put", agents=max(AGENTS), seconds=WARM_SECONDS, documents=documents)
            for run in range(1, settings.runs + 1):
                settings.tell(f"{documents:,} documents: run {run} of {settings.runs}")
                coordinator.settle()
                for agents in AGENTS:
                    if f"acked-many-{agents}" in wanted:
                        measured, _ = crew.run(
                            "put", agents=agents, seconds=settings.seconds, documents=documents
                        )
                        writes[agents].runs.append(measured)
                        coordinator.settle()
                plain.runs.append(baseline.measure(settings.git_commits))
    asked = documents == DOCUMENTS_MANY
    return _acked_rows("acked-many", documents, writes, plain, wanted, 200.0, asked=asked)


# ---- sustained into git ----------------------------------------------------------------------


def measure_into_git(settings: Settings, wanted: Collection[str]) -> list[Row]:
    """Writes of 64 agents until git has all of them; plain git, and fast-import of the same."""
    ours: list[Measured] = []
    plain = _Side()
    raw: list[float] = []
    root = make_store(settings.place / "sustained")
    baseline = GitBaseline(settings.place / "sustained-git", DOCUMENTS)
    with Coordinator(root) as coordinator:
        _fill(root, DOCUMENTS, settings.processes)
        with Crew(root, 64, settings.processes) as crew:
            crew.run("put", agents=64, seconds=WARM_SECONDS, documents=DOCUMENTS)
            for run in range(1, settings.runs + 1):
                settings.tell(f"sustained into git: run {run} of {settings.runs}")
                coordinator.settle()
                first = coordinator.status().seq + 1
                began = time.monotonic()
                measured, _ = crew.run(
                    "put", agents=64, seconds=2 * settings.seconds, documents=DOCUMENTS
                )
                # What was under way at the end of the time is in git as well, and counts for us as
                # little as the operations of settling do.
                ended = coordinator.settle()
                last = coordinator.status().seq
                ours.append(Measured(ended - began, measured.latencies))
                if "into-git-raw" in wanted:
                    raw.append(import_rate(root, settings.place / "raw", first, last))
                if "into-git" in wanted:
                    plain.runs.append(baseline.measure(settings.git_commits))
    rate, p50, p99 = fold(ours)
    rates = [run.rate for run in ours]
    rows: list[Row] = []
    if "into-git" in wanted:
        samples = ratios(rates, plain.rates)
        rows.append(
            Row(
                name="into-git",
                title="sustained into git, 64 agents",
                value=median(samples),
                target=Target(75),
                ours=_rate(rate),
                against=_against_commits(plain),
                p50_seconds=p50,
                p99_seconds=p99,
                note="until git_seq is seq",
                samples=samples,
            )
        )
    if "into-git-raw" in wanted:
        samples = [100 * one for one in ratios(rates, raw)]
        rows.append(
            Row(
                name="into-git-raw",
                title="sustained into git vs plain fast-import of the same commits",
                value=median(samples),
                unit="%",
                target=Target(60, unit="%"),
                ours=_rate(rate),
                against=f"vs fast-import {_rate(median(raw))}",
                samples=samples,
            )
        )
    return rows


# ---- many writers, one document --------------------------------------------------------------


def measure_contention(settings: Settings, wanted: Collection[str]) -> list[Row]:
    """8 agents that each read, modify and write one document 10 times."""
    del wanted
    total = CONTENDERS * CONTENDED_WRITES
    samples: list[float] = []
    runs: list[Measured] = []
    acked: list[int] = []
    present: list[int] = []
    for run in range(1, settings.runs + 1):
        settings.tell(f"one document, {CONTENDERS} agents: run {run} of {settings.runs}")
        root = make_store(settings.place / f"contended-{run}")
        with Coordinator(root):
            anyio.run(_write, root, contended_text(CONTENDERS))
            with Crew(root, CONTENDERS, settings.processes) as crew:
                measured, refused = crew.run("contend", agents=CONTENDERS, count=CONTENDED_WRITES)
            text = anyio.run(_read, root)
        shutil.rmtree(root)
        runs.append(measured)
        acked.append(len(measured.latencies))
        present.append(
            sum(
                text.count(contended_line(agent, number)) == 1
                for agent in range(CONTENDERS)
                for number in range(CONTENDED_WRITES)
            )
        )
        complete = acked[-1] == present[-1] == total
        samples.append(refused / acked[-1] if complete else math.inf)
    _, p50, p99 = fold(runs)
    return [
        Row(
            name="contention",
            title=f"{CONTENDERS} agents x {CONTENDED_WRITES} read-modify-writes of one document, "
            "refusals per success",
            # One run that loses a change is one too many: no median over that.
            value=max(samples) if math.inf in samples else median(samples),
            unit="",
            target=Target(1, at_least=False, unit=""),
            ours=f"{min(acked)} of {total} acked",
            against=f"{min(present)} of {total} present",
            p50_seconds=p50,
            p99_seconds=p99,
            note="merges offered by conflicts are accepted",
            samples=samples,
        )
    ]


async def _write(root: Path, text: str) -> None:
    async with connect(root, user="bench", autostart=False) as user:
        await user.write(CONTENDED_PATH, text)


async def _read(root: Path) -> str:
    async with connect(root, user="bench", autostart=False) as user:
        return (await user.read(CONTENDED_PATH)).text


# ---- what grows ------------------------------------------------------------------------------


def measure_growth(settings: Settings, wanted: Collection[str]) -> list[Row]:
    """The cost of a write after many revisions against its cost after few, same documents."""
    del wanted
    few, many = settings.place / "few", settings.place / "many-revisions"
    settings.tell(f"{settings.revisions:,} revisions: preparing")
    make_store(few)
    with Coordinator(few) as coordinator:
        _revise(few, DOCUMENTS, REVISIONS_FEW - DOCUMENTS, settings.processes)
        coordinator.settle()
    shutil.copytree(few, many, symlinks=True)
    with Coordinator(many) as coordinator:
        with _writers(many, settings.processes) as crew:
            _pipeline(crew, DOCUMENTS, settings.revisions - REVISIONS_FEW)
        coordinator.settle()
    # The copied one began with the other's documents; nothing but revisions tells them apart.
    costs: dict[str, list[float]] = {"few": [], "many": []}
    single: dict[str, list[float]] = {"few": [], "many": []}
    runs: list[Measured] = []
    for run in range(1, settings.runs + 1):
        settings.tell(f"{settings.revisions:,} revisions: run {run} of {settings.runs}")
        fresh = settings.place / f"few-{run}"
        shutil.copytree(few, fresh, symlinks=True)
        sides = [("few", fresh), ("many", many)]
        # Whoever comes second finds a warmer machine: they take turns.
        for name, root in sides if run % 2 else sides[::-1]:
            with Coordinator(root) as coordinator, Crew(root, 64, settings.processes) as crew:
                crew.run("put", agents=64, seconds=WARM_SECONDS, documents=DOCUMENTS)
                coordinator.settle()
                measured, _ = crew.run(
                    "put", agents=64, seconds=settings.seconds, documents=DOCUMENTS
                )
                costs[name].append(1 / measured.rate)
                coordinator.settle()
                alone, _ = crew.run("put", agents=1, seconds=settings.seconds, documents=DOCUMENTS)
                single[name].append(alone.p50)
                if name == "many":
                    runs.append(measured)
        shutil.rmtree(fresh)
    samples = ratios(costs["many"], costs["few"])
    one = median(ratios(single["many"], single["few"]))
    rate, p50, p99 = fold(runs)
    return [
        Row(
            name="growth",
            title=f"cost of a write after {settings.revisions:,} revisions vs after "
            f"{REVISIONS_FEW:,}, 64 agents",
            value=median(samples),
            target=Target(1.15, at_least=False),
            ours=_rate(rate),
            against=f"vs after {REVISIONS_FEW:,}: {_rate(1 / median(costs['few']))}",
            p50_seconds=p50,
            p99_seconds=p99,
            note=f"one agent's p50: {one:.2f}x",
            samples=samples,
            asked=settings.revisions >= REVISIONS_MANY,
        )
    ]


def _writers(root: Path, processes: int) -> Crew:
    return Crew(root, _PIPELINE_AGENTS, processes, "reviser")


def _pipeline(crew: Crew, documents: int, count: int) -> None:
    """Write as fast as it goes: preparation, not measured."""
    crew.run(
        "put", agents=_PIPELINE_AGENTS, depth=_PIPELINE_DEPTH, count=count, documents=documents
    )


def _revise(root: Path, documents: int, count: int, processes: int) -> None:
    _fill(root, documents, processes)
    with _writers(root, processes) as crew:
        _pipeline(crew, documents, count)


def measure_size(settings: Settings, wanted: Collection[str]) -> list[Row]:
    """10,000 documents: memory with idle sessions over 100,000 writes, then the time of a start."""
    root = make_store(settings.place / "large")
    settings.tell(f"{settings.documents:,} documents, {settings.sessions:,} sessions: preparing")
    with Coordinator(root) as coordinator:
        _fill(root, settings.documents, settings.processes)
        coordinator.settle()
    rows: list[Row] = []
    samples: list[int] = []
    with Coordinator(root) as coordinator:
        loaded = coordinator.resident_bytes()
        with Crew(root, settings.sessions, settings.processes, "idle"):
            samples.append(coordinator.resident_bytes())
            with _writers(root, settings.processes) as crew:
                for index in range(_MEMORY_SAMPLES):
                    settings.tell(
                        f"memory: {settings.revisions * index // _MEMORY_SAMPLES:,} of "
                        f"{settings.revisions:,} writes"
                    )
                    _pipeline(crew, settings.documents, settings.revisions // _MEMORY_SAMPLES)
                    samples.append(coordinator.resident_bytes())
            coordinator.settle()
    if "memory" in wanted:
        rows.append(_memory_row(settings, loaded, samples))
    if "start" in wanted:
        rows.append(_measure_start(settings, root))
    return rows


def _memory_row(settings: Settings, loaded: int, samples: list[int]) -> Row:
    """Judge the second half of the writes: what still grows then is a leak, what grew before may
    have been a cache that was filled."""
    half = samples[len(samples) // 2]
    return Row(
        name="memory",
        title=f"coordinator memory, {settings.documents:,} documents, {settings.sessions:,} idle "
        f"sessions: growth over the second half of {settings.revisions:,} writes",
        value=100 * (samples[-1] / half - 1),
        unit="%",
        target=Target(5, at_least=False, unit="%"),
        ours=f"{samples[-1] / 2**20:.0f} MiB",
        against=f"{half / 2**20:.0f} MiB at half, {samples[0] / 2**20:.0f} MiB before",
        note=f"{loaded / 2**20:.0f} MiB with the documents and without sessions",
        samples=[size / 2**20 for size in samples],
        asked=not settings.reduced,
    )


def _measure_start(settings: Settings, root: Path) -> Row:
    """Start a coordinator again and again, on the large store and on an empty one."""
    empty = make_store(settings.place / "empty")
    answered: list[float] = []
    own: list[float] = []
    grown: dict[str, list[float]] = {}
    for run in range(1, settings.runs + 1):
        settings.tell(f"start: run {run} of {settings.runs}")
        answered.append(_start(root, None)[0])
        reports = [
            msgspec.json.decode(_start(store, settings.place / "start.json")[1], type=StartReport)
            for store in (empty, root)
        ]
        own.append(reports[1].own_seconds)
        for name, spent in reports[1].parts.items():
            grown.setdefault(name, []).append(spent - reports[0].parts.get(name, 0.0))
    largest = sorted(((median(times), name) for name, times in grown.items()), reverse=True)
    parts = ", ".join(f"{name} {milliseconds(spent)} ms" for spent, name in largest[:3])
    return Row(
        name="start",
        title=f"start with {settings.documents:,} documents and {settings.revisions:,} revisions, "
        "exec to first answer",
        value=median(answered),
        unit="s",
        target=Target(1.5, at_least=False, unit="s"),
        ours=f"{median(answered):.2f} s",
        against=f"of that {median(own):.2f} s of its own, after imports",
        p50_seconds=percentile(answered, 50),
        p99_seconds=percentile(answered, 99),
        note=f"more than with an empty store: {parts}",
        samples=answered,
        asked=not settings.reduced,
    )


def _start(root: Path, report: Path | None) -> tuple[float, bytes]:
    """Start a coordinator, ask it something, stop it; return the time until its answer.

    With a file for a report, one that tells where the time went is started instead.
    """
    if report is None:
        arguments = ["-m", "agent_trace_coordinator", "serve", "--store", str(root)]
    else:
        arguments = ["-m", "bench.startup", str(root), str(report)]
    began = time.monotonic()
    process = spawn(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pause = threading.Event()
    try:
        while (info := listening(root)) is None or info.pid != process.pid:
            if process.poll() is not None:
                raise BenchFailed("the coordinator did not start")
            pause.wait(0.001)
        seconds = anyio.run(_answered, root) - began
        process.terminate()
        process.wait()
    finally:
        process.kill()
        process.wait()
    return seconds, b"" if report is None else report.read_bytes()


async def _answered(root: Path) -> float:
    async with connect(root, user="bench", ephemeral=True, autostart=False) as user:
        await user.ping()
        return time.monotonic()


def _measure_trace(settings: Settings, wanted: Collection[str]) -> list[Row]:
    settings.tell(f"generated documents: {settings.runs} runs")
    return measure_trace(
        settings.place, settings.runs, settings.seconds, settings.processes, wanted
    )


SCENARIOS: Final = (
    Scenario(
        ("acked-1", "acked-16", "acked-64", "durable-git", "noop", "sync", "spread"),
        measure_writes,
    ),
    Scenario(("acked-many-1", "acked-many-16", "acked-many-64"), measure_many_documents),
    Scenario(("into-git", "into-git-raw"), measure_into_git),
    Scenario(("contention",), measure_contention),
    Scenario(TRACE_ROWS, _measure_trace),
    Scenario(("growth",), measure_growth, long=True),
    Scenario(("memory", "start"), measure_size, long=True),
    Scenario(HISTORY_ROWS, measure_history, long=True),
    Scenario(LISTING_ROWS, measure_listing, long=True),
    Scenario(("briefing", "briefing-growth"), measure_briefing, long=True),
    Scenario(("rebuild",), partial(measure_rebuild, _revise), long=True),
)
"""Everything there is to measure, in the order of the table."""

ROWS: Final = tuple(row for scenario in SCENARIOS for row in scenario.rows)
"""The names of all rows."""
