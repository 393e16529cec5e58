"""The sequential model of the store: slow, obvious, and written apart from the product.

It executes operations one after another on immutable snapshots, one per seq, and keeps them all, so
that any answer can be compared with what was true at any point of the order. It shares the words of
the protocol with the product and no line of its logic.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

from agent_trace_coordinator.core.state import Rules
from agent_trace_protocol import (
    AcceptDraft,
    Action,
    Actor,
    Add,
    Append,
    Delete,
    DocumentType,
    Edit,
    ErrorCode,
    Move,
    Operation,
    Put,
    Restore,
    SectionEdit,
    SectionMode,
)

from .leases import ModelGrant, ModelLease, covers, followed, guard

__all__ = [
    "Accepted",
    "Effect",
    "Late",
    "Model",
    "ModelDocument",
    "ModelDraft",
    "ModelText",
    "ModelSession",
    "Outcome",
    "Rejected",
    "Snapshot",
    "Unsure",
    "execute",
    "is_path",
    "merge",
]

OPERATIONS_PER_SEQ: Final = 64

WRITERS: Final = {
    "plan": "user agent",
    "context": "system",
    "log": "system",
    "reference": "user",
    "scratch": "user agent system",
}
"""The table of DESIGN, section 6, copied by hand."""


@dataclass(slots=True, frozen=True)
class ModelDocument:
    """A document as it is at some point of the order."""

    id: int
    path: str
    type: DocumentType
    revision: int
    content: bytes
    seq: int
    time_ms: int
    author: str
    deleted: bool = False


@dataclass(slots=True, frozen=True)
class ModelText:
    """What a document should have become."""

    path: str
    document: int
    base: int
    text: bytes | None
    """None: it was to be deleted."""
    type: DocumentType
    """The type that it has or would be created with."""


@dataclass(slots=True, frozen=True)
class ModelDraft:
    """Texts that wait."""

    author: str
    texts: tuple[ModelText, ...]


@dataclass(slots=True, frozen=True)
class ModelSession:
    """An open session that is in the journal."""

    actor: Actor
    name: str
    ephemeral: bool
    predecessor: str
    request_high: int = 0


@dataclass(slots=True, frozen=True)
class Snapshot:
    """The store after operation `seq`. Its maps are never changed in place."""

    seq: int
    documents: dict[int, ModelDocument] = field(default_factory=dict[int, ModelDocument])
    drafts: dict[int, ModelDraft] = field(default_factory=dict[int, ModelDraft])
    sessions: dict[str, ModelSession] = field(default_factory=dict[str, ModelSession])
    latest: dict[str, str] = field(default_factory=dict[str, str])
    foreign: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """Files in the store's directory that never were documents."""
    violations: frozenset[int] = frozenset()
    """Refused writes that are on record."""
    leases: dict[int, ModelLease] = field(default_factory=dict[int, ModelLease])
    """Leases that are held, by token."""
    grants: dict[int, ModelGrant] = field(default_factory=dict[int, ModelGrant])
    """Unlocks that hold, by seq."""

    def live(self) -> list[ModelDocument]:
        return [each for each in self.documents.values() if not each.deleted]

    def at(self, path: str) -> ModelDocument | None:
        return next((each for each in self.live() if each.path == path), None)

    def deleted_at(self, path: str) -> ModelDocument | None:
        gone = [each for each in self.documents.values() if each.deleted and each.path == path]
        return max(gone, key=lambda each: each.seq, default=None)

    def holder(self, name: str) -> str:
        for id, session in self.sessions.items():
            if session.name == name and session.actor is Actor.AGENT and not session.ephemeral:
                return id
        return ""


@dataclass(slots=True, frozen=True)
class Effect:
    """What an accepted operation does to one document."""

    action: Action
    before: ModelDocument | None
    after: ModelDocument
    added: int
    removed: int


@dataclass(slots=True, frozen=True)
class Accepted:
    """The transaction is carried out."""

    effects: list[Effect]
    draft: int


