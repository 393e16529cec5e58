"""Refused writes as files: readable, private, made again when they are missing."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from agent_trace_coordinator.core.records import Violated
from agent_trace_coordinator.storage.quarantine import (
    Quarantine,
    QuarantinedText,
    quarantine_name,
)
from agent_trace_protocol import Put
from support.core import Desk


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("notes/api.md", "violation-7-api.md.txt"),
        ("../../etc/passwd", "violation-7-passwd.txt"),
        ("a\0b\n", "violation-7-a_b_.txt"),
        ("é/\u202e", "violation-7.txt"),
        ("..", "violation-7.txt"),
        ("x" * 500, f"violation-7-{'x' * 60}.txt"),
    ],
)
def test_a_name_is_safe_whatever_was_asked_for(path: str, name: str) -> None:
    assert quarantine_name(7, path) == name


def test_a_file_holds_the_text_byte_for_byte_for_its_owner_only(tmp_path: Path) -> None:
    desk = Desk()
    desk.member().fail(Put("../out\n.md", b"bin\0ary\n\xff"))
    record = desk.entries[-1].record
    assert isinstance(record.body, Violated)
    quarantine = Quarantine(tmp_path)
    texts = [QuarantinedText("../out\n.md", b"bin\0ary\n\xff")]
    name = quarantine.write(record, texts)
    assert quarantine.write(record, texts) == name
    path = tmp_path / name
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    head, _, text = path.read_bytes().partition(b"---- 9 bytes for '../out\\n.md':\n")
    assert text == b"bin\0ary\n\xff\n"
    assert b"rule: path-law\n" in head and b"actor: agent planner\n" in head
    assert head.count(b"\n") == 9
    assert quarantine.names() == {name}
    quarantine.remove(record.seq)
    assert quarantine.names() == frozenset()
