"""Names and numbers that identify things, one parser each.

A client makes a random 128-bit *session key* and keeps it secret; the public *session id* is a
hash of it. So a request proves its session with the key, ids can stand in logs and commits without
giving anything away, and opening the same session twice is idempotent by construction.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Final, NewType

from .errors import InvalidRequest, MalformedMessage
from .limits import AGENT_NAME_LENGTH_MAX, SESSION_KEY_BYTES

__all__ = ["AgentName", "SessionId", "SessionKey", "parse_agent_name", "session_id_of"]

AgentName = NewType("AgentName", str)
SessionId = NewType("SessionId", str)
SessionKey = NewType("SessionKey", bytes)

# It becomes a git author, a file name and a word on a command line: no case twins, no look-alikes,
# nothing a shell, a file system or git's ident line could read as structure.
_AGENT_NAME: Final = re.compile(rf"[a-z0-9][a-z0-9._-]{{0,{AGENT_NAME_LENGTH_MAX - 1}}}", re.ASCII)

_RESERVED: Final = frozenset({"system"})


def parse_agent_name(text: str) -> AgentName:
    """Return `text` as the name of an agent or a user.

    Raises:
        InvalidRequest: it is not 1 to 64 of `a-z 0-9 . _ -` starting with a letter or digit, ends
            with a dot, or is the coordinator's own name.
    """
    if not _AGENT_NAME.fullmatch(text) or text.endswith("."):
        raise InvalidRequest(
            f"{text[:AGENT_NAME_LENGTH_MAX]!r} is not a name: use 1 to {AGENT_NAME_LENGTH_MAX} of "
            "a-z, 0-9, '.', '_' and '-', starting with a letter or digit, not ending with '.'"
        )
    if text in _RESERVED:
        raise InvalidRequest(f"{text!r} is reserved for the coordinator itself")
    return AgentName(text)


def session_id_of(key: bytes) -> SessionId:
    """Return the public id of the session that `key` proves: 26 characters of `a-z 2-7`.

    Raises:
        MalformedMessage: the key is not 16 bytes.
    """
    if len(key) != SESSION_KEY_BYTES:
        raise MalformedMessage(f"a session key has {SESSION_KEY_BYTES} bytes, not {len(key)}")
    digest = hashlib.blake2b(key, digest_size=16, person=b"agent-trace-sid").digest()
    return SessionId(base64.b32encode(digest).decode("ascii").rstrip("=").lower())
