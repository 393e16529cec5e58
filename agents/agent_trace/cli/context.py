"""`agent-trace context`: where the project stands, and where its users want it to go."""

from __future__ import annotations

import sys

import click

from agent_trace.client import Agent
from agent_trace.results import Document
from agent_trace.synthesis import Synthesis
from agent_trace.synthesis import synthesize as ask_model
from agent_trace_protocol import StatementInfo

from .face import Face, global_options, pass_face
from .output import as_builtins, emit_json, emit_lines, emit_note, emit_table, local_time, shown

__all__ = ["COMMANDS"]

CONTEXT_PATH = "context.md"
"""Where the coordinator writes what `show` prints."""


@click.group()
@global_options
def context() -> None:
    """Show where the project stands, and say where it goes."""


@context.command()
@global_options
@pass_face
def show(face: Face) -> None:
    """Print context.md as it is now: goals, phase, decisions, questions, plans."""

    async def work(agent: Agent) -> Document:
        return await agent.read(CONTEXT_PATH)

    document = face.run(work)
    if face.json:
        names = ("path", "type", "revision", "seq", "time_ms", "author", "text")
        emit_json({name: as_builtins(getattr(document, name)) for name in names})
    else:
        click.echo(document.content, nl=False)


@context.command()
@global_options
@pass_face
def refresh(face: Face) -> None:
    """Write the generated documents now, instead of in a moment."""

    async def work(agent: Agent) -> int:
        await agent.refresh()
        return agent.seq

    seq = face.run(work)
    if face.json:
        emit_json({"seq": seq})
    else:
        click.echo(f"the generated documents tell of operation {seq}")


@context.command()
@click.argument("text", required=False)
@click.option("--replaces", default="", metavar="ID", help="The statement that this supersedes.")
@click.option("--drop", default="", metavar="ID", help="Let a statement stand no more instead.")
@global_options
@pass_face
def update(face: Face, text: str | None, replaces: str, drop: str) -> None:
    """Say where things go: TEXT stands in context.md for every agent to read. Users only.

    It stands until another one supersedes it or it is dropped.
    """
    if bool(text) == bool(drop) or (drop and replaces):
        raise click.UsageError("give either a TEXT, perhaps with --replaces, or --drop ID")

    async def work(agent: Agent) -> StatementInfo | None:
        if drop:
            await agent.drop_statement(drop)
            return None
        return await agent.steer(text or "", replaces=replaces)

    said = face.run(work)
    if face.json:
        emit_json({"dropped": drop} if said is None else said)
    elif said is None:
        click.echo(f"{drop} stands no more")
    else:
        instead = f" in the place of {replaces}" if replaces else ""
        click.echo(f"{said.id} stands in {CONTEXT_PATH}{instead}")


@context.command()
@global_options
@pass_face
def updates(face: Face) -> None:
    """List the statements that stand, oldest first."""

    async def work(agent: Agent) -> tuple[StatementInfo, ...]:
        return await agent.statements()

    statements = face.run(work)
    if face.json:
        emit_lines(statements)
        return
    if not statements:
        click.echo('no statement stands; make one: agent-trace context update "..."', err=True)
        return
    rows = [(each.id, local_time(each.time_ms), each.author, each.text) for each in statements]
    emit_table(("ID", "TIME", "AUTHOR", "TEXT"), rows)


@context.command()
@global_options
@pass_face
def synthesize(face: Face) -> None:
    """Have a language model say where the project stands. Off unless config.toml names one.

    Its words are labelled and stored nowhere; without an answer, context.md is printed.
    """
    root = face.root()

    async def work(agent: Agent) -> Synthesis:
        if sys.stderr.isatty():
            click.echo("asking the language model ...", err=True)
        return await ask_model(agent, root)

    made = face.run(work)
    if face.json:
        emit_json(made)
        return
    if made.problem:
        emit_note(f"{made.problem}; this is the deterministic text")
    else:
        click.echo(
            f"[written by the language model {shown(made.by_model)} as of operation {made.seq}; "
            "not checked by anybody]\n"
        )
    click.echo(shown(made.text, lines=True))


COMMANDS = {"context": context}
