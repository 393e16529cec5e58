"""How contents lie in state.db: the same bytes come back, and anything else is damage."""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_trace_coordinator.core.records import (
    CHAIN_START,
    chain_hash,
    content_digest,
    content_key,
)
from agent_trace_coordinator.errors import CorruptStore
from agent_trace_coordinator.storage.index import Index
from agent_trace_coordinator.storage.packing import pack, unpack
from agent_trace_coordinator.storage.salvage import Salvage
from agent_trace_coordinator.storage.schema import follows
from agent_trace_protocol import Put
from support.core import Desk
from support.trace import tracing


@given(st.binary(max_size=300).map(lambda data: data * 5) | st.binary(max_size=20))
def test_what_is_packed_is_unpacked_whatever_it_is(content: bytes) -> None:
    packed = pack(content)

    assert len(packed) <= len(content)
    assert unpack(packed, content_digest(content)) == content


@given(st.binary(min_size=1, max_size=200), st.integers(0, 10_000), st.integers(0, 7))
def test_a_flipped_bit_never_becomes_a_content(content: bytes, at: int, bit: int) -> None:
    packed = bytearray(pack(content * 3))
    packed[at % len(packed)] ^= 1 << bit

    assert unpack(bytes(packed), content_digest(content * 3)) in (None, content * 3)


def test_a_packed_content_stays_packed_to_who_wrote_it_so() -> None:
    """A document that is itself what zlib makes is not unpacked behind its author's back."""
    content = zlib.compress(b"x" * 1000)

    assert unpack(content, content_digest(content)) == content


def test_only_what_is_generated_is_packed_and_every_revision_of_it_can_be_read(
    tmp_path: Path,
) -> None:
    desk = Desk()
    member = desk.member("planner")
    text = b"- [ ] the same again\n" * 100
    for number in range(3):
        member.do(Put("plan.md", b"%d\n" % number + text))
        desk.refresh()
    path = tmp_path / "state.db"
    with tracing(desk, path):
        pass
    with closing(sqlite3.connect(path)) as database:
        rows = dict(database.execute("SELECT key, data FROM content"))
    index = Index(path)
    read = [entry.contents for entry in index.entries(1)]

    assert read == [entry.contents for entry in desk.entries]
    contents = {key: content for each in read for key, content in each}
    packed = {key for key in rows if rows[key] != contents[key]}
    generated = {key for key in rows if key >= 0 and _author(desk, key) == "system"}
    assert packed and packed <= generated
    assert sum(len(rows[key]) for key in generated) < 0.6 * sum(
        len(contents[key]) for key in generated
    )
    with Salvage(path) as salvage:
        for key in packed:
            assert salvage.content(key, content_digest(contents[key])) == contents[key]

    key = min(packed)
    with closing(sqlite3.connect(path)) as database:
        database.execute(
            "UPDATE content SET data = ? WHERE key = ?", (rows[key][: len(rows[key]) // 2], key)
        )
        database.commit()
    with pytest.raises(CorruptStore, match=f"content {key} .* is damaged"):
        index.content(key, content_digest(contents[key]))
    index.close()


def _author(desk: Desk, key: int) -> str:
    return desk.entries[key // content_key(1, 0) - 1].record.author


@pytest.mark.parametrize("damaged", [None, 3, 0.5, "text"])
def test_a_row_whose_kind_was_damaged_holds_nothing(damaged: object) -> None:
    """A flipped bit in the head of a row makes a number, a text or nothing of a blob."""
    chain = chain_hash(CHAIN_START, b"record")

    assert unpack(damaged, content_digest(b"one\n")) is None
    assert follows(CHAIN_START, b"record", chain)
    assert not follows(CHAIN_START, damaged, chain)
    assert not follows(damaged, b"record", chain)
    assert not follows(CHAIN_START, b"record", damaged)