@dataclass(slots=True, frozen=True)
class Late:
    """The transaction is refused and a text is kept as a draft."""

    path: str
    expected: int
    current: int
    texts: tuple[ModelText, ...] = ()
    merged: bool | None = None
    """None: this model can not tell."""
    code: ErrorCode = ErrorCode.CONFLICT
    """`stale_lease` or `lease_held` if it is for a lease that it does not fit."""


@dataclass(slots=True, frozen=True)
class Rejected:
    """The transaction is refused and leaves nothing."""

    code: ErrorCode


@dataclass(slots=True, frozen=True)
class Unsure:
    """The model can not tell: the texts are not ones it knows how to merge."""


Outcome = Accepted | Late | Rejected | Unsure


class _Stop(Exception):
    def __init__(self, outcome: Late | Rejected | Unsure) -> None:
        super().__init__(outcome)
        self.outcome = outcome


def _reject(code: ErrorCode) -> _Stop:
    return _Stop(Rejected(code))


@dataclass(slots=True)
class Model:
    """All snapshots, and every revision that was ever made."""

    snapshots: list[Snapshot]
    made: dict[tuple[int, int], ModelDocument] = field(
        default_factory=dict[tuple[int, int], ModelDocument]
    )
    """Every revision that was ever made, by (document, revision)."""

    @property
    def last(self) -> Snapshot:
        return self.snapshots[-1]

    def text(self, snapshot: Snapshot, document: int, revision: int) -> bytes | None:
        """Return the content of a revision that exists at that point; None if it has none."""
        known = snapshot.documents.get(document)
        made = self.made.get((document, revision))
        if known is None or made is None or made.deleted or revision > known.revision:
            return None
        return made.content


def execute(
    model: Model,
    snapshot: Snapshot,
    actor: Actor,
    author: str,
    operations: tuple[Operation, ...],
    *,
    seq: int,
    time_ms: int,
    rules: Rules,
    session: str,
    tokens: tuple[int, ...] = (),
) -> Outcome:
    """Return what the operations come to as operation `seq` on top of a snapshot."""
    run = _Run(model, snapshot, actor, author, seq, time_ms, rules, session, tokens)
    try:
        for index, operation in enumerate(operations):
            run.do(index, operation)
    except _Stop as stop:
        if not isinstance(stop.outcome, Late):
            return stop.outcome
        return _kept(
            _Run(model, snapshot, actor, author, seq, time_ms, rules, session, tokens),
            operations,
            stop.outcome,
        )
    return Accepted(run.effects, run.draft)


def _kept(run: _Run, operations: tuple[Operation, ...], late: Late) -> Outcome:
    """Return the conflict with all the texts of its transaction, if they can be known."""
    texts: dict[object, ModelText] = {}
    for operation in operations:
        if not isinstance(operation, (Put, Append, Edit, SectionEdit, Delete)):
            continue
        expected = operation.if_revision
        path = operation.path
        if not is_path(path):
            return Rejected(late.code)
        document = run.now.at(path) or (run.now.deleted_at(path) if expected else None)
        key: object = path if document is None else document.id
        known = texts.get(key)
        id, base, before = 0, 0, b""
        kind = (operation.type if isinstance(operation, (Put, Append)) else None) or (
            DocumentType.SCRATCH
        )
        if known is not None:
            id, base, before, kind = known.document, known.base, known.text or b"", known.type
        elif document is not None:
            id, kind = document.id, document.type
            base = document.revision if expected is None else expected
            found: bytes | None = b""
            if base == document.revision and not document.deleted:
                found = document.content
            elif base:
                gone = document.deleted
                found = None if gone else run.model.text(run.before, id, base)
            if found is None and not isinstance(operation, (Put, Delete)):
                return Rejected(late.code)
            before = found or b""
        if isinstance(operation, Delete):
            texts[key] = ModelText(path, id, base, None, kind)
            continue
        try:
            text: bytes = outcome(before, operation)
        except _Stop:
            return Rejected(late.code)
        texts[key] = ModelText(path, id, base, text, kind)
    if all(each.text is None for each in texts.values()):
        return Rejected(late.code)
    try:
        for each in texts.values():
            run.check_text(each.text or b"")
    except _Stop as stop:
        return stop.outcome
    if late.code is not ErrorCode.CONFLICT:
        # Nothing was joined: whether it could be is asked when the draft is accepted.
        return replace(late, texts=tuple(texts.values()), merged=False)
    merged = [run.joined(each) for each in texts.values()]
    sure: bool | None = all(each is not None for each in merged)
    if sure and any(isinstance(each, Unsure) for each in merged):
        sure = None
    return replace(late, texts=tuple(texts.values()), merged=sure)


