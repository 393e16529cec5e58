"""Getting a connection to the coordinator of a store, or to one known by its address."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent_trace_protocol.layout import SPOOL_DIRECTORY

from .errors import ConnectionLost, CoordinatorNotRunning, SocketsDenied
from .launch import ensure_coordinator, listening
from .sandbox import denies_sockets, sandbox_name
from .transport.base import Connector, Transport
from .transport.spool import SpoolTransport, is_served
from .transport.zmq import ZmqTransport

__all__ = ["EndpointConnector", "SpoolConnector", "StoreConnector", "connector_of"]


def connector_of(root: Path | None, endpoint: str, autostart: bool) -> Connector:
    """Return what connects to a store at `root`, or else to a coordinator's address.

    Where a sandbox denies sockets to this process, that is the store's spool.

    Raises:
        CoordinatorNotRunning: nobody serves the store, and nobody would start a coordinator. Later
            losses are waited out, but nobody waits for what was never there.
        SocketsDenied: the same in a sandbox, or the address can not be reached out of it.
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
        return EndpointConnector(endpoint)
    if not autostart and listening(root) is None:
        raise CoordinatorNotRunning(
            f"no coordinator is running for {root}; start one with agent-trace serve"
        )
    return StoreConnector(root, autostart)


@dataclass(frozen=True, slots=True)
class StoreConnector:
    """Connects to whoever serves a store on this machine, starting a coordinator if nobody does."""

    root: Path
    autostart: bool = True

    async def connect(self) -> Transport:
        """Return a connection; raises `ConnectionLost` or `CoordinatorFailed`."""
        if self.autostart:
            info = await ensure_coordinator(self.root)
        else:
            found = listening(self.root)
            if found is None:
                raise ConnectionLost(f"no coordinator is running for {self.root}")
            info = found
        return ZmqTransport(info.endpoint)


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

    async def connect(self) -> Transport:
        """Return a connection; whether anybody is there shows when it is used."""
        return ZmqTransport(self.endpoint)
