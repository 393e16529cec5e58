"""What `agent-trace keys` has the coordinator's package do with the keys of a store.

Answers are JSON on the standard output; only the owner of the store can read or change its keys.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import NoReturn

import click
import msgspec

from agent_trace_protocol import Actor, AgentTraceError, InvalidRequest, parse_agent_name
from agent_trace_protocol.keys import (
    ROLES,
    JoinInfo,
    KeyInfo,
    encode_join,
    parse_tcp_address,
)

from .storage.keys import KeyRing, ServerKeys

__all__ = ["keys"]


@click.group()
def keys() -> None:
    """Make, list and revoke the keys of clients that come over TCP."""


def _fail(error: AgentTraceError | OSError) -> NoReturn:
    click.echo(f"error: {error}", err=True)
    sys.exit(1)


def _ring(root: Path) -> KeyRing:
    from .storage.store import open_store  # noqa: PLC0415 - only these commands need it

    return KeyRing(open_store(root).keys)


def _told(key: KeyInfo) -> dict[str, object]:
    return {"name": key.name, "role": key.role, "key": key.id, "created_ms": key.created_ms}


def _print(value: object) -> None:
    click.echo(msgspec.json.encode(value).decode())


def _server_keys(ring: KeyRing) -> ServerKeys:
    """Return the coordinator's pair, made now if there is none."""
    from .server.curve import make_key_pair  # noqa: PLC0415 - ZeroMQ

    public, secret = make_key_pair()
    ring.make_server_keys(ServerKeys(public, secret))
    found = ring.server_keys()
    assert found is not None, "it was made, or was there"
    return found


@keys.command("init")
@click.argument("root", type=click.Path(file_okay=False, path_type=Path))
def init_keys(root: Path) -> None:
    """Make the coordinator's own key pair, if there is none."""
    try:
        _print({"public": _server_keys(_ring(root)).public})
    except (AgentTraceError, OSError) as error:
        _fail(error)


@keys.command("add")
@click.argument("root", type=click.Path(file_okay=False, path_type=Path))
@click.argument("name")
@click.option("--role", type=click.Choice([each.value for each in ROLES]), required=True)
@click.option("--address", required=True)
def add_key(root: Path, name: str, role: str, address: str) -> None:
    """Make a key for NAME and print the join string that holds its secret."""
    from .server.curve import make_key_pair  # noqa: PLC0415 - ZeroMQ

    try:
        host, port = parse_tcp_address(address)
        if not port:
            raise InvalidRequest(f"{address} names no port that one can connect to")
        ring = _ring(root)
        server = _server_keys(ring)
        public, secret = make_key_pair()
        key = KeyInfo(parse_agent_name(name), Actor(role), public, time.time_ns() // 1_000_000)
        ring.add(key)
        join = JoinInfo(f"tcp://{host}:{port}", server.public, secret, key.name, key.role)
        _print({**_told(key), "address": join.address, "join": encode_join(join)})
    except (AgentTraceError, OSError) as error:
        _fail(error)


@keys.command("ls")
@click.argument("root", type=click.Path(file_okay=False, path_type=Path))
def list_keys(root: Path) -> None:
    """Print what is known of each client."""
    try:
        _print([_told(each) for each in _ring(root).keys()])
    except (AgentTraceError, OSError) as error:
        _fail(error)


@keys.command("revoke")
@click.argument("root", type=click.Path(file_okay=False, path_type=Path))
@click.argument("name")
def revoke_key(root: Path, name: str) -> None:
    """Let the client NAME in no more."""
    try:
        _print(_told(_ring(root).revoke(parse_agent_name(name))))
    except (AgentTraceError, OSError) as error:
        _fail(error)