def is_path(path: str) -> bool:
    """Return whether a path may name a document, for the plain kind of path that we draw."""
    parts = [part.lower() for part in path.split("/")]
    reserved = any(part.startswith(".git") or part == ".agent-trace" for part in parts)
    return not reserved and not {"", ".", ".."} & set(parts)


def _check_path(path: str) -> None:
    if not is_path(path):
        raise _reject(ErrorCode.INVALID_PATH)


class _Run:
    def __init__(
        self,
        model: Model,
        snapshot: Snapshot,
        actor: Actor,
        author: str,
        seq: int,
        time_ms: int,
        rules: Rules,
        session: str,
        tokens: tuple[int, ...],
    ) -> None:
        self.model = model
        self.now = replace(snapshot, documents=dict(snapshot.documents))
        self.before = snapshot
        self.actor = actor
        self.author = author
        self.seq = seq
        self.time_ms = time_ms
        self.rules = rules
        self.session = session
        self.tokens = tokens
        self.effects: list[Effect] = []
        self.draft = 0

    def do(self, index: int, operation: Operation) -> None:
        if isinstance(operation, (Put, Append)):
            self.write(index, operation)
        elif isinstance(operation, (Edit, SectionEdit)):
            document = self.existing(operation.path)
            self.check_permission(document.type, document)
            self.check_lease(document.path)
            self.check_revision(operation.path, document, operation)
            self.change(document, Action.EDIT, outcome(document.content, operation))
        elif isinstance(operation, Delete):
            document = self.existing(operation.path)
            self.check_permission(document.type, document)
            self.check_lease(document.path)
            self.check_revision(operation.path, document, operation)
            lines = len(document.content.splitlines())
            self.enter(Action.DELETE, document, self.next(document, b"", deleted=True), 0, lines)
        elif isinstance(operation, Move):
            self.move(operation)
        elif isinstance(operation, Restore):
            self.restore(operation)
        elif isinstance(operation, Add):
            self.add(index, operation)
        elif isinstance(operation, AcceptDraft):
            self.accept(operation)
        else:
            raise NotImplementedError(f"the workload draws no {type(operation).__name__}")

    def write(self, index: int, operation: Put | Append) -> None:
        path = operation.path
        _check_path(path)
        document = self.now.at(path)
        wanted = operation.type or DocumentType.SCRATCH
        self.check_permission(wanted if document is None else document.type, document)
        self.check_lease(path)
        self.check_revision(path, document, operation)
        if document is None:
            if self.now.foreign.get(path, operation.content) != operation.content:
                raise _reject(ErrorCode.CONFLICT)
            self.create(index, path, wanted, operation.content)
            return
        if operation.type not in (None, document.type):
            raise _reject(ErrorCode.INVALID_REQUEST)
        action = Action.PUT if isinstance(operation, Put) else Action.APPEND
        self.change(document, action, outcome(document.content, operation))

    def move(self, operation: Move) -> None:
        document = self.existing(operation.path)
        self.check_permission(document.type, document)
        path = operation.new_path
        _check_path(path)
        self.check_lease(document.path)
        self.check_lease(path)
        self.check_revision(operation.path, document, operation)
        if path == document.path:
            raise _reject(ErrorCode.INVALID_REQUEST)
        self.check_free(path, moving=document)
        if path in self.now.foreign:
            raise _reject(ErrorCode.CONFLICT)
        self.follow(document.path, path)
        after = replace(self.next(document, document.content), path=path)
        self.enter(Action.MOVE, document, after, 0, 0)

    def restore(self, operation: Restore) -> None:
        _check_path(operation.path)
        document = self.now.at(operation.path)
        past = document or self.now.deleted_at(operation.path)
        if past is None:
            raise _reject(ErrorCode.NOT_FOUND)
        self.check_permission(past.type, document)
        self.check_lease(operation.path)
        self.check_revision(operation.path, document, operation)
        text = self.model.text(self.before, past.id, operation.revision)
        if text is None:
            raise _reject(ErrorCode.NOT_FOUND)
        if document is None:
            self.check_free(operation.path)
        self.change(past, Action.RESTORE, text)

    def add(self, index: int, operation: Add) -> None:
        _check_path(operation.path)
        self.check_lease(operation.path)
        if self.now.at(operation.path) is not None:
            raise _reject(ErrorCode.CONFLICT)
        content = self.now.foreign.get(operation.path)
        if content is None:
            raise _reject(ErrorCode.NOT_FOUND)
        self.create(index, operation.path, operation.type, content)

    def accept(self, operation: AcceptDraft) -> None:
        seq = int(operation.draft.removeprefix("draft-"))
        draft = self.now.drafts.get(seq)
        if draft is None:
            raise _reject(ErrorCode.NOT_FOUND)
        if self.actor is Actor.AGENT and self.author != draft.author:
            raise _reject(ErrorCode.PERMISSION_DENIED)
        self.draft = seq
        for each in draft.texts:
            document = self.now.documents.get(each.document)
            if document is None or document.deleted:
                document = self.now.at(each.path)
            self.check_lease(each.path if document is None else document.path, keeps=False)
            same = document is not None and document.id == each.document
            if each.text is None and not same:
                # It was to be gone, and is.
                continue
            if document is None:
                if each.base:
                    raise _reject(ErrorCode.NOT_FOUND)
                content = each.text or b""
                if self.now.foreign.get(each.path, content) != content:
                    raise _reject(ErrorCode.CONFLICT)
                self.create(len(self.effects), each.path, each.type, content)
                continue
            self.check_permission(document.type, document)
            if each.text is None:
                if each.base != document.revision:
                    raise _reject(ErrorCode.CONFLICT)
                lines = len(document.content.splitlines())
                gone = self.next(document, b"", deleted=True)
                self.enter(Action.DELETE, document, gone, 0, lines)
                continue
            text = self.joined(each) if same else None
            if text is None:
                raise _reject(ErrorCode.CONFLICT)
            if isinstance(text, Unsure):
                raise _Stop(text)
            self.change(document, Action.MERGE, text)

    def joined(self, wanted: ModelText) -> bytes | Unsure | None:
        """Return a text joined with what its document is now; None if they collide."""
        document = self.now.documents.get(wanted.document)
        if document is None or document.deleted:
            free = not wanted.document and self.now.at(wanted.path) is None
            return wanted.text or b"" if free or wanted.text is None else None
        if wanted.base == document.revision:
            return wanted.text or b""
        base = self.model.text(self.before, document.id, wanted.base) if wanted.base else None
        if base is None or wanted.text is None:
            return None
        return merge(base, wanted.text, document.content)

    # -- rules -----------------------------------------------------------------------------

    def existing(self, path: str) -> ModelDocument:
        _check_path(path)
        document = self.now.at(path)
        if document is None:
            raise _reject(ErrorCode.NOT_FOUND)
        return document

    def check_permission(self, type: DocumentType, document: ModelDocument | None = None) -> None:
        if self.actor.value in WRITERS[type.value].split():
            return
        if self.actor is Actor.AGENT and document is not None:
            for grant in self.now.grants.values():
                if grant.document == document.id and grant.agent in ("", self.author):
                    return
        raise _reject(ErrorCode.PERMISSION_DENIED)

    def check_lease(self, path: str, *, keeps: bool = True) -> None:
        """Stop if the leases do not let a path be written; `keeps` is whether the texts wait."""
        said = guard(
            self.now.leases,
            self.session,
            self.tokens,
            path,
            enforced=self.rules.leases_enforced,
        )
        if not said.held and not said.stale:
            return
        code = ErrorCode.LEASE_HELD if said.held else ErrorCode.STALE_LEASE
        raise _Stop(Late(path, 0, 0, code=code) if keeps else Rejected(code))

    def follow(self, path: str, new_path: str) -> None:
        """Let the leases on a document follow it, unless they would meet others."""
        leases = self.now.leases
        for lease in leases.values():
            if lease.pattern.lower() != path.lower() or new_path.lower() == path.lower():
                continue
            for other in leases.values():
                meets = other.session != lease.session and not (other.shared and lease.shared)
                if meets and covers(other.pattern, new_path):
                    raise _reject(ErrorCode.LEASE_HELD)
        self.now = replace(self.now, leases=followed(leases, path, new_path))

    def check_free(self, path: str, moving: ModelDocument | None = None) -> None:
        for other in self.now.live():
            if moving is not None and other.id == moving.id:
                if _below(path, other.path) or _below(other.path, path):
                    raise _reject(ErrorCode.INVALID_PATH)
            elif other.path == path:
                raise _reject(ErrorCode.CONFLICT)
            elif (
                other.path.lower() == path.lower()
                or _below(path, other.path)
                or _below(other.path, path)
            ):
                raise _reject(ErrorCode.INVALID_PATH)

    def check_text(self, text: bytes) -> None:
        if len(text) > self.rules.document_bytes_max:
            raise _reject(ErrorCode.TOO_LARGE)
        try:
            text.decode()
        except UnicodeDecodeError:
            raise _reject(ErrorCode.INVALID_REQUEST) from None

    def check_revision(
        self,
        path: str,
        document: ModelDocument | None,
        operation: Put | Append | Edit | SectionEdit | Delete | Move | Restore,
    ) -> None:
        expected = operation.if_revision
        current = 0 if document is None else document.revision
        if expected is None or expected == current:
            return
        raise _Stop(Late(path, expected, current))

    # -- effects ---------------------------------------------------------------------------

    def create(self, index: int, path: str, type: DocumentType, content: bytes) -> None:
        self.check_permission(type)
        self.check_free(path)
        self.check_text(content)
        id = self.seq * OPERATIONS_PER_SEQ + index
        after = ModelDocument(id, path, type, 1, content, self.seq, self.time_ms, self.author)
        self.enter(Action.CREATE, None, after, len(content.splitlines()), 0)

    def next(
        self, document: ModelDocument, content: bytes, *, deleted: bool = False
    ) -> ModelDocument:
        return replace(
            document,
            revision=document.revision + 1,
            content=content,
            seq=self.seq,
            time_ms=self.time_ms,
            author=self.author,
            deleted=deleted,
        )

    def change(self, document: ModelDocument, action: Action, content: bytes) -> None:
        self.check_text(content)
        old = Counter([] if document.deleted else document.content.splitlines())
        new = Counter(content.splitlines())
        after = self.next(document, content)
        self.enter(action, document, after, (new - old).total(), (old - new).total())

    def enter(
        self,
        action: Action,
        before: ModelDocument | None,
        after: ModelDocument,
        added: int,
        removed: int,
    ) -> None:
        self.now.documents[after.id] = after
        self.effects.append(Effect(action, before, after, added, removed))


