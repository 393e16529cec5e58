"""`agent-trace keys`: who may come over TCP, said where the store is; and joining, elsewhere."""

from __future__ import annotations

import sys

import click

from agent_trace import keys as library
from agent_trace_protocol import Actor
from agent_trace_protocol.keys import ROLES

from .face import Face, global_options, pass_face
from .output import emit_json, emit_lines, emit_note, emit_table, local_time

__all__ = ["COMMANDS"]


@click.group()
@global_options
def keys() -> None:
    """Let clients on other machines in, each by a key of its own.

    \b
    At the store:            agent-trace keys add planner
                             agent-trace serve --listen tcp://127.0.0.1:7117
    On the other machine:    agent-trace keys join at1:...
                             agent-trace --store tcp://HOST:PORT --agent planner resume
    """


@keys.command()
@global_options
@pass_face
def init(face: Face) -> None:
    """Make the coordinator's own key pair. Needed once; `add` does it too."""
    public = library.make_keys(face.store)
    if face.json:
        emit_json({"public": public})
    else:
        click.echo(f"the coordinator's public key is {public}")


@keys.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice([each.value for each in ROLES]),
    default=Actor.AGENT.value,
    show_default=True,
    help="As what NAME may act at most.",
)
@click.option(
    "--address",
    default="",
    metavar="tcp://HOST:PORT",
    help="Where NAME finds the coordinator, if not where it says that it listens.",
)
@global_options
@pass_face
def add(face: Face, name: str, role: str, address: str) -> None:
    """Make a key for NAME, and print its join string, which is shown only once."""
    made = library.add_key(name, Actor(role), store=face.store, address=address)
    if face.json:
        emit_json(made)
        return
    click.echo(made.join)
    emit_note(
        f"whoever has this line is {made.name} ({made.role}) at {made.address}; on that machine: "
        "agent-trace keys join -"
    )


@keys.command("ls")
@global_options
@pass_face
def list_keys(face: Face) -> None:
    """List the keys that are known; their secrets are with their clients only."""
    known = library.list_keys(face.store)
    if face.json:
        emit_lines(known)
    elif known:
        rows = [(each.name, each.role, each.key, local_time(each.created_ms)) for each in known]
        emit_table(("NAME", "ROLE", "KEY", "MADE"), rows)
    else:
        click.echo("no client has a key; make one: agent-trace keys add NAME", err=True)


@keys.command()
@click.argument("name")
@global_options
@pass_face
def revoke(face: Face, name: str) -> None:
    """Let NAME in no more, at once: its sessions end, its connections are of no use."""
    gone = library.revoke_key(name, store=face.store)
    if face.json:
        emit_json(gone)
    else:
        click.echo(f"the key {gone.key} of {gone.name} ({gone.role}) is revoked")


@keys.command()
@click.argument("string")
@global_options
@pass_face
def join(face: Face, string: str) -> None:
    """Keep the key of a join STRING on this machine; - reads it from the standard input.

    On a command line others may see it in the list of processes; from the standard input, nobody.
    """
    done = library.join(sys.stdin.readline() if string == "-" else string)
    if face.json:
        emit_json(
            {
                "address": done.address,
                "name": done.name,
                "role": done.role,
                "path": str(done.path),
            }
        )
    else:
        act = {Actor.AGENT: f" --agent {done.name}", Actor.READER: f" --reader {done.name}"}
        click.echo(
            f"joined; use it with: agent-trace --store {done.address}{act.get(done.role, '')}"
        )


COMMANDS = {"keys": keys}
