"""Files that were changed past the coordinator: from what was found to a revision, or back.

Law: a file is judged by what it showed when it was changed, and the outcome stands once it is
durable. Until then the file is the only place where its content is, so it counts as ours no
sooner. What is on its way to a file goes first: a file that is being brought back is looked at
again when it is there, and its absence until then is no deletion.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from agent_trace_coordinator.core.effects import Append, Effect, PutBack
from agent_trace_coordinator.core.files import FILE_SOURCE
from agent_trace_coordinator.core.inputs import FilesChanged, Now
from agent_trace_coordinator.core.machine import step
from agent_trace_coordinator.core.records import Changed, Entry, content_digest
from agent_trace_coordinator.core.state import State
from agent_trace_coordinator.errors import CorruptStore
from agent_trace_coordinator.storage.base import (
    CapturedFile,
    FileSigns,
    SetAside,
    Signature,
)
from agent_trace_protocol import Action

from .file_stage import FileStage
from .journal_stage import JournalStage
from .lookup import Lookup
from .quarantine_stage import QuarantineStage

__all__ = ["Adoption", "Outcome", "current_files"]

_log = logging.getLogger("agent_trace.coordinator.files")


class Outcome(NamedTuple):
    """What became of files that were handed over."""

    current: frozenset[str]
    """They hold what their documents hold."""
    put_back: frozenset[str]
    """They were refused, and are brought back."""
    judged: frozenset[str]
    """What they held is a revision or on record; that of others is known to nobody yet."""


class Shell(Protocol):
    """What carries out what is decided here: the runtime."""

    @property
    def state(self) -> State:
        """The state, with what is accepted and not durable."""
        ...

    @property
    def takes_files(self) -> bool:
        """Whether anything may be recorded at this moment."""
        ...

    def perform(self, effects: list[Effect]) -> None:
        """Carry out effects that nobody asked for."""
        ...

    def when_durable(self, seq: int, action: Callable[[], None]) -> None:
        """Do something once an operation is durable; never, if it turns out that it can not be."""
        ...


class Adoption:
    """Judges changed files by the core, and takes care of the files themselves."""

    def __init__(
        self,
        shell: Shell,
        lookup: Lookup,
        journal: JournalStage,
        files: FileStage,
        clock: Callable[[], Now],
        *,
        quarantine: QuarantineStage | None,
        signs: FileSigns,
    ) -> None:
        self._shell = shell
        self._lookup = lookup
        self._journal = journal
        self._files = files
        self._clock = clock
        self._quarantine = quarantine
        self._signs = signs
        self._adopted: dict[str, int] = {}
        """The operations that took files' contents, by path, until all files show them."""
        self._captured: dict[str, Signature] = {}
        """What lies at the paths of the files that are being judged, and was read."""
        self._due: set[str] = set()
        """Documents whose files are to be brought back once something is durable."""
        self._putting_back: set[str] = set()
        """Documents whose files are being brought back, at least until they are there."""

    # -- from the files ----------------------------------------------------------------------

    def changed(self, found: list[CapturedFile]) -> Outcome:
        """Judge files that were changed past the coordinator, where they lie.

        While nothing can be recorded, or something is on its way to them, they stay as they are;
        they are found again later.
        """
        expected = self._due | self._still_putting_back()
        waiting = [
            each
            for each in found
            if each.path not in expected
            and (each.content is not None or each.problem or not self._files.coming(each.path))
        ]
        try:
            there = self._signs.foreign([each.path for each in waiting])
        except OSError as error:
            _log.warning("files can not be looked at: %s", error)
            return Outcome(frozenset(), frozenset(), frozenset())
        # They were read in another thread. What we, or somebody else, wrote since is the file now.
        still = [each for each in waiting if there.get(each.path) == each.signature]
        return self._judge(still, in_place=True)

    def set_aside(self, quarantine: Path, kept: list[SetAside], files_seq: int) -> None:
        """Judge what lay in the way of our own writes and was moved to the quarantine."""
        putting_back = frozenset(self._still_putting_back())
        for aside, captured in _read_set_aside(quarantine, kept, files_seq):
            if captured.problem and aside.path in putting_back:
                # It was recorded when it was found; here it only made room.
                continue
            # Its place was taken, so unlike other files it does not show what became of it.
            outcome = self._judge([captured], in_place=False)
            self._adopted.pop(aside.path, None)
            seq = self._shell.state.seq
            self._shell.when_durable(seq, partial(self._put_back, aside.path, None))
            judged = captured.path in outcome.judged and not captured.problem
            if judged and self._quarantine is not None:
                forget = partial(self._quarantine.forget_set_aside, aside.kept_as)
                self._shell.when_durable(seq, forget)

    def _judge(self, found: list[CapturedFile], *, in_place: bool) -> Outcome:
        state = self._shell.state
        current = current_files(state, found, self._journal.durable_seq)
        if not self._shell.takes_files:
            return Outcome(current, frozenset(), current)
        self._captured = {
            # What could not be read is kept by being moved away when its place is taken; what
            # was moved away already says nothing of what lies there now.
            each.path: each.signature
            for each in found
            if in_place and (each.content is not None or not each.problem)
        }
        try:
            self._adopted = {
                path: seq for path, seq in self._adopted.items() if seq > self._files.written_seq
            }
            files, facts = self._lookup.facts_of_files(
                state, [each for each in found if each.path not in current], self._adopted
            )
            effects = step(state, FilesChanged(files, facts), self._clock())
        except CorruptStore as error:
            _log.error("changed files can not be judged: %s", error)
            return Outcome(current, frozenset(), current)
        self._shell.perform(effects)
        for effect in effects:
            if in_place and isinstance(effect, Append):
                self._note_adopted(effect.entry)
        put_back = frozenset(each.path for each in effects if isinstance(each, PutBack))
        return Outcome(current, put_back, current | {each.path for each in files})

    def _note_adopted(self, entry: Entry) -> None:
        body = entry.record.body
        if not isinstance(body, Changed) or body.source != FILE_SOURCE:
            return
        seq = entry.record.seq
        for change in body.changes:
            signature = self._captured.get(change.path)
            if signature is None or change.action is not Action.PUT:
                continue
            self._adopted[change.path] = seq
            if signature[1]:
                self._shell.when_durable(seq, partial(self._accept, change.path, signature, seq))

    def _accept(self, path: str, signature: Signature, seq: int) -> None:
        """A file has become a durable revision, unless its place was taken meanwhile."""
        if self._adopted.get(path) == seq:
            self._signs.accept(path, signature)

    # -- to the files ------------------------------------------------------------------------

    def put_back(self, effect: PutBack) -> None:
        """Bring a file back that was refused, once that is on record."""
        self._due.add(effect.path)
        captured = self._captured.get(effect.path)
        self._shell.when_durable(effect.after, partial(self._put_back, effect.path, captured))

    def _put_back(self, path: str, captured: Signature | None) -> None:
        self._due.discard(path)
        document = self._shell.state.document_at(path)
        if document is None:
            return
        if document.seq > self._journal.durable_seq:
            # It has changed meanwhile, and what is not durable must not be seen.
            self._due.add(path)
            self._shell.when_durable(document.seq, partial(self._put_back, path, captured))
            return
        self._putting_back.add(path)
        content = self._lookup.content(document.content_key, document.digest)
        self._files.put_back(path, content, captured)

    def _still_putting_back(self) -> set[str]:
        """Return the documents whose files are being brought back, and forget the others."""
        self._putting_back = {path for path in self._putting_back if self._files.coming(path)}
        return self._putting_back

    def forget(self) -> None:
        """What was not durable was taken back: nothing of it was adopted, nothing waits for it."""
        durable = self._journal.durable_seq
        self._adopted = {path: seq for path, seq in self._adopted.items() if seq <= durable}
        self._captured = {}
        self._due.clear()


