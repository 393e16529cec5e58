"""The readable mirror of sessions and leases, as the text of a TOML file.

Written for people and never read back: whatever becomes of the file changes nobody's rights.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from .inputs import Now
from .lease_views import lease_info
from .sessions import info_of
from .state import State

__all__ = ["render_mirror"]

_HEAD: Final = """\
# Who is connected, and who holds which lease. The coordinator writes this file and never reads it:
# changing or deleting it changes nobody's rights. `agent-trace sessions` and `agent-trace lease ls`
# show the same, fresher.
"""


def render_mirror(state: State, durable_seq: int, now: Now) -> str:
    """Return the mirror of the open sessions and of the leases whose grant is durable."""
    lines = [_HEAD, f"epoch = {state.epoch}\n", f"written_ms = {now.wall_ms}\n"]
    for session in state.sessions.values():
        if not session.ephemeral:
            lines.append("\n[[session]]\n")
            lines += _table(info_of(state, session, now), ("idle_seconds", "ended_ms", "reason"))
    for token, lease in state.leases.by_token.items():
        if token <= durable_seq:
            lines.append("\n[[lease]]\n")
            lines += _table(lease_info(state, lease, now), ())
    return "".join(lines)


def _table(info: msgspec.Struct, without: tuple[str, ...]) -> Iterator[str]:
    for name in info.__struct_fields__:
        value: object = getattr(info, name)
        if name in without or value == "":
            continue
        if isinstance(value, float):
            value = round(value, 1)
        # A JSON string, number or boolean is one of TOML too: what JSON leaves as it is and TOML
        # does not allow, control characters, no name, path or description holds.
        yield f"{name} = {msgspec.json.encode(value).decode()}\n"
