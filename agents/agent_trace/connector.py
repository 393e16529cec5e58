"""Getting a connection to the coordinator of a store, or to one known by its address."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent_trace_protocol.layout import SPOOL_DIRECTORY

from .errors import ConnectionLost, CoordinatorNotRunning, CoordinatorStopped, SocketsDenied
from .keys import find_key
from .launch import ensure_coordinator, listening, read_stopped
from .sandbox import denies_sockets, sandbox_name
from .transport.base import Connector, Transport
from .transport.spool import SpoolTransport, is_served
from .transport.zmq import Curve, ZmqTransport

__all__ = ["EndpointConnector", "SpoolConnector", "StoreConnector", "connector_of"]


def connector_of(
    root: Path | None, endpoint: str, autostart: bool, *, name: str, starts_stopped: bool = True
) -> Connector:
    """Return what connects to a store at `root`, or else to a coordinator's address.

    Over TCP that takes a key that `name` has joined with. Where a sandbox denies sockets to this
    process, it is the store's spool. `starts_stopped` is whether it may start a coordinator that a
    user has stopped.

    Raises:
        CoordinatorNotRunning: nobody serves the store, and nobody would start a coordinator. Later
            losses are waited out, but nobody waits for what was never there.
        SocketsDenied: the same in a sandbox, or the address can not be reached out of it.
        KeyMissing: there is no key for an address on another machine.
    """
    if denies_sockets():
        name = sandbox_name()
        if root is None:
            raise SocketsDenied(
                f"{name} denies sockets, so {endpoint} can not be reached; name a store on this "
                "machine by its directory, or run this command outside of the sandbox"
            )
        if not is_served(root / SPOOL_DIRECTORY):
            raise SocketsDenied(
                f"{name} denies sockets, so no coordinator can be started in it, and none is "
                f"running for {root}; start one outside of the sandbox: agent-trace serve"
            )
        return SpoolConnector(root)
    if root is None:
        if not endpoint.startswith("tcp://"):
            return EndpointConnector(endpoint)
        # In the clear, and to whoever answers there, nothing is ever sent.
        key = find_key(endpoint, name)
        return EndpointConnector(endpoint, Curve(key.server, key.secret))
    if not autostart and listening(root) is None:
        raise CoordinatorNotRunning(
            f"no coordinator is running for {root}; start one with agent-trace serve"
        )
    return StoreConnector(root, autostart, starts_stopped)


@dataclass(slots=True)
class StoreConnector:
    """Connects to whoever serves a store on this machine, starting a coordinator if nobody does.

    One that a user has stopped is not started again by who was connected to it.
    """

    root: Path
    autostart: bool = True
    starts_stopped: bool = True
    """Whether a new session may start one that a user has stopped: a user's may."""
    _met: bool = False

    async def connect(self) -> Transport:
        """Return a connection; raises `ConnectionLost` or `CoordinatorFailed`."""
        found = listening(self.root)
        if found is None:
            self._check_stopped()
            if not self.autostart:
                raise ConnectionLost(f"no coordinator is running for {self.root}")
            found = await ensure_coordinator(self.root)
        self._met = True
        return ZmqTransport(found.endpoint)

    def _check_stopped(self) -> None:
        """Raise if a user has stopped the coordinator, and this is not who may start it again."""
        if self.starts_stopped and not self._met:
            return
        stopped = read_stopped(self.root)
        if stopped is None:
            return
        message = (
            f"{stopped.by} has stopped the coordinator of {self.root}; a user starts it again with "
            "agent-trace serve, or with any command"
        )
        # Who was connected waits a while for it; who was not is told at once.
        raise ConnectionLost(message) if self._met else CoordinatorStopped(message)


@dataclass(frozen=True, slots=True)
class SpoolConnector:
    """Connects to whoever serves a store on this machine, by files: sockets are denied here."""

    root: Path

    async def connect(self) -> Transport:
        """Return a connection; raises `ConnectionLost` if nobody serves the store just now."""
        try:
            return SpoolTransport(self.root / SPOOL_DIRECTORY)
        except ConnectionLost as error:
            raise ConnectionLost(
                f"{error.message}; {sandbox_name()} denies sockets, so no coordinator can be "
                "started in it: start one outside of it with agent-trace serve"
            ) from error


@dataclass(frozen=True, slots=True)
class EndpointConnector:
    """Connects to a ZeroMQ address; whoever is there was started by somebody else."""

    endpoint: str
    curve: Curve | None = None

    async def connect(self) -> Transport:
        """Return a connection; whether anybody is there shows when it is used."""
        return ZmqTransport(self.endpoint, self.curve)