def current_files(state: State, found: list[CapturedFile], durable_seq: int) -> frozenset[str]:
    """Return which files hold what their documents hold, durably: what is not may be taken back,
    and then the file is the only place where it is."""
    current: set[str] = set()
    for captured in found:
        document = state.document_at(captured.path)
        if (
            document is not None
            and document.seq <= durable_seq
            and captured.content is not None
            and len(captured.content) == document.size
            and content_digest(captured.content) == document.digest
        ):
            current.add(captured.path)
    return frozenset(current)


def _read_set_aside(
    quarantine: Path, kept: list[SetAside], files_seq: int
) -> list[tuple[SetAside, CapturedFile]]:
    """Return what lay in the way of our own writes, as files to be judged.

    It is out of the way already, so it has no signature.
    """
    found: list[tuple[SetAside, CapturedFile]] = []
    for each in kept:
        content: bytes | None = None
        problem = f"what lay there is no readable file; it is kept as quarantine/{each.kept_as}"
        if each.regular:
            try:
                content, problem = (quarantine / each.kept_as).read_bytes(), ""
            except OSError as error:
                _log.warning("%s can not be read back: %s", each.kept_as, error)
        found.append((each, CapturedFile(each.path, content, problem, (0, 0, 0, 0), files_seq)))
    return found
