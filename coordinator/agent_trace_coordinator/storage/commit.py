"""One journal record as one git commit: the bytes for `git fast-import`, and the way back.

Pure. The commit is a function of the entry and of its parent alone (author, time, text and contents
all come from the record), so a replay after any crash makes the same commit ids. The trailers hold
everything of the record that the tree does not, so that `repair` can rebuild the journal from git:
the digest and size of a content come from the blob, all else from here, and the chain hash proves
the result.

What a writer wrote reaches the stream in three places only: contents in counted `data` blocks,
paths through `quote_path`, and free text through `escape_line` inside the counted message. No text
can therefore become a command, a second line or a trailer.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import msgspec

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
    SessionClosed,
    SessionOpened,
    Unlocked,
    Violated,
)
from agent_trace_protocol import Action, Actor, DocumentType, LeaseRefusal, SessionKind

from .base import Entry
from .lease_trailers import (
    LEASE_ACTIONS,
    LeaseBody,
    parse_lease,
    parse_lost,
    render_lease,
    render_lost,
)
from .policy_trailers import POLICY_ACTIONS, PolicyBody, parse_policy, render_policy

__all__ = [
    "SUBJECT_LENGTH_MAX",
    "CommitTrailers",
    "DocumentTrailer",
    "ForeignCommit",
    "escape_line",
    "parse_trailers",
    "quote_path",
    "render_commit",
    "unescape_line",
]

SUBJECT_LENGTH_MAX: Final = 100
"""Characters of a commit's first line: what a log viewer shows without wrapping."""

_COMMITTER: Final = "agent-trace <coordinator@agent-trace.invalid>"

# Everything that some reader takes for a line's end, that a terminal obeys or that reorders what is
# shown. The set is written out instead of asking `str.isprintable`, because that changes with the
# Unicode tables of each Python and a commit id must not.
_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\\\\\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_ESCAPE: Final = re.compile(r"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4}))", re.ASCII)

# The message is one line of its own paragraph, indented: a trailer starts in the first column.
_BODY_INDENT: Final = "  "


class ForeignCommit(ValueError):
    """The message is not one that `render_commit` makes; the commit is not ours."""


# ---- text that can not leave its line -------------------------------------------------------


def escape_line(text: str) -> str:
    """Return `text` as one line that no program reads as more; `unescape_line` is its inverse."""
    return _UNSAFE.sub(_escape_character, text)


def _escape_character(match: re.Match[str]) -> str:
    character = match[0]
    if character == "\\":
        return "\\\\"
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def unescape_line(text: str) -> str:
    """Return what `escape_line` was given.

    Raises:
        ForeignCommit: `escape_line` does not produce this text.
    """
    if "\\" not in text:
        plain = text
    else:
        plain = _ESCAPE.sub(_unescape_sequence, text)
    if escape_line(plain) != text:
        raise ForeignCommit(f"{text!r} is not escaped the way we do it")
    return plain