def _below(path: str, folder: str) -> bool:
    return path.lower().startswith(folder.lower() + "/")


# ---- texts ----------------------------------------------------------------------------------


def outcome(text: bytes, operation: Put | Append | Edit | SectionEdit) -> bytes:
    """Return what an operation makes of a text."""
    if isinstance(operation, Put):
        return operation.content
    if isinstance(operation, Append):
        ended = not text or text[-1:] == b"\n"
        return text + (b"" if ended else b"\n") + operation.content
    if isinstance(operation, Edit):
        if operation.old == b"":
            raise _reject(ErrorCode.INVALID_REQUEST)
        pieces = text.split(operation.old)
        if len(pieces) == 1 or (len(pieces) > 2 and not operation.all):
            raise _reject(ErrorCode.NO_MATCH)
        return operation.new.join(pieces)
    return _section(text, operation)


def _section(text: bytes, operation: SectionEdit) -> bytes:
    """Sections of texts whose headings are plain and not in code, which is all we write."""
    lines = text.splitlines(keepends=True)
    heads = [
        (index, len(match[1]), match[2])
        for index, line in enumerate(lines)
        if (match := re.match(rb"(#{1,6}) (.*)\n", line))
    ]
    wanted = re.fullmatch(rb"(?:(#{1,6}) )?(.*)", operation.heading.encode())
    assert wanted is not None
    found = [
        head
        for head in heads
        if head[2] == wanted[2] and (not wanted[1] or len(wanted[1]) == head[1])
    ]
    if len(found) != 1:
        raise _reject(ErrorCode.NO_MATCH)
    start, level, _ = found[0]
    stop = next((i for i, depth, _ in heads if i > start and depth <= level), len(lines))
    top = b"".join(lines[: start + 1])
    rest = b"".join(lines[stop:])
    text = operation.content
    if text and not text.endswith(b"\n"):
        text += b"\n"
    if operation.mode is SectionMode.REPLACE:
        body = b"\n" + text if text else b""
    else:
        kept = b"".join(lines[start + 1 : stop]).rstrip()
        body = (kept + b"\n" if kept else b"\n") + text
    return top + body + (b"\n" + rest if rest else b"")


