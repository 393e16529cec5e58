"""Keys of clients that come over TCP: how they are named, and the string that one joins with.

Keys are CURVE's: 32 bytes, as 40 characters of Z85. Nothing here makes or checks one against
another; whoever holds the secret proves it to ZeroMQ.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Final

import msgspec

from .errors import AgentTraceError, InvalidRequest
from .ids import parse_agent_name
from .model import Actor
from .scalars import Count

__all__ = [
    "ROLES",
    "JoinInfo",
    "KeyInfo",
    "decode_join",
    "encode_join",
    "key_id",
    "parse_tcp_address",
]

_PREFIX: Final = "at1:"
"""Of a join string; another layout gets another number."""

_CHECK_BYTES: Final = 4
"""Of a hash at the end: half a string, or one with a slip, is noticed where it is pasted."""

_JOIN_LENGTH_MAX: Final = 1000

_Z85: Final = re.compile(r"[0-9A-Za-z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")

_TCP: Final = re.compile(r"tcp://(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253}):([0-9]{1,5})")

ROLES: Final = (Actor.READER, Actor.AGENT, Actor.USER)
"""What a key may be for; each may do what those before it may."""


class JoinInfo(msgspec.Struct, frozen=True, array_like=True):
    """What another machine needs in order to connect: its join string says no more than this."""

    address: str
    """Where the coordinator listens, such as `tcp://192.0.2.7:7117`."""
    server: str
    """The coordinator's public key."""
    secret: str
    """The client's secret key."""
    name: str
    """The only name under which the key lets a session be opened."""
    role: Actor
    """As what it may act at most."""


class KeyInfo(msgspec.Struct, frozen=True):
    """A client's key as the coordinator knows it. The secret is with the client only."""

    name: str
    role: Actor
    public: str
    created_ms: Count
    """When it was made, UTC milliseconds."""

    @property
    def id(self) -> str:
        """The key's short name, for listings and records."""
        return key_id(self.public)


def key_id(public: str) -> str:
    """Return the short name of a public key: 20 hexadecimal digits of its hash."""
    return hashlib.blake2b(public.encode(), digest_size=10, person=b"agent-trace-key").hexdigest()


def parse_tcp_address(text: str) -> tuple[str, int]:
    """Return host and port of `tcp://HOST:PORT`; port 0 leaves the choice to the system.

    Raises:
        InvalidRequest: it is no such address.
    """
    match = _TCP.fullmatch(text)
    if match is None or int(match[2]) > 65535:
        raise InvalidRequest(
            f"{text[:200]!r} is no address; write tcp://HOST:PORT, such as tcp://127.0.0.1:7117"
        )
    return match[1], int(match[2])


def encode_join(info: JoinInfo) -> str:
    """Return the join string: one word that no shell and no mail program changes."""
    data = msgspec.msgpack.encode(info)
    return _PREFIX + base64.urlsafe_b64encode(data + _check(data)).decode().rstrip("=")


def decode_join(text: str) -> JoinInfo:
    """Return what a join string says.

    Raises:
        InvalidRequest: it is none, or not all of it is there. The message does not quote it.
    """
    text = text.strip()
    try:
        if not text.startswith(_PREFIX) or len(text) > _JOIN_LENGTH_MAX:
            raise ValueError("it does not look like one")
        encoded = text.removeprefix(_PREFIX)
        data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), b"-_", validate=True)
        if _check(data[:-_CHECK_BYTES]) != data[-_CHECK_BYTES:]:
            raise ValueError("a part of it is missing or wrong")
        info = msgspec.msgpack.decode(data[:-_CHECK_BYTES], type=JoinInfo)
        parse_tcp_address(info.address)
        parse_agent_name(info.name)
        if not (_Z85.fullmatch(info.server) and _Z85.fullmatch(info.secret)):
            raise ValueError("its keys are none")
        if info.role not in ROLES:
            raise ValueError("its role is none")
    except (ValueError, AgentTraceError, msgspec.MsgspecError) as error:
        raise InvalidRequest(
            f"this is no join string ({error}); copy the whole line that "
            "`agent-trace keys add` printed, or have another key made"
        ) from error
    return info


def _check(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_CHECK_BYTES).digest()
