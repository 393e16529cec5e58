"""One journal record as one git commit: the bytes for `git fast-import`.

Pure. The commit is a function of the entry and of its parent alone (author, time, text and contents
all come from the record), so a replay after any crash makes the same commit ids. The trailers hold
everything of the record, so that `repair` can rebuild the journal from git, and the chain hash
proves the result (`trailers` reads them). A new kind of record, or a new field, needs its trailers.

What a writer wrote reaches the stream in three places only: contents in counted `data` blocks,
paths through `quote_path`, and free text through `escape_line` inside the counted message. No text
can therefore become a command, a second line or a trailer.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from agent_trace_coordinator.core.records import (
    Change,
    Changed,
    Discarded,
    Drafted,
    LeaseExtended,
    LeaseGranted,
    LeaseReleased,
    Locked,
    Record,
    Repeated,
    SessionEnded,
    SessionOpened,
    Steered,
    SteeringDropped,
    Unlocked,
    Violated,
)
from agent_trace_protocol import Action, Actor

from .base import Entry
from .change_trailers import render_based_on, render_changed
from .draft_trailers import render_drafted
from .escaping import escape_line, quote_path
from .lease_trailers import render_lease
from .policy_trailers import render_policy
from .steering_trailers import render_steering

__all__ = [
    "BODY_INDENT",
    "SUBJECT_LENGTH_MAX",
    "commit_headers",
    "render_commit",
    "render_message",
]

SUBJECT_LENGTH_MAX: Final = 100
"""Characters of a commit's first line: what a log viewer shows without wrapping."""

_COMMITTER: Final = "agent-trace <coordinator@agent-trace.invalid>"

BODY_INDENT: Final = "  "
"""Before the writer's message, a paragraph of one line: a trailer starts in the first column."""


def render_commit(entry: Entry, branch: str, parent: str | None) -> bytes:
    """Return the fast-import command that commits `entry` to `branch` and marks it `:<seq>`.

    `parent` is the id to stand on; None continues on what this fast-import process committed last,
    or starts the branch.
    """
    record = entry.record
    body = record.body
    message = render_message(record, entry.chain).encode("utf-8")
    head = (
        f"commit refs/heads/{branch}\nmark :{record.seq}\n{commit_headers(record)}"
        f"data {len(message)}\n"
    ).encode()
    parts = [head, message]
    if parent is not None:
        parts.append(b"from %b\n" % parent.encode("ascii"))
    if isinstance(body, Changed):
        contents = dict(entry.contents)
        for change in body.changes:
            if change.content_key in entry.lost:
                # No bytes are better than wrong ones: where it was, there is no file.
                if change.previous_path:
                    parts.append(b"D %b\n" % quote_path(change.previous_path))
                parts.append(b"D %b\n" % quote_path(change.path))
                continue
            _add_change(parts, change, contents)
    # The empty line ends the command, so that fast-import acts without waiting for the next one.
    parts.append(b"\n")
    return b"".join(parts)


def _add_change(parts: list[bytes], change: Change, contents: dict[int, bytes]) -> None:
    path = quote_path(change.path)
    if change.action in (Action.DELETE, Action.UNTRACK):
        parts.append(b"D %b\n" % path)
        return
    content = contents.get(change.content_key)
    if content is not None:
        if change.previous_path:
            parts.append(b"D %b\n" % quote_path(change.previous_path))
        parts += (b"M 100644 inline %b\ndata %d\n" % (path, len(content)), content, b"\n")
        return
    if change.action in (Action.RECLASSIFY, Action.ANNOTATE):
        # The file stays as it is; what changed stands in the trailers.
        return
    if change.action is not Action.MOVE:
        raise ValueError(f"{change.path!r}: the entry lacks content {change.content_key}")
    parts.append(b"R %b %b\n" % (quote_path(change.previous_path), path))


_DOMAINS: Final = {
    Actor.USER: "users.invalid",
    Actor.AGENT: "agents.invalid",
    Actor.READER: "readers.invalid",
    Actor.UNKNOWN: "unknown.invalid",
}


@lru_cache(maxsize=1024)
def _author(actor: Actor, name: str) -> str:
    if actor is Actor.SYSTEM:
        return _COMMITTER
    # Names are `a-z 0-9 . _ -` by their own law; what a damaged record may hold must not be able to
    # close the ident either.
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name) or "unknown"
    return f"{safe} <{safe}@{_DOMAINS[actor]}>"


