"""Where to listen for clients on other machines: only with keys, and never by accident."""

from __future__ import annotations

import ipaddress

from agent_trace_coordinator.errors import StoreInvalid
from agent_trace_coordinator.storage.keys import KeyRing, ServerKeys
from agent_trace_protocol import InvalidRequest
from agent_trace_protocol.keys import parse_tcp_address

__all__ = ["listen_address", "numeric_address", "required_keys"]


def listen_address(text: str, *, anywhere: bool) -> str:
    """Return the address to bind for `tcp://ADDRESS:PORT`; loopback only, unless `anywhere`.

    Raises:
        StoreInvalid: it is none, or others could reach it and nobody said that they may.
    """
    host, port = numeric_address(text, anywhere=anywhere)
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def numeric_address(text: str, *, anywhere: bool) -> tuple[str, int]:
    """Return the numbers of host and port of `tcp://ADDRESS:PORT`; loopback, unless `anywhere`.

    Raises:
        StoreInvalid: it is none, or others could reach it and nobody said that they may.
    """
    try:
        host, port = parse_tcp_address(text)
        given = "127.0.0.1" if host == "localhost" else host.strip("[]")
        address = ipaddress.ip_address(given)
    except InvalidRequest as error:
        raise StoreInvalid(f"can not listen there: {error.message}") from error
    except ValueError as error:
        raise StoreInvalid(
            f"can not listen at {text}: name an address of this machine in numbers, such as "
            "tcp://127.0.0.1:7117"
        ) from error
    if not (address.is_loopback or anywhere):
        raise StoreInvalid(
            f"{text} can be reached from other machines; if that is meant, say so: --listen-any, "
            "or listen_any = true in config.toml"
        )
    return str(address), port


def required_keys(ring: KeyRing) -> ServerKeys:
    """Return the coordinator's key pair, without which there is no listening on TCP.

    Raises:
        StoreInvalid: there is none, or it is not ours alone.
    """
    keys = ring.server_keys()
    if keys is None:
        raise StoreInvalid(
            "no TCP without keys: make the coordinator's with agent-trace keys init, and one for "
            "each client with agent-trace keys add NAME"
        )
    return keys
