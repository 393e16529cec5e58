"""`python -m agent_trace.demo`: agents write, processes are killed, git is asked what is there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from agent_trace.launch import read_endpoint
from agent_trace.proof.crew import Crew, kill_coordinator
from agent_trace.proof.verify import Verdict, verify

PATIENCE_SECONDS: Final = 120.0
"""Without any acknowledgement for this long the demonstration has failed."""

POLL_SECONDS: Final = 0.05

_console = Console()
_errors = Console(stderr=True)


@contextmanager
def _place(keep: Path | None) -> Generator[Path]:
    if keep is not None:
        keep.mkdir(parents=True)
        yield keep.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="agent-trace-demo-") as directory:
        yield Path(directory)


def _copy_documents(source: Path, store: Path) -> int:
    """Copy the Markdown documents of a project into the new store, and return how many."""
    files = [*source.glob("*.md"), *(source / "docs").rglob("*.md")]
    if not files:
        raise click.ClickException(f"there are no Markdown documents in {source}")
    for file in files:
        target = store / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return len(files)


def _agent_trace(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "agent_trace", *arguments],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise click.ClickException(f"agent-trace {' '.join(arguments)}: {done.stderr.strip()}")


def _run(crew: Crew, total: int, progress: Progress) -> None:
    """Let the agents work, and kill some while they do."""
    bar = progress.add_task("acknowledged writes", total=total)
    victim = crew.names[2]
    pause = threading.Event()

    def kill_agent() -> None:
        crew.kill(victim)
        progress.console.print(f"[bold]SIGKILL[/] agent {victim}")

    def end_coordinator() -> None:
        pid = kill_coordinator(crew.store)
        if not pid:
            raise click.ClickException("there is no coordinator to kill")
        progress.console.print(f"[bold]SIGKILL[/] coordinator (pid {pid})")

    def bring_back() -> None:
        crew.start(victim)
        progress.console.print(f"agent {victim} is back")

    events = [(0.25, kill_agent), (0.4, end_coordinator), (0.55, bring_back)]
    for name in crew.names:
        crew.start(name)
    heard, heard_at = 0, time.monotonic()
    while (count := crew.count()) < total:
        progress.update(bar, completed=count)
        while events and count >= events[0][0] * total:
            events.pop(0)[1]()
        if count > heard:
            heard, heard_at = count, time.monotonic()
        elif time.monotonic() - heard_at > PATIENCE_SECONDS:
            raise click.ClickException(f"no write was acknowledged for {PATIENCE_SECONDS:.0f} s")
        if failed := crew.failed():
            raise click.ClickException(failed)
        # Files that other processes write are polled: there is nothing to wait on.
        pause.wait(POLL_SECONDS)
    progress.update(bar, completed=total)
    for process in crew.processes.values():
        process.wait()


def _show(crew: Crew, verdict: Verdict, seconds: float) -> None:
    agents = Table(title="Agents")
    for column in ("agent", "processes", "acknowledged", "first seq", "last seq"):
        agents.add_column(column, justify="left" if column == "agent" else "right")
    for name in crew.names:
        steps = crew.steps_of(name)
        values = (crew.lives[name], len(steps), steps[0].seq, steps[-1].seq)
        agents.add_row(name, *map(str, values))
    _console.print(agents)
    checks = Table(title="What git has of what was acknowledged")
    checks.add_column("check")
    checks.add_column("result", justify="right")
    checks.add_row("acknowledged writes", str(crew.count()))
    checks.add_row("commits (writes, sessions, the documents at the start)", str(verdict.commits))
    for title, found in (
        ("lost", verdict.lost),
        ("doubled", verdict.doubled),
        ("out of order", verdict.reordered),
        ("under another author", verdict.misattributed),
        ("git fsck, and files that differ from the history", verdict.damaged),
    ):
        checks.add_row(title, f"[red]{len(found)}[/]" if found else "[green]0[/]")
    checks.add_row("seconds", f"{seconds:.1f}")
    _console.print(checks)


@click.command()
@click.option(
    "--source",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    help="The project whose README and docs become the store.",
)
@click.option("--agents", type=click.IntRange(3, 64), default=8, show_default=True)
@click.option("--steps", type=click.IntRange(10, 10_000), default=200, show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Make the store here and keep it.")
def main(source: Path, agents: int, steps: int, keep: Path | None) -> None:
    """Let agents write at once, kill one and the coordinator, and ask git what is there."""
    with _place(keep) as place:
        store, notes = place / "store", place / "acknowledged"
        store.mkdir()
        notes.mkdir()
        count = _copy_documents(source, store)
        _agent_trace("init", "--scan", str(store))
        _console.print(f"a store of {count} documents; {agents} agents, {steps} writes each")
        names = [f"agent-{number}" for number in range(1, agents + 1)]
        crew = Crew(store, notes, names, ("--steps", str(steps)))
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        began = time.monotonic()
        try:
            with Progress(*columns, TimeElapsedColumn(), console=_errors) as progress:
                _run(crew, agents * steps, progress)
            seconds = time.monotonic() - began
            _agent_trace("stop", "--store", str(store))
        except BaseException:
            crew.end()
            raise
        finally:
            info = read_endpoint(store)
            if info is not None:
                os.kill(info.pid, signal.SIGTERM)
        verdict = verify(store, crew.steps())
        _show(crew, verdict, seconds)
        if keep is not None:
            _console.print(f"git --git-dir={store}/.agent-trace/repo log   shows the history")
    if verdict.problems:
        for problem in verdict.problems[:20]:
            _errors.print(f"[red]{problem}[/]")
        sys.exit(1)
    _console.print("[green]every acknowledged write is in git once, in order, under its author[/]")


if __name__ == "__main__":
    main()
