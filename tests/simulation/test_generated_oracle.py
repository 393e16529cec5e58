"""The oracle of generated documents refuses what it has to: it is trusted for that only."""

from __future__ import annotations

import pytest

from agent_trace_coordinator.core.records import (
    Change,
    Changed,
    Record,
    content_digest,
    content_key,
)
from agent_trace_coordinator.core.trace_state import GENERATED
from agent_trace_protocol import Action, Actor, DocumentType
from simulation.checker import Violation
from simulation.generated_oracle import GeneratedOracle
from simulation.model import Model, Snapshot

LOG = f"logs/planner-{'a' * 26}.md"


class Story:
    """A store in which a session changes things and the coordinator tells of it."""

    def __init__(self) -> None:
        self.model = Model([Snapshot(0)])
        self.oracle = GeneratedOracle(Violation)
        self.seq = 0

    def change(self) -> int:
        self.seq += 1
        body = Changed((_change(self.seq, "a.md", DocumentType.SCRATCH, b""),), "")
        actor = Actor.AGENT
        record = Record(self.seq, 1, self.seq, actor, "planner", "abc", self.seq, b"", body)
        self.oracle.happened(record)
        return self.seq

    def generate(self, text: str, path: str = LOG) -> None:
        self.seq += 1
        content = text.encode()
        type = DocumentType.LOG if path.startswith("logs/") else DocumentType.CONTEXT
        old = self.model.last.at(path)
        change = _change(self.seq, path, type, content, 0 if old is None else old.id)
        if old is not None:
            change = _change(self.seq, path, type, content, old.id, old.revision + 1)
        body = Changed((change,), "", source=GENERATED)
        record = Record(self.seq, 1, self.seq, Actor.SYSTEM, "system", "", 0, b"", body)
        last = self.model.last
        after = self.oracle.written(self.model, last, record, body, {change.content_key: content})
        self.model.snapshots.append(after)

    def end(self) -> None:
        self.oracle.check_end(self.model.last)


def _change(
    seq: int, path: str, type: DocumentType, content: bytes, document: int = 0, revision: int = 1
) -> Change:
    key = content_key(seq, 0)
    action = Action.PUT if document else Action.CREATE
    digest, size = content_digest(content), len(content)
    return Change(document or key, action, path, "", type, revision, key, digest, size, 1, 0)


def summary(seq: int) -> str:
    return f"- last: operation {seq}, 2026\n"


def test_what_is_told_once_and_in_order_passes() -> None:
    story = Story()
    first = story.change()
    story.generate(f"- {first} put\n")
    second = story.change()
    story.generate(f"- {first} put\n- {second} put\n")
    story.generate(summary(second), "running_summary.md")
    story.end()


def test_what_has_not_happened_can_not_be_told() -> None:
    story = Story()
    story.change()
    with pytest.raises(Violation, match="had not happened"):
        story.generate("- 2 put\n")
    with pytest.raises(Violation, match="had not happened"):
        story.generate(summary(9), "running_summary.md")


def test_a_log_only_grows() -> None:
    story = Story()
    story.generate(f"- {story.change()} put\n")
    with pytest.raises(Violation, match="changes what"):
        story.generate("- 2 put\n")


@pytest.mark.parametrize("told", ["", "- 1 put\n", "- 1 put\n- 1 put\n- 2 put\n"])
def test_an_entry_that_is_lost_or_told_twice_is_found_in_the_end(told: str) -> None:
    story = Story()
    story.change()
    story.change()
    story.generate(told)
    story.generate(summary(2), "running_summary.md")
    with pytest.raises(Violation, match="are told as"):
        story.end()


def test_a_summary_that_is_behind_is_found_in_the_end() -> None:
    story = Story()
    story.change()
    second = story.change()
    story.generate(f"- 1 put\n- {second} put\n")
    story.generate(summary(1), "running_summary.md")
    with pytest.raises(Violation, match="the summary tells of"):
        story.end()


def test_only_documents_of_ours_are_generated() -> None:
    story = Story()
    with pytest.raises(Violation, match="which is not ours"):
        story.generate("", "plan.md")
