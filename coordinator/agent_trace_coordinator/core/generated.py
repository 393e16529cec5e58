"""The documents that the coordinator writes: which of them have changed, as records of `system`.

They are documents like all others, and each time several of them change together as one record, so
their history, their files and their recovery need nothing of their own. Such a record at seq S
tells of everything before S; the session logs rest on that: what is fresh is what came after the
last such record. Nothing here is ever asked for by a writer, and no writer waits for it.
"""

from __future__ import annotations

import bisect
from typing import Final

from agent_trace_protocol import Action, Actor, Document, DocumentType, NotFound, fold_path
from agent_trace_protocol.limits import OPERATIONS_MAX

from .digest import Digest, digest_of
from .effects import Append
from .generated_names import CONTEXT_PATH, GUIDE_PATH, SUMMARY_PATH, protecting_type
from .generated_text import (
    context_text,
    guide_text,
    listed_documents,
    shown_documents,
    summary_text,
)
from .inputs import Facts, Now, Required
from .lines import compare
from .policy import author_without_session
from .recording import append
from .records import Change, Changed, content_digest, content_key
from .session_logs import LogPart, log_parts
from .state import DocumentState, State
from .trace_state import DIGESTED_TYPES, GENERATED, GENERATED_PART

__all__ = ["count_generated", "generate", "is_rendered", "read_generated", "required_for_generated"]

DIGESTED_BYTES_MAX: Final = 64 << 10
"""Bytes of a document that are looked through for context.md: it is done on the event loop."""

_TEXTS: Final = {
    GUIDE_PATH: guide_text,
    CONTEXT_PATH: context_text,
    SUMMARY_PATH: summary_text,
}


def is_rendered(state: State, path: str) -> bool:
    """Return whether a read of a path is answered with what is true now, not what was written."""
    return state.rules.generated and protecting_type(path) is not None


def count_generated(state: State) -> int:
    """Return how many of the documents are the coordinator's own."""
    # Those with fixed names, and what lies among the logs.
    first, last = (bisect.bisect_left(state.paths, start) for start in ("logs/", "logs0"))
    paths = [*_TEXTS, *state.paths[first:last]]
    return sum(path in state.by_path and protecting_type(path) is not None for path in paths)


def required_for_generated(state: State, path: str = "") -> Required:
    """Return what must be looked up before the generated documents, or one of them, are made."""
    required = Required()
    trace = state.trace
    needed: list[DocumentState] = []
    if path in ("", CONTEXT_PATH, SUMMARY_PATH):
        for shown in shown_documents(state):
            needed += shown
    if path in ("", GUIDE_PATH) and not trace.listing:
        listed = listed_documents(state)
        for type in DIGESTED_TYPES:
            needed += listed[type]
    for each in needed:
        known = trace.digests.get(each.id)
        if known is None or known[0] != each.content_key:
            required.contents[each.content_key] = each.digest
    for part in log_parts(state) if path not in _TEXTS else ():
        if part.document is not None and path in ("", part.path):
            required.contents[part.document.content_key] = part.document.digest
        elif part.document is None and not path:
            required.files.add(part.path)
    if path:
        document = state.document_at(path)
        if document is not None and path not in _TEXTS:
            required.contents[document.content_key] = document.digest
        return required
    for own in _TEXTS:
        document = state.document_at(own)
        if document is None:
            required.files.add(own)
        else:
            # To count the lines that change.
            required.contents[document.content_key] = document.digest
    return required


class _Digests:
    """What documents say, as far as it is asked for; remembered from one time to the next."""

    def __init__(self, state: State, facts: Facts) -> None:
        self._state = state
        self._facts = facts
        self.asked: set[int] = set()

    def __call__(self, document: DocumentState) -> Digest:
        self.asked.add(document.id)
        digests = self._state.trace.digests
        known = digests.get(document.id)
        if known is not None and known[0] == document.content_key:
            return known[1]
        content = self._facts.contents[document.content_key]
        digest = digest_of(content[:DIGESTED_BYTES_MAX])
        digests[document.id] = document.content_key, digest
        return digest


