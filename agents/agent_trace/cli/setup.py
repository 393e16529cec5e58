"""Commands about the store and its coordinator: init, status, stop."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import anyio
import click
import msgspec
from click._termui_impl import ProgressBar

from agent_trace.client import Agent
from agent_trace.config import login_identity
from agent_trace.errors import ConnectionLost, CoordinatorNotRunning
from agent_trace.launch import create_store, listening
from agent_trace.leaving import Leaving
from agent_trace.loop import run
from agent_trace.scanning import Found, Scanned, Skipped
from agent_trace.store import is_store
from agent_trace_protocol import (
    MirrorInfo,
    SessionInfo,
    SessionState,
    StatusReport,
    Unavailable,
)

from .face import Face, global_options, pass_face
from .output import counted, emit_json, emit_table, shown, size

__all__ = ["COMMANDS"]

_PROGRESS_FROM: Final = 100
"""Documents from which on a progress bar is worth its line."""

_STOP_SECONDS_MAX: Final = 45.0
"""How long a coordinator may take to leave: at most 30 s for what it accepted, 10 s for mirrors."""


@click.command()
@click.argument("path", type=click.Path(file_okay=False, path_type=Path), default=".")
@click.option("--scan", "scanning", is_flag=True, help="Add the documents that lie there already.")
@click.option("--nested", is_flag=True, help="Allow a store inside another one.")
@global_options
@pass_face
def init(face: Face, path: Path, scanning: bool, nested: bool) -> None:
    """Make PATH (the current directory) a store."""
    root = path.resolve()
    created = not is_store(root)
    if created:
        create_store(root, nested=nested)
    if not face.json:
        click.echo(f"{root} is a store" + ("" if created else " already"))
    scanned = Scanned((), ())
    if scanning:
        face.store = str(root)

        async def work(agent: Agent) -> Scanned:
            return await _scan(agent, root, quiet=face.json)

        # Only a user decides which file is what, so no agent of the environment acts here.
        scanned = face.run(work, identity=login_identity())
    if face.json:
        found = {"added": scanned.added, "skipped": scanned.skipped}
        emit_json({"store": str(root), "created": created, **found})
        return
    if scanning:
        _show_scan(scanned.added, scanned.skipped)
    elif created:
        click.echo(
            "next: agent-trace write plan.md --type plan --text '# Plan', "
            "or agent-trace init --scan"
        )


async def _scan(agent: Agent, root: Path, *, quiet: bool) -> Scanned:
    with ExitStack() as shown:
        bars: list[ProgressBar[int]] = []

        def told(done: int, of: int) -> None:
            if not bars:
                hidden = quiet or of < _PROGRESS_FROM
                bar = click.progressbar(
                    length=of, label="adding documents", file=sys.stderr, hidden=hidden
                )
                bars.append(shown.enter_context(bar))
            bars[0].update(done - bars[0].pos)

        return await agent.scan(root, on_progress=told)


def _show_scan(added: Sequence[Found], skipped: Sequence[Skipped]) -> None:
    if added:
        rows = [
            (each.path, each.type.value, each.why, size(each.size), " ".join(each.tags))
            for each in added
        ]
        emit_table(("PATH", "TYPE", "BECAUSE OF", "SIZE", "TAGS"), rows)
    click.echo(f"{counted(len(added), 'document')} added" if added else "nothing new to add")
    if skipped:
        click.echo(f"{counted(len(skipped), 'file')} skipped:", err=True)
        emit_table(("PATH", "REASON"), [(each.path, each.reason) for each in skipped], err=True)


@click.command()
@click.option(
    "--no-start",
    is_flag=True,
    help="Fail if no coordinator runs, instead of starting one: for health checks. "
    "AGENT_TRACE_NO_START=1 does the same for every command.",
)
@global_options
@pass_face
def status(face: Face, no_start: bool) -> None:
    """Show how the coordinator and the store are.

    The session that this command itself needs is not counted.
    """

    async def work(agent: Agent) -> StatusReport:
        return await agent.status()

    report = face.run(work, autostart=not no_start, patient=not no_start)
    if face.one_shot:
        live = max(report.sessions_live - 1, 0)
        report = msgspec.structs.replace(report, sessions_live=live)
    if face.json:
        emit_json(report)
        return
    behind = report.seq - report.git_seq
    rows = [
        ("store", f"{report.root} ({report.store})"),
        ("documents", str(report.documents)),
        ("sessions", f"{report.sessions_live} live, {report.sessions_stale} stale"),
        ("leases", f"{report.leases} held"),
        ("waiting", _waiting(report)),
        ("operations", str(report.seq) + (f", git follows, {behind} behind" if behind else "")),
        ("head", report.head[:10] or "none"),
        ("writes", f"refused: {report.read_only}" if report.read_only else "accepted"),
        ("health", _health(report)),
        ("coordinator", f"pid {report.pid}, life {report.epoch}, version {report.version}, "
         f"up {report.uptime_seconds:.0f} s, {size(report.rss_bytes)}"),
        ("on disk", f"git {_of_budget(report)} in {counted(report.packs, 'pack')}, "
         f"journal {size(report.journal_bytes)}"),
        ("maintenance", report.maintenance or "none yet"),
        *(("mirror", _mirror_line(report, each)) for each in report.mirrors),
    ]  # fmt: skip
    for name, text in rows:
        click.echo(f"{name:<12} {shown(' '.join(text.split()))}")


def _health(report: StatusReport) -> str:
    """Return what does not work or soon will not; `good` if there is nothing."""
    budget = report.repository_budget_bytes
    found = [
        report.trouble,
        f"{report.sessions_stale} stale sessions" if report.sessions_stale else "",
        "the repository is over its budget" if 0 < budget < report.repository_bytes else "",
    ]
    return "; ".join(each for each in found if each) or "good"


def _mirror_line(report: StatusReport, mirror: MirrorInfo) -> str:
    behind = max(report.seq - mirror.seq, 0)
    lag = f"{counted(behind, 'operation')} behind" if behind else "has everything"
    return f"{mirror.url} {lag}" + (f"; failed: {mirror.failure}" if mirror.failure else "")


def _waiting(report: StatusReport) -> str:
    """Return what was not written and waits for somebody's decision."""
    parts: list[str] = []
    if report.drafts:
        parts.append(f"{counted(report.drafts, 'draft')} (agent-trace drafts)")
    if report.violations:
        parts.append(f"{counted(report.violations, 'refused write')} (agent-trace violations)")
    return ", ".join(parts) or "nothing"


