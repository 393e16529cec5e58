"""`selftest`: whether the promises hold on this machine and this disk, tried for half a minute."""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from agent_trace.proof.run import Outcome, Plan, SelfTestFailed, run

from .face import Face, pass_face
from .failures import EXIT_FAILED
from .output import counted, emit_json, emit_table

__all__ = ["COMMANDS"]


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(5, 86_400),
    default=30.0,
    show_default=True,
    help="How long agents race.",
)
@click.option("--agents", type=click.IntRange(2, 64), default=8, show_default=True)
@click.option("--seed", type=int, help="Of the random moments; drawn if not given.")
@click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    default=Path(),
    help="On the disk to test; the current one if not given.",
)
@click.option("--keep", is_flag=True, help="Keep the store, to look at it.")
@pass_face
def selftest(
    face: Face, seconds: float, agents: int, seed: int | None, directory: Path, keep: bool
) -> None:
    """Race agents, kill processes, and ask git what was lost.

    A store is made in the current directory, and removed in the end. Agents write and lease what
    others want as well; the coordinator and agents are killed at random moments. Then plain git is
    asked whether every acknowledged write is there once, in order, under its author's name, and
    whether a lease was ever held twice. The exit code is 1 if anything is wrong.
    """
    seed = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    place = Path(tempfile.mkdtemp(prefix="agent-trace-selftest-", dir=directory)).resolve()
    try:
        outcome = _run(place, agents, seconds, seed)
    except SelfTestFailed as error:
        raise click.ClickException(
            f"the self-test could not be done (seed {seed}): {error}"
        ) from None
    finally:
        if not keep:
            shutil.rmtree(place, ignore_errors=True)
    good = not outcome.verdict.problems
    if face.json:
        emit_json(_as_json(outcome, seed, place / "store" if keep else None))
    else:
        _show(outcome, seed)
        if keep:
            click.echo(f"the store is kept at {place / 'store'}")
    if not good:
        sys.exit(EXIT_FAILED)


def _run(place: Path, agents: int, seconds: float, seed: int) -> Outcome:
    columns = (TextColumn("{task.description}"), BarColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("starting", total=seconds)

        def tell(passed: float, acknowledged: int, kills: int) -> None:
            words = f"{acknowledged} acknowledged, {counted(kills, 'kill')}"
            progress.update(bar, completed=min(passed, seconds), description=words)

        return run(Plan(place, agents, seconds, seed, tell))


def _findings(outcome: Outcome) -> tuple[tuple[str, list[str]], ...]:
    verdict = outcome.verdict
    return (
        ("lost", verdict.lost),
        ("doubled", verdict.doubled),
        ("out of order", verdict.reordered),
        ("under another author", verdict.misattributed),
        ("leases held by two at once", verdict.shared),
        ("git fsck, and files that differ from the history", verdict.damaged),
    )


def _as_json(outcome: Outcome, seed: int, store: Path | None) -> dict[str, object]:
    return {
        "good": not outcome.verdict.problems,
        "seed": seed,
        "seconds": round(outcome.seconds, 1),
        "acknowledged": outcome.acknowledged,
        "commits": outcome.verdict.commits,
        "leases_checked": outcome.verdict.grants,
        "coordinator_kills": outcome.coordinator_kills,
        "agent_kills": outcome.agent_kills,
        "pause_seconds_max": round(max(outcome.pauses_seconds, default=0.0), 2),
        "findings": dict(_findings(outcome)),
        "store": None if store is None else str(store),
    }


def _show(outcome: Outcome, seed: int) -> None:
    pauses = sorted(outcome.pauses_seconds)
    rows = [
        ("acknowledged writes", f"{outcome.acknowledged}"),
        ("commits", f"{outcome.verdict.commits}"),
        ("leases checked", f"{outcome.verdict.grants}"),
        ("kills of the coordinator", f"{outcome.coordinator_kills}"),
        ("kills of agents", f"{outcome.agent_kills}"),
    ]
    if pauses:
        rows.append(("longest pause after a kill", f"{pauses[-1]:.1f} s"))
    rows += [(what, f"{len(found)}") for what, found in _findings(outcome)]
    emit_table(("CHECK", "RESULT"), rows)
    for problem in outcome.verdict.problems[:20]:
        click.secho(problem, fg="red", err=True)
    if outcome.verdict.problems:
        count = counted(len(outcome.verdict.problems), "problem")
        click.secho(f"{count}; repeat with --seed {seed} --keep to look at it", fg="red", bold=True)
    else:
        click.secho(
            f"every acknowledged write is in git once, in order, under its author (seed {seed})",
            fg="green",
        )


COMMANDS = {"selftest": selftest}