def generate(state: State, facts: Facts, now: Now) -> list[Append]:
    """Bring the generated documents up to date; return the records of what changed.

    A file of somebody else that lies where a document of ours would be made stays as it is, and the
    document is not made.
    """
    writer = _Writer(state, facts)
    digests = _Digests(state, facts)
    for path in _TEXTS:
        writer.replace(path, _text(state, path, digests))
    for part in log_parts(state):
        writer.grow(part)
    records = writer.records(now)
    trace = state.trace
    # What no record tells of is told all the same: there is nothing in it for any document.
    trace.settle()
    if len(trace.digests) > 4 * len(digests.asked) + 16:
        trace.digests = {id: trace.digests[id] for id in digests.asked}
    return records


def _text(state: State, path: str, digests: _Digests) -> bytes:
    if path != GUIDE_PATH:
        return _TEXTS[path](state, digests).encode()
    if not state.trace.listing:
        state.trace.listing = guide_text(state, digests).encode()
    return state.trace.listing


def read_generated(state: State, path: str, facts: Facts) -> Document:
    """Return a generated document as it would be written now; it depends on all of the state.

    Raises:
        NotFound: there is no such session, or there is nothing to tell of it.
    """
    document = state.document_at(path)
    text: bytes | None = None
    if path in _TEXTS:
        text = _text(state, path, _Digests(state, facts))
    else:
        for part in log_parts(state):
            if part.path == path:
                before = b"" if document is None else facts.contents[document.content_key]
                text = before + part.added.encode()
        if text is None and document is not None:
            text = facts.contents[document.content_key]
    if text is None:
        raise NotFound(f"there is no document {path}")
    return Document(
        path=path,
        type=protecting_type(path) or DocumentType.CONTEXT,
        revision=0 if document is None else document.revision,
        content=text,
        seq=state.seq,
        time_ms=state.time_ms,
        author=Actor.SYSTEM.value,
    )


class _Writer:
    """Gathers changes, and makes records of them."""

    def __init__(self, state: State, facts: Facts) -> None:
        self.state = state
        self.facts = facts
        self.changes: list[tuple[DocumentState | None, Action, str, bytes, tuple[int, int]]] = []

    def replace(self, path: str, text: bytes) -> None:
        document = self.state.document_at(path)
        if document is None:
            self.create(path, text)
            return
        if len(text) == document.size and content_digest(text) == document.digest:
            return
        before = self.facts.contents[document.content_key]
        changed = compare(before, text)
        counts = len(changed.new), len(changed.old)
        self.changes.append((document, Action.PUT, path, text, counts))

    def create(self, path: str, text: bytes) -> None:
        if path in self.facts.files or path in self.facts.blocked or not self.is_free(path):
            return
        self.changes.append((None, Action.CREATE, path, text, (text.count(b"\n"), 0)))

    def is_free(self, path: str) -> bool:
        """Return whether no document of somebody else is in the way, or below, or its twin."""
        folded = fold_path(path)
        folder = folded.rpartition("/")[0]
        taken = self.state.by_fold
        return folded not in taken and folded not in self.state.folders and folder not in taken

    def grow(self, part: LogPart) -> None:
        added = part.added.encode()
        if part.document is None:
            self.create(part.path, added)
            return
        before = self.facts.contents[part.document.content_key]
        counts = added.count(b"\n"), 0
        self.changes.append((part.document, Action.APPEND, part.path, before + added, counts))

    def records(self, now: Now) -> list[Append]:
        author = author_without_session(Actor.SYSTEM, Actor.SYSTEM.value)
        records: list[Append] = []
        while self.changes:
            batch = self.changes[:OPERATIONS_MAX]
            del self.changes[:OPERATIONS_MAX]
            seq = self.state.seq + 1
            changes: list[Change] = []
            contents: list[tuple[int, bytes]] = []
            for index, (document, action, path, text, (added, removed)) in enumerate(batch):
                key = content_key(seq, index)
                contents.append((key, text))
                changes.append(
                    Change(
                        document=key if document is None else document.id,
                        action=action,
                        path=path,
                        previous_path="",
                        type=(protecting_type(path) or DocumentType.CONTEXT)
                        if document is None
                        else document.type,
                        revision=1 if document is None else document.revision + 1,
                        content_key=key,
                        digest=content_digest(text),
                        size=len(text),
                        added=added,
                        removed=removed,
                    )
                )
            body = Changed(tuple(changes), source=GENERATED_PART if self.changes else GENERATED)
            records.append(append(self.state, author, body, now, contents=tuple(contents)))
        return records