def _of_budget(report: StatusReport) -> str:
    """Return the size of the repository, with its budget once that is nearly or wholly used up."""
    budget = report.repository_budget_bytes
    if not budget or report.repository_bytes < 0.8 * budget:
        return size(report.repository_bytes)
    over = ", over its budget" if report.repository_bytes > budget else ""
    return f"{size(report.repository_bytes)} of {size(budget)}{over}"


@click.command()
@global_options
@pass_face
def stop(face: Face) -> None:
    """Let the coordinator finish its work and leave.

    Your next command starts it again. Clients that are connected, and agents, leave it stopped for
    ten minutes and are told who stopped it.
    """
    root = face.root()
    before = listening(root)
    live: list[SessionInfo] = []
    if before is not None:

        async def work(agent: Agent) -> None:
            live.extend(
                each
                for each in await agent.sessions()
                if each.state is SessionState.LIVE and each.id != agent.session_id
            )
            await agent.stop()

        with Leaving.of(root, before) as leaving:
            try:
                face.run(work, autostart=False, patient=False)
            except (ConnectionLost, CoordinatorNotRunning):
                # It answers and leaves at once, or left before it was asked: what counts is whether
                # it is gone.
                if not run(_wait_gone, leaving):
                    raise
            else:
                if not run(_wait_gone, leaving):
                    raise Unavailable(
                        f"the coordinator (pid {before.pid}) was asked to leave, but has not done "
                        f"so within {_STOP_SECONDS_MAX:.0f} s; it goes on finishing what it has "
                        "accepted, so wait, and say agent-trace stop again"
                    )
    if face.json:
        pid = before.pid if before else None
        emit_json({"stopped": before is not None, "pid": pid, "sessions": len(live)})
    elif before is None:
        click.echo("no coordinator is running")
    else:
        click.echo(f"the coordinator (pid {before.pid}) has stopped")
        if live:
            were = "1 other session was" if len(live) == 1 else f"{len(live)} other sessions were"
            click.echo(f"{were} live: they wait for you to start it again (agent-trace serve)")


async def _wait_gone(leaving: Leaving) -> bool:
    """Wait until that life of the coordinator is over; return whether it is."""
    with anyio.move_on_after(1):
        await leaving.wait()
        return True
    if sys.stderr.isatty():
        click.echo("it finishes what it has accepted ...", err=True)
    with anyio.move_on_after(_STOP_SECONDS_MAX):
        await leaving.wait()
        return True
    return False


COMMANDS = {"init": init, "status": status, "stop": stop}
