"""Drafts of a real coordinator: asked for, killed between, and what outlives state.db."""

from __future__ import annotations

import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from agent_trace_coordinator.core.records import content_digest
from agent_trace_coordinator.storage.drafts import DraftFiles
from agent_trace_protocol import (
    AcceptDraft,
    Actor,
    ConflictInfo,
    DiscardDraft,
    Done,
    DraftPage,
    DraftReport,
    Drafts,
    ErrorCode,
    Put,
    Refused,
    ShowDraft,
    Status,
    StatusReport,
    Transact,
)
from support.coordinator import Coordinator, Peer, running

pytestmark = pytest.mark.integration

MINE = b"one\ntwo\nmine\n"


@pytest.fixture
def coordinator(tmp_path: Path) -> Generator[Coordinator]:
    with running(tmp_path / "store") as coordinator:
        yield coordinator


def late(peer: Peer, text: bytes = MINE) -> ConflictInfo:
    reply = peer.ask(Transact((Put("plan.md", text, if_revision=1),)))
    assert isinstance(reply, Refused) and reply.error.conflict is not None, reply
    return reply.error.conflict


def test_a_draft_and_its_refusal_survive_a_kill(coordinator: Coordinator) -> None:
    with Peer(coordinator.endpoint, "ann") as ann:
        ann.opened()
        ann.do(Put("plan.md", b"one\ntwo\nthree\n"))
        ann.do(Put("plan.md", b"one\ntwo\n3\n"))
        kept = late(ann)
        number = ann.number
        coordinator.end(signal.SIGKILL)
        coordinator.start()
        ann.connect()
        ann.opened()
        again = ann.ask_as(number, Transact((Put("plan.md", MINE, if_revision=1),)))
        assert isinstance(again, Refused) and again.error.conflict == kept
        page = ann.ask(Drafts())
        assert isinstance(page, DraftPage)
        assert [(each.id, each.merges, each.current) for each in page.drafts] == [
            (kept.draft, False, 2)
        ]
        report = ann.ask(ShowDraft(kept.draft))
        assert isinstance(report, DraftReport)
        assert report.texts[0].content == MINE and "+3" in report.texts[0].others
        status = ann.ask(Status())
        assert isinstance(status, StatusReport) and status.drafts == 1
        collides = ann.ask(Transact((AcceptDraft(kept.draft),)))
        assert isinstance(collides, Refused) and collides.error.code is ErrorCode.CONFLICT
        assert ann.do(AcceptDraft(kept.draft, if_revision=2)).results[0].revision == 3
        assert ann.ask(Drafts()) == DraftPage((), False)


def test_the_texts_of_drafts_outlive_state_db(coordinator: Coordinator) -> None:
    root = coordinator.root
    files = DraftFiles(root / ".agent-trace" / "drafts")
    with (
        Peer(coordinator.endpoint, "ann") as ann,
        Peer(coordinator.endpoint, "mia", Actor.USER) as mia,
    ):
        ann.opened()
        ann.do(Put("plan.md", b"a\n"))
        ann.do(Put("plan.md", b"b\n"))
        kept = int(late(ann).draft[6:])
        dropped = late(ann, b"no\n").draft
        mia.opened()
        assert mia.ask(DiscardDraft(dropped)) == Done()
    coordinator.end()
    # Whatever the files lacked when it ended, the next start makes.
    for name in files.names():
        (root / ".agent-trace" / "drafts" / name).unlink()
    (root / ".agent-trace" / "drafts" / "draft-9999-gone.md.txt").write_bytes(b"")
    coordinator.start()
    with Peer(coordinator.endpoint, "mia", Actor.USER) as mia:
        mia.opened()
        for _ in range(1000):
            mia.ask(Status())
            if files.names() == frozenset({f"draft-{kept}-plan.md.txt"}):
                break
        else:
            raise AssertionError(f"the files of drafts are {files.names()}")
    coordinator.end(signal.SIGKILL)
    (root / ".agent-trace" / "state.db").unlink()
    digest = content_digest(MINE)
    assert files.texts(kept, frozenset({digest})) == {digest: MINE}
    assert files.texts(kept, frozenset({content_digest(b"else")})) == {}
