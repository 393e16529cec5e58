"""What a command that wrote something says about it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import click

from agent_trace.client import Agent
from agent_trace.results import Written
from agent_trace_protocol import Durability

from .face import Face, find_trouble
from .output import emit_json, emit_note, shown

__all__ = ["run_one", "run_writing"]


def run_writing(
    face: Face, durability: str, work: Callable[[Agent], Awaitable[Sequence[Written]]]
) -> None:
    """Do the work, and say what it made; also why git has not got it, if it was waited for."""

    async def main(agent: Agent) -> tuple[Sequence[Written], bool, str]:
        results = await work(agent)
        behind = durability == Durability.GIT and not all(each.commit for each in results)
        # Programs see the empty commit id; only people are told more.
        told = behind and not face.json
        return results, told, await find_trouble(agent) if told else ""

    results, behind, trouble = face.run(main)
    _tell(face, results)
    for lease in {each.token: each for result in results for each in result.warnings}.values():
        emit_note(
            f"{lease.holder} holds lease {lease.token} on {face.path_here(lease.path)} for another "
            f"{lease.left_seconds:.0f} s; agree before you go on"
        )
    for notice in dict.fromkeys(each for result in results for each in result.notices):
        emit_note(notice)
    if behind:
        reason = f": {trouble}" if trouble else ""
        emit_note(f"it is durable in the journal, and git follows when it can{reason}")


def _tell(face: Face, results: Sequence[Written]) -> None:
    if face.json:
        for written in results:
            emit_json(written)
        return
    for written in results:
        lines = f" (+{written.added} -{written.removed})"
        commit = f" {written.commit[:10]}" if written.commit else ""
        document = f"{face.path_here(written.path)}@{written.revision}"
        click.echo(shown(f"{written.action.value} {document}{lines}{commit}"))


def run_one(face: Face, durability: str, work: Callable[[Agent], Awaitable[Written]]) -> None:
    """Do one write, and say what it made; see `run_writing`."""

    async def main(agent: Agent) -> Sequence[Written]:
        return (await work(agent),)

    run_writing(face, durability, main)
