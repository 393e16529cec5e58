"""`python -m bench.cost`: where the processor time of a write goes, process by process.

Rates depend on how many cores there are and on who else wants them; the time that a write costs
each process does so much less. What cannot be faster than its largest part shows here.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from .processes import BenchFailed, Coordinator, Crew, make_store
from .scenarios import DOCUMENTS, WARM_SECONDS

__all__ = ["main"]

_TICK_MICROSECONDS: Final = 1_000_000 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class _Spent:
    """Processor time of a thread, in microseconds."""

    user: float
    system: float


def _threads(pid: int) -> dict[str, _Spent]:
    """Return what each thread of a process has used so far, by its number and name."""
    spent: dict[str, _Spent] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            before, _, after = (task / "stat").read_text().rpartition(")")
        except OSError:
            continue  # it has ended meanwhile
        fields = after.split()
        user, system = (int(fields[index]) * _TICK_MICROSECONDS for index in (11, 12))
        main = "main" if task.name == str(pid) else before.partition("(")[2]
        spent[f"{main} {task.name}"] = _Spent(user, system)
    return spent


def _git_of(pid: int) -> int:
    """Return the fast-import of a coordinator, which a thread of it has started."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"fast-import" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    raise BenchFailed("the coordinator has no fast-import")


@click.command()
@click.option("--agents", default=64, show_default=True, help="That write at once.")
@click.option("--documents", default=DOCUMENTS, show_default=True, help="In folders of 100.")
@click.option("--seconds", default=5.0, show_default=True, help="Of writing.")
@click.option(
    "--durability", type=click.Choice(("journal", "git")), default="journal", show_default=True
)
def main(agents: int, documents: int, seconds: float, durability: str) -> None:
    """Print what a write of 2 KiB costs each process, in microseconds of processor time."""
    with tempfile.TemporaryDirectory(prefix="agent-trace-cost-") as name:
        root = make_store(Path(name) / "store")
        with Coordinator(root) as coordinator, Crew(root, agents, 1) as crew:
            crew.run("create", agents=1, documents=documents)
            crew.run("put", agents=agents, seconds=WARM_SECONDS, documents=documents)
            coordinator.settle()
            processes = {
                "coordinator": coordinator.pid,
                "clients": crew.pids[0],
                "git": _git_of(coordinator.pid),
            }
            before = {who: _threads(pid) for who, pid in processes.items()}
            began = time.monotonic()
            measured, _ = crew.run(
                "put",
                agents=agents,
                seconds=seconds,
                documents=documents,
                durability="git" if durability == "git" else "journal",
            )
            coordinator.settle()
            took = time.monotonic() - began
            after = {who: _threads(pid) for who, pid in processes.items()}
    writes = len(measured.latencies)
    total = 0.0
    click.echo(f"{agents} agents: {measured.rate:,.0f} writes/s, microseconds for each write:")
    for who, threads in after.items():
        others = _Spent(0.0, 0.0)
        for thread, spent in threads.items():
            earlier = before[who].get(thread, _Spent(0.0, 0.0))
            own = _Spent(spent.user - earlier.user, spent.system - earlier.system)
            total += own.user + own.system
            if thread.startswith("main "):
                _show(f"{who}, main thread", own, writes)
            else:
                others = _Spent(others.user + own.user, others.system + own.system)
        if others.user + others.system:
            _show(f"{who}, other threads", others, writes)
    cores = total / 1_000_000 / took
    click.echo(f"{'all':28} {total / writes:8.1f}, on {cores:.2f} cores of {os.cpu_count()}")


def _show(what: str, spent: _Spent, writes: int) -> None:
    click.echo(
        f"{what:28} {(spent.user + spent.system) / writes:8.1f}"
        f"  (user {spent.user / writes:.1f}, system {spent.system / writes:.1f})"
    )


if __name__ == "__main__":
    main()
