"""The trailers of records about leases, and the way back. They hold everything of the record."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, assert_never

from agent_trace_coordinator.core.records import LeaseExtended, LeaseGranted, LeaseReleased
from agent_trace_protocol import Action, LeaseRefusal

from .policy_trailers import TrailerFields

__all__ = [
    "LEASE_ACTIONS",
    "LeaseBody",
    "parse_lease",
    "parse_lost",
    "render_lease",
    "render_lost",
]

LeaseBody = LeaseGranted | LeaseExtended | LeaseReleased

LEASE_ACTIONS: Final = frozenset({Action.LEASE, Action.RENEW, Action.RELEASE})

_GRANTED: Final = re.compile(r"(exclusive|shared) ([0-9]+) ([0-9]+) (.+)", re.ASCII)
_EXTENDED: Final = re.compile(r"([0-9]+) ([0-9]+) (.+)", re.ASCII)
_RELEASED: Final = re.compile(r"([0-9]+) (.+)", re.ASCII)
_LOST: Final = re.compile(r"(\S*) ([0-9]+) ([0-9]+) (\S*) (\S*)", re.ASCII)


def render_lease(body: LeaseBody, escape: Callable[[str], str]) -> tuple[Action, str, list[str]]:
    """Return the action, the subject and the trailers of a record; `escape` makes one line."""
    path = escape(body.path)
    match body:
        case LeaseGranted():
            kind = "shared" if body.shared else "exclusive"
            return (
                Action.LEASE,
                f"lease {path} ({kind}, {body.ttl_ms / 1000:g} s)",
                [f"Lease: {kind} {body.ttl_ms} {body.previous} {path}\n"],
            )
        case LeaseExtended():
            return (
                Action.RENEW,
                f"renew lease {body.token} on {path} ({body.ttl_ms / 1000:g} s)",
                [f"Lease: {body.token} {body.ttl_ms} {path}\n"],
            )
        case LeaseReleased():
            reason = escape(body.reason)
            return (
                Action.RELEASE,
                f"release lease {body.token} on {path}: {reason}",
                [f"Lease: {body.token} {path}\n", f"Reason: {reason}\n"],
            )
        case _:
            assert_never(body)


def parse_lease(action: Action, fields: TrailerFields, unescape: Callable[[str], str]) -> LeaseBody:
    """Return the record's body that the trailers tell; raises `ValueError` if they do not."""
    if action is Action.LEASE:
        granted = fields.take_match("Lease", _GRANTED)
        return LeaseGranted(
            path=unescape(granted[4]),
            shared=granted[1] == "shared",
            ttl_ms=int(granted[2]),
            previous=int(granted[3]),
        )
    if action is Action.RENEW:
        extended = fields.take_match("Lease", _EXTENDED)
        return LeaseExtended(int(extended[1]), unescape(extended[3]), int(extended[2]))
    released = fields.take_match("Lease", _RELEASED)
    return LeaseReleased(int(released[1]), unescape(released[2]), fields.take_text("Reason"))


def render_lost(lost: LeaseRefusal, path: str, escape: Callable[[str], str]) -> str:
    """Return the trailers of a draft about a write to `path` whose lease had ended."""
    left_ms = round(lost.left_seconds * 1000)
    more = f"Lost-Path: {escape(lost.path)}\n" if lost.path != path else ""
    if lost.deadlock:
        more += f"Deadlock: {escape(lost.deadlock)}\n"
    return (
        f"Lost-Lease: {lost.draft} {lost.since_seq} {left_ms} {lost.session} {lost.holder}\n{more}"
    )


def parse_lost(fields: TrailerFields, path: str, unescape: Callable[[str], str]) -> LeaseRefusal:
    """Return what the writer was told whose lease had ended."""
    lost = fields.take_match("Lost-Lease", _LOST)
    return LeaseRefusal(
        path=unescape(fields.take("Lost-Path")) if "Lost-Path" in fields else path,
        holder=lost[5],
        session=lost[4],
        since_seq=int(lost[2]),
        left_seconds=int(lost[3]) / 1000,
        draft=lost[1],
        deadlock=fields.take_text("Deadlock"),
    )
