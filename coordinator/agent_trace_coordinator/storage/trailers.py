"""What a commit's trailers say of its record: the strict inverse of what `commit` renders."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from agent_trace_coordinator.core.records import SessionClosed, SessionOpened
from agent_trace_protocol import Action, Actor, DocumentType, LeaseRefusal, SessionKind

from .commit import BODY_INDENT
from .escaping import ForeignCommit, unescape_line
from .lease_trailers import LEASE_ACTIONS, LeaseBody, parse_lease, parse_lost
from .policy_trailers import POLICY_ACTIONS, PolicyBody, parse_policy

__all__ = ["CommitTrailers", "DocumentTrailer", "DraftTrailer", "parse_trailers"]


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
        if "\n" in paragraphs[1] or not paragraphs[1].startswith(BODY_INDENT):
            raise ForeignCommit("the message's text is not one indented line")
        text = unescape_line(paragraphs[1][len(BODY_INDENT) :])
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
