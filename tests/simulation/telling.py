"""What happens in a world, line by line, for a person who wants to see why a seed fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Final, cast

import msgspec

from agent_trace_coordinator.core.records import Entry
from agent_trace_coordinator.core.state import Rules, State
from agent_trace_protocol import (
    Heartbeat,
    Open,
    Reply,
    decode_reply,
    decode_reply_envelope,
    decode_request,
    decode_request_envelope,
)

from .checker import Checker
from .clock import Timeline
from .disk import Disk

__all__ = ["TOLD", "Telling", "TellingChecker", "TellingDisk", "describe"]

TOLD: Final = {
    "crash_seconds": "the coordinator is killed",
    "kill_seconds": "the coordinator will be killed in the middle of something",
    "pause_seconds": "the coordinator stops for a while",
    "client_pause_seconds": "a client stops for a while",
    "client_restart_seconds": "a client is killed and started again",
    "partition_seconds": "a client is cut off from the coordinator",
    "full_seconds": "the disk is full",
    "wall_seconds": "the wall clock is put wrong",
    "person_seconds": "a person looks for a file to edit",
}
"""Faults that come at moments, by the attribute of the plan that holds how often."""

BYTES_SHOWN: Final = 40
"""Of a text or a digest."""

_COORDINATOR: Final = "coordinator"


class Telling:
    """Passes lines on, each with the time, who, what, and what about."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self.timeline: Timeline | None = None

    def __call__(self, who: str, does: str, what: str) -> None:
        """Tell of one thing that happens now."""
        now = self.timeline.now if self.timeline is not None else 0.0
        self._write(f"{now:9.3f}  {who:<16} {does} {what}".rstrip() + "\n")


def describe(value: object) -> str:
    """Return what a message or a record says, without what it leaves as it is by default."""
    if isinstance(value, bytes):
        if not value.isascii():
            return value[:4].hex()
        text = value if len(value) <= BYTES_SHOWN else value[: BYTES_SHOWN - 3] + b"..."
        return repr(text)[1:]
    if isinstance(value, msgspec.Struct):
        shown: list[str] = []
        for field in msgspec.structs.fields(value):
            held: Any = getattr(value, field.name)
            default = field.default
            if field.default_factory is not msgspec.NODEFAULT:
                default = field.default_factory()
            if held == default and default is not msgspec.NODEFAULT:
                continue
            shown.append(describe(held) if field.required else f"{field.name}={describe(held)}")
        return f"{type(value).__name__}({', '.join(shown)})"
    if isinstance(value, (tuple, list)):
        items = cast(Sequence[object], value)
        return f"[{', '.join(describe(each) for each in items)}]"
    if isinstance(value, Enum):
        return str(value)
    return repr(value)


class TellingDisk(Disk):
    """A disk that tells of the files that are placed in the store."""

    def __init__(self, rules: Rules, tell: Telling) -> None:
        super().__init__(rules)
        self._tell = tell

    def place(self, path: str, content: bytes | None) -> None:
        """Put a file there, or take it away."""
        self._tell("file", path, "is gone" if content is None else f"holds {describe(content)}")
        super().place(path, content)


class TellingChecker(Checker):
    """An oracle that tells what it is told, before it judges it."""

    def __init__(self, rules: Rules, foreign: dict[str, bytes], tell: Telling) -> None:
        super().__init__(rules, foreign)
        self._tell = tell
        self._names: dict[str, str] = {}
        self._peers: dict[bytes, str] = {}
        self._sent_before: set[tuple[str, int, bytes]] = set()

    def _who(self, peer: bytes) -> str:
        return self._name(self._peers.get(peer, ""))

    def _name(self, session: str) -> str:
        return f"{self._names.get(session, 'somebody')}/{session[:4]}"

    def on_sent(self, peer: bytes, session: str, number: int, body: bytes) -> None:
        """A client sends a request, for the first time or again."""
        request = decode_request(body)
        self._peers[peer] = session
        if isinstance(request, Open):
            self._names[session] = request.name
        key = (session, number, body)
        does = f"sends {number} again" if key in self._sent_before else f"sends {number}:"
        if not isinstance(request, Heartbeat):
            self._tell(self._name(session), does, describe(request))
        self._sent_before.add(key)
        super().on_sent(peer, session, number, body)

    def on_answered(self, session: str, number: int, body: bytes, reply: Reply) -> None:
        """A client has got an answer."""
        if not isinstance(decode_request(body), Heartbeat):
            self._tell(self._name(session), f"is answered {number}", "")
        super().on_answered(session, number, body, reply)

    def on_started(self, life: int, now: float, state: State) -> None:
        """A coordinator has loaded its state."""
        self._tell(_COORDINATOR, f"begins life {life}", f"at operation {state.seq}")
        super().on_started(life, now, state)

    def on_paused(self, start: float, end: float) -> None:
        """The coordinator did not run."""
        self._tell(_COORDINATOR, "goes on", f"after {end - start:.1f} seconds")
        super().on_paused(start, end)

    def on_handled(self, peer: bytes, frames: list[bytes], now: float) -> None:
        """The coordinator takes a message."""
        request = decode_request(frames[1])
        number = decode_request_envelope(frames[0]).number
        if not isinstance(request, Heartbeat):
            kind = type(request).__name__
            self._tell(_COORDINATOR, f"takes {number}", f"of {self._who(peer)} ({kind})")
        super().on_handled(peer, frames, now)

    def on_full(self, now: float) -> None:
        """The disk took no writes."""
        self._tell(_COORDINATOR, "finds the disk full", "")
        super().on_full(now)

    def on_submit(self, entry: Entry, now: float) -> None:
        """The coordinator has decided something."""
        record = entry.record
        by = self._name(record.session) if record.session else record.author
        said = f"{record.seq}, request {record.request} of {by}: {describe(record.body)}"
        self._tell(_COORDINATOR, "decides operation", said)
        super().on_submit(entry, now)

    def on_durable(self, batch: list[Entry]) -> None:
        """A batch is durable."""
        if batch:
            seqs = f"{batch[0].record.seq} to {batch[-1].record.seq}"
            self._tell("disk", "has operations", seqs)
        super().on_durable(batch)

    def on_reply(self, peer: bytes, frames: tuple[bytes, bytes], now: float) -> None:
        """The coordinator answers."""
        envelope = decode_reply_envelope(frames[0])
        reply = decode_reply(frames[1])
        if type(reply).__name__ != "Done":
            said = f"of {self._who(peer)} as of {envelope.seq}: {describe(reply)}"
            self._tell(_COORDINATOR, f"answers {envelope.number}", said)
        super().on_reply(peer, frames, now)