def merge(base: bytes, mine: bytes, theirs: bytes) -> bytes | None | Unsure:
    """Return the text in which both changes of `base` stand, None if they collide.

    Only for texts whose lines are all different and keep their order: then what was kept of a text
    is plain to see, and no choice is left to an algorithm.
    """
    if mine == theirs or theirs == base:
        return mine
    if mine == base:
        return theirs
    old = base.splitlines(keepends=True)
    patches: list[dict[tuple[int, int], list[bytes]]] = []
    for text in (mine, theirs):
        new = text.splitlines(keepends=True)
        kept = [line for line in new if line in old]
        plain = len(set(new)) == len(new) and all(line.endswith(b"\n") for line in new)
        if not plain or len(set(old)) != len(old) or kept != [line for line in old if line in kept]:
            return Unsure()
        if any(not line.endswith(b"\n") for line in old):
            return Unsure()
        patches.append(_patch(old, new, kept))
    for place in patches[0]:
        for other in patches[1]:
            same = place == other and patches[0][place] == patches[1][other]
            if not same and _touch(place, other):
                return None
    both = patches[0] | patches[1]
    result: list[bytes] = []
    position = 0
    for start, end in sorted(both):
        result += old[position:start] + both[start, end]
        position = end
    return b"".join(result + old[position:])


def _patch(
    old: list[bytes], new: list[bytes], kept: list[bytes]
) -> dict[tuple[int, int], list[bytes]]:
    """Return what replaced which lines of `old`, between the lines that were kept."""
    patch: dict[tuple[int, int], list[bytes]] = {}
    here = there = 0
    for line in [*kept, None]:
        end = len(old) if line is None else old.index(line)
        stop = len(new) if line is None else new.index(line)
        if old[here:end] != new[there:stop]:
            patch[here, end] = new[there:stop]
        here, there = end + 1, stop + 1
    return patch


def _touch(left: tuple[int, int], right: tuple[int, int]) -> bool:
    if left[0] == left[1] or right[0] == right[1]:
        return left[0] <= right[1] and right[0] <= left[1]
    return max(left[0], right[0]) < min(left[1], right[1])
