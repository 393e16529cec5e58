"""`python -m bench`: measures agent-trace beside plain git on this machine and prints a table."""

from __future__ import annotations

import resource
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from agent_trace import AgentTraceError

from .machine import VOLATILE_FILE_SYSTEMS, Machine, this_machine
from .processes import BenchFailed
from .results import Row, milliseconds
from .scenarios import (
    DOCUMENTS_MANY,
    REVISIONS_MANY,
    ROWS,
    SCENARIOS,
    SESSIONS_IDLE,
    Scenario,
    Settings,
)
from .slow_sync import delay_syncs

__all__ = ["main"]

PROCESSES: Final = 1
"""Client processes: on two cores a second one takes time from the coordinator and from git."""

# Piped into a file, rich would take 80 columns.
_ENDING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_console = Console(width=None if sys.stdout.isatty() else 110)
_progress = Console(stderr=True)


class Report(msgspec.Struct):
    """What `--json` prints."""

    machine: Machine
    runs: int
    seconds: float
    processes: int
    sync_delay_ms: float
    """How much longer every sync was made to take."""
    rows: list[Row]
    took_seconds: float


def _chosen(names: str | None, skip_long: bool) -> list[tuple[Scenario, set[str]]]:
    asked = set(ROWS if names is None else filter(None, names.split(",")))
    unknown = asked.difference(ROWS)
    if unknown:
        raise click.BadParameter(
            f"no row is called {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}",
            param_hint="--rows",
        )
    return [
        (scenario, asked.intersection(scenario.rows))
        for scenario in SCENARIOS
        if not asked.isdisjoint(scenario.rows) and not (skip_long and scenario.long)
    ]


def _show(report: Report) -> None:
    machine = report.machine
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 1, 0), pad_edge=False)
    table.add_column("what", ratio=1)
    for column in ("ratio", "target", "met", "p50 ms", "p99 ms"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in report.rows:
        lines = [f"[bold]{row.name}[/]  {row.title}", f"{row.ours}, {row.against}"]
        if row.note:
            lines.append(f"[dim]{row.note}[/]")
        table.add_row(
            "\n".join(lines),
            f"{row.value:.3g}{row.unit}" if row.value < 100 else f"{row.value:.0f}{row.unit}",
            str(row.target or ""),
            {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[row.met],
            milliseconds(row.p50_seconds),
            milliseconds(row.p99_seconds),
        )
    _console.print(table, highlight=False)
    _console.print(
        f"Medians of {report.runs} runs of {report.seconds:g} s; {report.took_seconds:.0f} s in "
        f"all, load {machine.load:.1f} before. {machine.cores} cores, {machine.kernel}, "
        f"{machine.file_system} at {machine.directory}, Python {machine.python}, "
        f"git {machine.git}; {report.processes} client process"
        f"{'es' if report.processes > 1 else ''}."
        + (
            f" Every sync takes {report.sync_delay_ms:g} ms longer." if report.sync_delay_ms else ""
        ),
        highlight=False,
    )


class _Teller:
    """Progress on standard error: a line that changes in a terminal, else one line each."""

    def __init__(self, stack: ExitStack) -> None:
        self._began = time.monotonic()
        self._status = (
            stack.enter_context(_progress.status("starting")) if _progress.is_terminal else None
        )

    def __call__(self, words: str) -> None:
        line = f"{time.monotonic() - self._began:4.0f} s  {words}"
        if self._status is not None:
            self._status.update(line)
        else:
            _progress.print(line, highlight=False)


def _interrupt(number: int, frame: object) -> None:
    """Leave by way of every `with` block, which ends its processes and removes its files.

    Only once: a second Ctrl-C would cut that short.
    """
    del number, frame
    for each in _ENDING_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


@click.command()
@click.option("--runs", type=click.IntRange(min=1), help="Runs of each row.  [default: 5]")
@click.option("--quick", is_flag=True, help="A first look: 2 short runs, small stores.")
@click.option("--skip-long", is_flag=True, help="Leave out rows that prepare a large store.")
@click.option("--rows", metavar="NAME,...", help=f"Only these: {', '.join(ROWS)}.")
@click.option(
    "--seconds", type=click.FloatRange(min=0.1), help="Of each measurement.  [default: 2]"
)
@click.option(
    "--processes",
    type=click.IntRange(1, 16),
    default=PROCESSES,
    show_default=True,
    help="Client processes that the agents are spread over.",
)
@click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the stores are made; the system's temporary directory if not given.",
)
@click.option(
    "--sync-ms",
    type=click.FloatRange(min=0, min_open=True),
    help="Let every sync of every process take so much longer, as on a disk without a cache.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(
    runs: int | None,
    quick: bool,
    skip_long: bool,
    rows: str | None,
    seconds: float | None,
    processes: int,
    directory: Path | None,
    sync_ms: float | None,
    as_json: bool,
) -> None:
    """Measure agent-trace beside plain git, on this machine, in this run."""
    chosen = _chosen(rows, skip_long)
    parent = directory or Path(tempfile.gettempdir())
    machine = this_machine(parent)
    if machine.file_system in VOLATILE_FILE_SYSTEMS:
        _progress.print(
            f"[yellow]warning:[/] {parent} is on {machine.file_system}, where a sync costs "
            "nothing: the figures are worthless; set TMPDIR or --directory to a disk"
        )
    if machine.load > 0.5:
        _progress.print(
            f"[yellow]warning:[/] the machine is busy (load {machine.load:.1f}): figures are noisy"
        )
    # A thousand sessions have a thousand sockets, in the clients and in the coordinator.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for number in _ENDING_SIGNALS:
        signal.signal(number, _interrupt)
    began = time.monotonic()
    measured: list[Row] = []
    runs = runs or (2 if quick else 5)
    seconds = seconds or (1.0 if quick else 2.0)
    try:
        with ExitStack() as stack:
            place = Path(
                stack.enter_context(
                    tempfile.TemporaryDirectory(prefix="agent-trace-bench-", dir=parent)
                )
            )
            tell = _Teller(stack)
            if sync_ms is not None:
                delay_syncs(place, sync_ms)
            for index, (scenario, wanted) in enumerate(chosen):
                own = place / str(index)
                own.mkdir()
                settings = Settings(
                    place=own,
                    runs=runs,
                    seconds=seconds,
                    git_commits=10 if quick else 25,
                    processes=processes,
                    revisions=REVISIONS_MANY // 10 if quick else REVISIONS_MANY,
                    documents=DOCUMENTS_MANY // 10 if quick else DOCUMENTS_MANY,
                    sessions=SESSIONS_IDLE // 10 if quick else SESSIONS_IDLE,
                    tell=tell,
                )
                measured += scenario.measure(settings, wanted)
    except (BenchFailed, AgentTraceError, FileNotFoundError) as error:
        _progress.print(f"[red]error:[/] {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        _progress.print("interrupted; all processes are ended")
        sys.exit(130)
    report = Report(
        machine, runs, seconds, processes, sync_ms or 0.0, measured, time.monotonic() - began
    )
    if as_json:
        encoded = msgspec.json.encode(report)
        click.echo(msgspec.json.format(encoded, indent=2))
    else:
        _show(report)


if __name__ == "__main__":
    main()