def commit_headers(record: Record) -> str:
    """Return the lines of author and committer, as they are in the commit."""
    seconds = record.time_ms // 1000
    author = _author(record.actor, record.author)
    return f"author {author} {seconds} +0000\ncommitter {_COMMITTER} {seconds} +0000\n"


def render_message(record: Record, chain: bytes) -> str:
    """Return the commit's message: subject, the writer's own words, trailers."""
    body = record.body
    text = ""
    details: list[str] = []
    if isinstance(body, Changed):
        changes = body.changes
        action = changes[0].action.value if len(changes) == 1 else "transaction"
        subject = _subject(changes)
        text = f"{BODY_INDENT}{escape_line(body.message)}\n\n" if body.message else ""
        details = list(render_changed(body, escape_line))
    elif isinstance(body, SessionOpened):
        action = Action.OPEN.value
        subject = f"open session {escape_line(record.session)}"
        details.append(f"Kind: {body.kind.value}\n")
        for key, value in (
            ("Program", body.program),
            ("Model", body.model),
            ("Host", body.host),
            ("Predecessor", body.predecessor),
            ("Transport", body.transport),
            ("Key", body.key),
        ):
            if value:
                details.append(f"{key}: {escape_line(value)}\n")
        details.append(f"Process: {body.pid} {body.pid_started}\n")
        if body.ephemeral:
            details.append("Ephemeral: yes\n")
    elif isinstance(body, (Violated, Repeated, Discarded, Unlocked, Locked)):
        policy, subject, details = render_policy(body, escape_line)
        action = policy.value
    elif isinstance(body, (LeaseGranted, LeaseExtended, LeaseReleased)):
        leased, subject, details = render_lease(body, escape_line)
        action = leased.value
    elif isinstance(body, (Steered, SteeringDropped)):
        steered, subject, details = render_steering(body, escape_line)
        action = steered.value
    elif isinstance(body, Drafted):
        late = body.conflict
        action = Action.DRAFT.value
        why = "a lease was in the way" if body.lease else f"@{late.expected} was behind"
        subject = f"keep {late.draft}: {escape_line(late.path)} {why}"
        details = list(render_drafted(body, escape_line))
    else:
        action = Action.CLOSE.value
        subject = f"close session {escape_line(record.session)}"
        if body.reason:
            subject += f": {escape_line(body.reason)}"
            details.append(f"Reason: {escape_line(body.reason)}\n")
        if body.looked:
            details.append(f"Looked: {body.looked}\n")
        if isinstance(body, SessionEnded):
            details.append(f"Seen: {body.seen_ms}\n")
        details += render_based_on(body.based_on, escape_line)
    if len(subject) > SUBJECT_LENGTH_MAX:
        subject = subject[: SUBJECT_LENGTH_MAX - 3] + "..."
    fingerprint = f"Fingerprint: {record.fingerprint.hex()}\n" if record.fingerprint else ""
    return (
        f"{subject}\n\n{text}"
        f"Actor: {record.actor.value}\n"
        f"Agent: {escape_line(record.author)}\n"
        f"Session: {escape_line(record.session)}\n"
        f"Request: {record.request}\n"
        f"Seq: {record.seq}\n"
        f"Epoch: {record.epoch}\n"
        f"Time: {record.time_ms}\n"
        f"Action: {action}\n"
        f"{''.join(details)}{fingerprint}"
        f"Chain: {chain.hex()}\n"
    )


def _subject(changes: tuple[Change, ...]) -> str:
    if len(changes) == 1:
        change = changes[0]
        path = escape_line(change.path)
        if change.previous_path:
            path = f"{escape_line(change.previous_path)} -> {path}"
        end = f"@{change.revision} (+{change.added} -{change.removed})"
        room = SUBJECT_LENGTH_MAX - len(change.action.value) - 1 - len(end)
        # The end of a path says more than its beginning.
        return (
            f"{change.action.value} {path if len(path) <= room else '...' + path[3 - room :]}{end}"
        )
    verbs = {change.action.value for change in changes}
    verb = verbs.pop() if len(verbs) == 1 else "change"
    names = ", ".join(
        # Names past the subject's length are cut away, so they need not be made.
        f"{escape_line(change.path)}@{change.revision}"
        for change in changes[: SUBJECT_LENGTH_MAX // 4]
    )
    subject = f"{verb} {len(changes)} documents: {names}"
    return subject if changes else "change 0 documents"
