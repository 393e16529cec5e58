"""What a commit's trailers say of its record: the strict inverse of what `commit` renders."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from agent_trace_coordinator.core.records import (
    Changed,
    Record,
    RecordBody,
    SessionClosed,
    SessionEnded,
    SessionOpened,
)
from agent_trace_protocol import Action, Actor, SessionKind

from .change_trailers import parse_based_on, parse_changed
from .commit import BODY_INDENT
from .draft_trailers import parse_drafted
from .escaping import ForeignCommit, unescape_line
from .lease_trailers import LEASE_ACTIONS, parse_lease
from .policy_trailers import POLICY_ACTIONS, parse_policy
from .steering_trailers import STEERING_ACTIONS, parse_steering

__all__ = ["CommitTrailers", "parse_trailers"]


class CommitTrailers(msgspec.Struct, frozen=True):
    """What a commit says of its record: all of it."""

    record: Record
    chain: bytes
    """The chain hash up to and including the record."""


_PROCESS: Final = re.compile(r"([0-9]+) ([0-9]+)", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,19}", re.ASCII)
_CHAIN: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TRAILER: Final = re.compile(r"([A-Z][a-zA-Z-]*): (.*)", re.ASCII)

_REPEATED: Final = frozenset(
    {"Document", "Content", "Moved-From", "Summary", "Tags", "Description", "Based-On"}
    | {"Kept", "Diff"}
)
"""Trailers of which a commit may have many."""


def parse_trailers(message: str) -> CommitTrailers:
    """Return what a commit message of ours says; the strict inverse of rendering.

    Raises:
        ForeignCommit: it is not exactly what `render_commit` writes.
    """
    paragraphs = message.split("\n\n")
    if len(paragraphs) not in {2, 3} or not paragraphs[-1].endswith("\n"):
        raise ForeignCommit("the message does not have a subject and a paragraph of trailers")
    text = ""
    if len(paragraphs) == 3:
        if "\n" in paragraphs[1] or not paragraphs[1].startswith(BODY_INDENT):
            raise ForeignCommit("the message's text is not one indented line")
        text = unescape_line(paragraphs[1][len(BODY_INDENT) :])
    fields = _Fields(paragraphs[-1])
    try:
        action = Action(raw) if (raw := fields.take("Action")) != "transaction" else None
        body: RecordBody
        if action in LEASE_ACTIONS:
            assert action is not None
            body = parse_lease(action, fields, unescape_line)
        elif action in POLICY_ACTIONS:
            assert action is not None
            body = parse_policy(action, fields, unescape_line)
        elif action in STEERING_ACTIONS:
            assert action is not None
            body = parse_steering(action, fields, unescape_line)
        elif action is Action.OPEN:
            body = _opened(fields)
        elif action is Action.CLOSE:
            body = _closed(fields)
        elif action is Action.DRAFT:
            body = parse_drafted(fields, unescape_line)
        else:
            body = parse_changed(fields, text, unescape_line)
        if text and not isinstance(body, Changed):
            raise ForeignCommit("only a change of documents has a message")
        trailers = CommitTrailers(
            Record(
                seq=fields.take_number("Seq"),
                epoch=fields.take_number("Epoch"),
                time_ms=fields.take_number("Time"),
                actor=Actor(fields.take("Actor")),
                author=unescape_line(fields.take("Agent")),
                session=unescape_line(fields.take("Session")),
                request=fields.take_number("Request"),
                fingerprint=bytes.fromhex(fields.take("Fingerprint", "")),
                body=body,
            ),
            chain=bytes.fromhex(fields.take_match("Chain", _CHAIN)[0]),
        )
    except ValueError as error:
        # An unknown action, actor, type or kind; `ForeignCommit` itself is one of these too.
        raise ForeignCommit(str(error)) from error
    fields.check_empty()
    return trailers


def _opened(fields: _Fields) -> SessionOpened:
    process = fields.take_match("Process", _PROCESS)
    return SessionOpened(
        kind=SessionKind(fields.take("Kind")),
        program=fields.take_text("Program"),
        model=fields.take_text("Model"),
        host=fields.take_text("Host"),
        pid=int(process[1]),
        pid_started=int(process[2]),
        predecessor=fields.take_text("Predecessor"),
        ephemeral=fields.take("Ephemeral", "no") == "yes",
        transport=fields.take_text("Transport"),
        key=fields.take_text("Key"),
    )


def _closed(fields: _Fields) -> SessionClosed | SessionEnded:
    reason = fields.take_text("Reason")
    based_on = parse_based_on(fields, unescape_line)
    looked = fields.take_number("Looked") if "Looked" in fields else 0
    if "Seen" not in fields:
        return SessionClosed(reason, based_on, looked)
    return SessionEnded(reason, based_on, looked, fields.take_number("Seen"))


class _Fields:
    """The trailers of one commit, taken out one by one, so that none is left unread."""

    def __init__(self, paragraph: str) -> None:
        self._single: dict[str, str] = {}
        self._many: list[tuple[str, str]] = []
        # Not `splitlines`: that also splits where git does not.
        for line in paragraph[:-1].split("\n"):
            match = _TRAILER.fullmatch(line)
            if match is None:
                raise ForeignCommit(f"{line!r} is not a trailer")
            key, value = match[1], match[2]
            if key in _REPEATED:
                self._many.append((key, value))
            elif key in self._single:
                raise ForeignCommit(f"the trailer {key} is there twice")
            else:
                self._single[key] = value

    def __contains__(self, key: str) -> bool:
        return key in self._single

    def take(self, key: str, default: str | None = None) -> str:
        value = self._single.pop(key, default)
        if value is None:
            raise ForeignCommit(f"the trailer {key} is missing")
        return value

    def take_text(self, key: str) -> str:
        return unescape_line(self.take(key, ""))

    def take_match(self, key: str, pattern: re.Pattern[str]) -> re.Match[str]:
        value = self.take(key)
        match = pattern.fullmatch(value)
        if match is None:
            raise ForeignCommit(f"the trailer {key} can not be {value!r}")
        return match

    def take_number(self, key: str) -> int:
        return int(self.take_match(key, _NUMBER)[0])

    def take_all(self, *keys: str) -> list[tuple[str, str]]:
        """Take the trailers that may be there many times, with their keys, in their order."""
        taken = [each for each in self._many if each[0] in keys]
        self._many = [each for each in self._many if each[0] not in keys]
        return taken

    def check_empty(self) -> None:
        if self._single or self._many:
            raise ForeignCommit(
                f"trailers of nobody: {sorted(self._single) or sorted({k for k, _ in self._many})}"
            )
