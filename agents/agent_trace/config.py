"""Who acts, on which store, and how: from arguments, then the environment, then defaults."""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent_trace_protocol import (
    Actor,
    AgentName,
    InvalidRequest,
    SessionKey,
    SessionKind,
    parse_agent_name,
)

from .naming import fitted_name, host_agent_name
from .store import find_store

__all__ = [
    "AGENT_VARIABLE",
    "NO_START_VARIABLE",
    "RECONNECT_SECONDS",
    "STORE_VARIABLE",
    "Identity",
    "Settings",
    "find_identity",
    "find_target",
    "login_identity",
]

AGENT_VARIABLE: Final = "AGENT_TRACE_AGENT"
"""The agent that acts, unless an argument says otherwise."""

STORE_VARIABLE: Final = "AGENT_TRACE_STORE"
"""The store, or a directory in it, unless an argument says otherwise."""

NO_START_VARIABLE: Final = "AGENT_TRACE_NO_START"
"""Keeps the command line from starting a coordinator, unless it is empty or 0."""

RECONNECT_SECONDS: Final = 30.0
"""How long a session tries to get a lost coordinator back before its callers get an error."""

_REMOTE_SCHEMES: Final = ("ipc://", "tcp://")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who acts."""

    actor: Actor
    name: AgentName


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a session is made from."""

    identity: Identity
    root: Path | None
    """The store's root; None if the coordinator is only known by its address."""
    endpoint: str = ""
    """The coordinator's ZeroMQ address; empty to find it by the store."""
    kind: SessionKind = SessionKind.LIBRARY
    program: str = ""
    transport: str = ""
    """By what the session is connected, if not as the endpoint says."""
    model: str = ""
    ephemeral: bool = False
    takeover: bool = False
    autostart: bool = True
    """Whether to start a coordinator when nobody serves the store."""
    reconnect_seconds: float = RECONNECT_SECONDS
    key: SessionKey | None = None
    """The key of a session to come back to; None for a new session."""
    confirm: bool = False
    """Whether every write of this session carries a user's confirmation."""
    keep: bool = False
    """Whether the session outlives this process: leaving does not end it."""


def find_identity(
    agent: str | None = None, user: str | None = None, reader: str | None = None
) -> Identity:
    """Return who acts: the one who is named, else `AGENT_TRACE_AGENT`, else the agent whose host
    runs this process (see `naming`), else the login user.

    Raises:
        InvalidRequest: both are named, or a name is not allowed.
    """
    if agent is not None and user is not None:
        raise InvalidRequest(f"either agent {agent!r} or user {user!r} acts, not both")
    if reader is not None:
        if agent is not None or user is not None:
            raise InvalidRequest(f"reader {reader!r} acts alone, not with {agent or user!r}")
        return Identity(Actor.READER, parse_agent_name(reader))
    if agent is not None:
        return Identity(Actor.AGENT, parse_agent_name(agent))
    if user is not None:
        return Identity(Actor.USER, parse_agent_name(user))
    from_environment = os.environ.get(AGENT_VARIABLE)
    if from_environment:
        return Identity(Actor.AGENT, parse_agent_name(from_environment))
    hosted = host_agent_name(os.environ)
    return login_identity() if hosted is None else Identity(Actor.AGENT, hosted)


def login_identity() -> Identity:
    """Return the person who is logged in, whatever agent the environment names."""
    return Identity(Actor.USER, _login_name())


def _login_name() -> AgentName:
    """Return the login name, made to fit the law of names; "user" if nothing is left of it."""
    try:
        login = getpass.getuser()
    except (KeyError, OSError, ImportError):
        # A container's user often has no entry in the password file.
        login = ""
    return fitted_name(login) or AgentName("user")


def find_target(store: str | os.PathLike[str] | None = None) -> tuple[Path | None, str]:
    """Return the store's root, or None and a coordinator's address.

    `store` is a directory in the store, or an address (`ipc://...`, `tcp://...`); None means
    `AGENT_TRACE_STORE`, else the current directory.

    Raises:
        StoreNotFound: the directory is in no store.
    """
    target = store if store is not None else os.environ.get(STORE_VARIABLE) or None
    if isinstance(target, str) and target.startswith(_REMOTE_SCHEMES):
        return None, target
    return find_store(target), ""
