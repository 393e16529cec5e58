"""Getting a connection to the coordinator of a store, or to one known by its address."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .errors import ConnectionLost
from .launch import ensure_coordinator, listening
from .transport.base import Transport
from .transport.zmq import ZmqTransport

__all__ = ["EndpointConnector", "StoreConnector"]


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
class EndpointConnector:
    """Connects to a ZeroMQ address; whoever is there was started by somebody else."""

    endpoint: str

    async def connect(self) -> Transport:
        """Return a connection; whether anybody is there shows when it is used."""
        return ZmqTransport(self.endpoint)
