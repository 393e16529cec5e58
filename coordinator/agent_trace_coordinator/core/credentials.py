"""What a key allows: a session that is opened by one has its name, and at most its role.

Whoever comes by a local way needs no key: only the store's owner can enter there. A session belongs
to the key that opened it, so that its own secret, should it become known, is of no use to others.
"""

from __future__ import annotations

from typing import Final

import msgspec

from agent_trace_protocol import Actor, Open, PermissionDenied, Refused

from .effects import Answer
from .inputs import Credential, Received
from .state import State

__all__ = ["check_opening", "refuse_stranger"]

_RANK: Final = {Actor.READER: 1, Actor.AGENT: 2, Actor.USER: 3}


def check_opening(request: Open, credential: Credential | None) -> Open:
    """Return the request as it is to be carried out.

    Raises:
        PermissionDenied: the key is another's, or not for so much.
    """
    if credential is None:
        return request
    if request.name != credential.name:
        raise PermissionDenied(
            f"this key is for {credential.name}, not for {request.name[:64]}; whoever owns the "
            "store makes another one: agent-trace keys add NAME"
        )
    if _RANK.get(request.actor, 0) > _RANK[credential.role]:
        raise PermissionDenied(
            f"this key lets {credential.name} act as {credential.role} at most, not as "
            f"{request.actor}; whoever owns the store makes another one: agent-trace keys add "
            f"{credential.name} --role {request.actor}"
        )
    # What is known is not left to the client to say.
    return msgspec.structs.replace(request, transport="tcp")


def refuse_stranger(state: State, input: Received) -> Answer | None:
    """Return the refusal of a request that came by another way than its session: by another key, by
    one where none was used before, or without; None if it may be the session's own."""
    session = state.sessions.get(input.session)
    way = "" if input.credential is None else input.credential.key
    if session is None or session.key == way:
        return None
    error = PermissionDenied(
        f"session {session.id} was not opened by the key of this connection; open one of your own"
    )
    return Answer(Refused(error.to_info()), state.seq)