def _unescape_sequence(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    return chr(int(code, 16)) if code else "\\"


# C0, DEL, the quote and the backslash; everything else git takes as it is between quotes.
_QUOTED: Final = re.compile(rb'[\x00-\x1f\x7f"\\]')


def quote_path(path: str) -> bytes:
    """Return `path` as fast-import reads it back, in git's C-style quotes.

    Always quoted: a bare path ends at a space in some commands and at the line's end in others.

    Raises:
        ValueError: the path is empty or holds NUL, which no git tree can hold.
    """
    raw = path.encode("utf-8")
    if not raw or b"\0" in raw:
        raise ValueError(f"{path!r} can not be a path in a git tree")
    if _QUOTED.search(raw):
        raw = _QUOTED.sub(lambda match: b"\\%03o" % match[0][0], raw)
    return b'"%b"' % raw


# ---- rendering ------------------------------------------------------------------------------


def render_commit(entry: Entry, branch: str, parent: str | None) -> bytes:
    """Return the fast-import command that commits `entry` to `branch` and marks it `:<seq>`.

    `parent` is the id to stand on; None continues on what this fast-import process committed last,
    or starts the branch.
    """
    record = entry.record
    body = record.body
    seconds = record.time_ms // 1000
    message = _message(record, entry.chain).encode("utf-8")
    author = _author(record.actor, record.author)
    head = (
        f"commit refs/heads/{branch}\nmark :{record.seq}\n"
        f"author {author} {seconds} +0000\n"
        f"committer {_COMMITTER} {seconds} +0000\n"
        f"data {len(message)}\n"
    ).encode()
    parts = [head, message]
    if parent is not None:
        parts.append(b"from %b\n" % parent.encode("ascii"))
    if isinstance(body, Changed):
        contents = dict(entry.contents)
        for change in body.changes:
            _add_change(parts, change, contents)
    # The empty line ends the command, so that fast-import acts without waiting for the next one.
    parts.append(b"\n")
    return b"".join(parts)


def _add_change(parts: list[bytes], change: Change, contents: dict[int, bytes]) -> None:
    path = quote_path(change.path)
    if change.action is Action.DELETE:
        parts.append(b"D %b\n" % path)
        return
    content = contents.get(change.content_key)
    if content is not None:
        if change.previous_path:
            parts.append(b"D %b\n" % quote_path(change.previous_path))
        parts += (b"M 100644 inline %b\ndata %d\n" % (path, len(content)), content, b"\n")
        return
    if change.action is Action.RECLASSIFY:
        # The file stays as it is; the type stands in the trailers.
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


def _message(record: Record, chain: bytes) -> str:
    body = record.body
    text = ""
    details: list[str] = []
    if isinstance(body, Changed):
        changes = body.changes
        action = changes[0].action.value if len(changes) == 1 else "transaction"
        subject = _subject(changes)
        text = f"{_BODY_INDENT}{escape_line(body.message)}\n\n" if body.message else ""
        for change in changes:
            details.append(
                f"Document: {change.document} {change.type.value} {change.revision} "
                f"{change.action.value} {escape_line(change.path)}\n"
                f"Content: {change.document} {change.content_key} +{change.added} "
                f"-{change.removed}\n"
            )
            if change.previous_path:
                details.append(
                    f"Moved-From: {change.document} {escape_line(change.previous_path)}\n"
                )
        if body.draft:
            details.append(f"Accepts: draft-{body.draft}\n")
        if body.override:
            details.append(f"Override: {escape_line(body.override)}\n")
        if body.violation:
            details.append(f"Applies: violation-{body.violation}\n")
        if body.source:
            details.append(f"Source: {escape_line(body.source)}\n")
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
    elif isinstance(body, Drafted):
        late = body.conflict
        action = Action.DRAFT.value
        subject = f"keep {late.draft}: {escape_line(late.path)}@{late.expected} was behind"
        details.append(
            f"Draft: {body.document} {late.expected} {late.current} {escape_line(late.path)}\n"
        )
        if body.lease is not None:
            details.append(render_lost(body.lease))
    else:
        action = Action.CLOSE.value
        subject = f"close session {escape_line(record.session)}"
        if body.reason:
            subject += f": {escape_line(body.reason)}"
            details.append(f"Reason: {escape_line(body.reason)}\n")
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


# ---- reading it back ------------------------------------------------------------------------


class DocumentTrailer(msgspec.Struct, frozen=True):
    """One change as its trailers tell it: a `Change` less what only the blob knows."""

    document: int
    type: DocumentType
    revision: int
    action: Action
    path: str
    previous_path: str
    content_key: int
    added: int
    removed: int


class DraftTrailer(msgspec.Struct, frozen=True):
    """What a commit says of a draft; its text is in state.db only."""

    document: int
    expected: int
    current: int
    path: str
    lost: LeaseRefusal | None = None
    """Who held the lease, if it was for that that the write came too late."""


class CommitTrailers(msgspec.Struct, frozen=True):
    """What a commit says of its record: all of it, except digests and sizes of contents."""

    seq: int
    epoch: int
    time_ms: int
    actor: Actor
    author: str
    session: str
    request: int
    fingerprint: bytes
    chain: bytes
    """The chain hash up to and including the record."""
    message: str
    documents: tuple[DocumentTrailer, ...]
    session_body: SessionOpened | SessionClosed | None
    """The record's whole body, if it was about a session."""
    draft: DraftTrailer | None
    """What a write that came too late was about."""
    accepts: int
    """The draft that this accepts, by its seq; 0 if none."""
    lease_body: LeaseBody | None = None
    """The record's whole body, if it was about a lease."""
    policy_body: PolicyBody | None = None
    """The record's whole body, if it was about rights or a refused write."""
    override: str = ""
    """The rules that were overridden."""
    applies: int = 0
    """The refused write that this applies, by its seq; 0 if none."""
    source: str = ""
    """`file` if the change was made past the coordinator."""


_DOCUMENT: Final = re.compile(r"([0-9]+) ([a-z]+) ([0-9]+) ([a-z]+) (.+)", re.ASCII)
_CONTENT: Final = re.compile(r"([0-9]+) ([0-9]+) \+([0-9]+) -([0-9]+)", re.ASCII)
_MOVED_FROM: Final = re.compile(r"([0-9]+) (.+)", re.ASCII)
_DRAFT: Final = re.compile(r"([0-9]+) ([0-9]+) ([0-9]+) (.+)", re.ASCII)
_ACCEPTS: Final = re.compile(r"draft-([0-9]{1,18})", re.ASCII)
_APPLIES: Final = re.compile(r"violation-([0-9]{1,18})", re.ASCII)
_PROCESS: Final = re.compile(r"([0-9]+) ([0-9]+)", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,19}", re.ASCII)
_CHAIN: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TRAILER: Final = re.compile(r"([A-Z][a-zA-Z-]*): (.*)", re.ASCII)


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
        if "\n" in paragraphs[1] or not paragraphs[1].startswith(_BODY_INDENT):
            raise ForeignCommit("the message's text is not one indented line")
        text = unescape_line(paragraphs[1][len(_BODY_INDENT) :])
    fields = _Fields(paragraphs[-1])
    try:
        action = Action(raw) if (raw := fields.take("Action")) != "transaction" else None
        session_body: SessionOpened | SessionClosed | None = None
        documents: tuple[DocumentTrailer, ...] = ()
        draft: DraftTrailer | None = None
        policy_body: PolicyBody | None = None
        lease_body: LeaseBody | None = None
        if action in LEASE_ACTIONS:
            assert action is not None
            lease_body = parse_lease(action, fields, unescape_line)
        elif action in POLICY_ACTIONS:
            assert action is not None
            policy_body = parse_policy(action, fields, unescape_line)
        elif action is Action.OPEN:
            session_body = _opened(fields)
        elif action is Action.CLOSE:
            session_body = SessionClosed(reason=fields.take_text("Reason"))
        elif action is Action.DRAFT:
            late = fields.take_match("Draft", _DRAFT)
            draft = DraftTrailer(
                document=int(late[1]),
                expected=int(late[2]),
                current=int(late[3]),
                path=unescape_line(late[4]),
                lost=parse_lost(fields, unescape_line(late[4])) if "Lost-Lease" in fields else None,
            )
        else:
            documents = fields.documents()
        trailers = CommitTrailers(
            seq=fields.take_number("Seq"),
            epoch=fields.take_number("Epoch"),
            time_ms=fields.take_number("Time"),
            actor=Actor(fields.take("Actor")),
            author=unescape_line(fields.take("Agent")),
            session=unescape_line(fields.take("Session")),
            request=fields.take_number("Request"),
            fingerprint=bytes.fromhex(fields.take("Fingerprint", "")),
            chain=bytes.fromhex(fields.take_match("Chain", _CHAIN)[0]),
            message=text,
            documents=documents,
            session_body=session_body,
            draft=draft,
            accepts=int(fields.take_match("Accepts", _ACCEPTS)[1]) if "Accepts" in fields else 0,
            lease_body=lease_body,
            policy_body=policy_body,
            override=fields.take_text("Override"),
            applies=int(fields.take_match("Applies", _APPLIES)[1]) if "Applies" in fields else 0,
            source=fields.take_text("Source"),
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
    )


class _Fields:
    """The trailers of one commit, taken out one by one, so that none is left unread."""

    def __init__(self, paragraph: str) -> None:
        self._single: dict[str, str] = {}
        self._documents: list[tuple[str, str]] = []
        self._kept: list[str] = []
        # Not `splitlines`: that also splits where git does not.
        for line in paragraph[:-1].split("\n"):
            match = _TRAILER.fullmatch(line)
            if match is None:
                raise ForeignCommit(f"{line!r} is not a trailer")
            key, value = match[1], match[2]
            if key in {"Document", "Content", "Moved-From"}:
                self._documents.append((key, value))
            elif key == "Kept":
                self._kept.append(value)
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

    def take_kept(self, pattern: re.Pattern[str]) -> list[re.Match[str]]:
        kept, self._kept = self._kept, []
        found = [match for value in kept if (match := pattern.fullmatch(value)) is not None]
        if len(found) != len(kept):
            raise ForeignCommit("a trailer Kept is not readable")
        return found

    def documents(self) -> tuple[DocumentTrailer, ...]:
        """Take the trailers of all changes: `Document`, `Content`, after a move `Moved-From`."""
        found: list[DocumentTrailer] = []
        lines = self._documents[::-1]
        self._documents = []
        while lines:
            document = self._next(lines, "Document", _DOCUMENT)
            content = self._next(lines, "Content", _CONTENT)
            moved = None
            if lines and lines[-1][0] == "Moved-From":
                moved = self._next(lines, "Moved-From", _MOVED_FROM)
            if content[1] != document[1] or (moved is not None and moved[1] != document[1]):
                raise ForeignCommit("the trailers of two documents are mixed up")
            found.append(
                DocumentTrailer(
                    document=int(document[1]),
                    type=DocumentType(document[2]),
                    revision=int(document[3]),
                    action=Action(document[4]),
                    path=unescape_line(document[5]),
                    previous_path="" if moved is None else unescape_line(moved[2]),
                    content_key=int(content[2]),
                    added=int(content[3]),
                    removed=int(content[4]),
                )
            )
        return tuple(found)

    def _next(
        self, lines: list[tuple[str, str]], key: str, pattern: re.Pattern[str]
    ) -> re.Match[str]:
        match = pattern.fullmatch(lines[-1][1]) if lines and lines[-1][0] == key else None
        if match is None:
            raise ForeignCommit(f"a trailer {key} is missing or not readable")
        lines.pop()
        return match

    def check_empty(self) -> None:
        if self._single or self._documents or self._kept:
            raise ForeignCommit(f"trailers of nobody: {sorted(self._single) or 'Document'}")
