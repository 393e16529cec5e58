"""Every write is logged: whatever part of it a power cut leaves, what was acknowledged is there."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest

from crash.block_disk import Crash, Replay, why_no_log
from crash.block_log import BlockEvent, write_event
from crash.blocks import run_blocks
from crash.scene import Plan

SECTOR = 512

A, B, C = (letter * 2 * SECTOR for letter in (b"a", b"b", b"c"))


@pytest.fixture
def _blocks_can_be_logged() -> None:
    reason = why_no_log()
    if reason:
        pytest.skip(reason)


@pytest.mark.integration
@pytest.mark.usefixtures("_blocks_can_be_logged")
def test_every_disk_that_a_power_cut_may_leave_has_what_was_acknowledged(tmp_path: Path) -> None:
    plan = Plan(seconds=1.5, agents=3, seed=1, think_ms=15)

    figures = run_blocks(tmp_path, plan, "ext4", tmp_path, states=12)

    assert figures.violations == []
    assert figures.states == 12
    assert figures.promised > 0 < figures.flushes


@pytest.mark.integration
@pytest.mark.usefixtures("_blocks_can_be_logged")
@pytest.mark.parametrize(
    ("mutant", "symptom"),
    [
        ("nogitsync", "was handed out, and git does not have it"),
        # The newest names are lost, of packs or of the branch's file.
        ("nodirsync", "was handed out, and (git does not have it|is not on the branch)"),
    ],
    ids=["nogitsync", "nodirsync"],
)
def test_the_block_log_finds_the_planted_bug(tmp_path: Path, mutant: str, symptom: str) -> None:
    plan = Plan(seconds=1.5, agents=3, seed=5, think_ms=15, mutant=mutant)

    figures = run_blocks(tmp_path, plan, "ext4", tmp_path, states=60)

    assert re.search(symptom, "\n".join(figures.violations))


def _disks(tmp_path: Path, events: list[BlockEvent], fate: str, at: int) -> set[bytes]:
    """Return what sixty crashes with one fate may make of a disk of six sectors."""
    log = tmp_path / "log"
    with log.open("wb") as file:
        for event in events:
            write_event(file, event)
    found: set[bytes] = set()
    for seed in range(60):
        base, disk = tmp_path / "base", tmp_path / "disk"
        base.write_bytes(b"." * 6 * SECTOR)
        Replay(base, log).make(Crash(at, fate, seed), disk)
        data = disk.read_bytes()
        assert len(data) == 6 * SECTOR
        # One letter for each sector.
        found.add(bytes(data[start] for start in range(0, len(data), SECTOR)))
    return found


EVENTS = [
    BlockEvent(1.0, 0, A),
    BlockEvent(2.0, -1, b""),
    BlockEvent(3.0, 2 * SECTOR, B),
    BlockEvent(4.0, 4 * SECTOR, C),
    BlockEvent(5.0, -1, b""),
]


def test_what_was_flushed_is_there_and_of_the_rest_what_fate_leaves(tmp_path: Path) -> None:
    assert _disks(tmp_path, EVENTS, "nothing", 4) == {b"aa...."}
    assert _disks(tmp_path, EVENTS, "all", 4) == {b"aabbcc"}
    # Each sector of what was not flushed, by itself.
    some = _disks(tmp_path, EVENTS, "some", 4)
    assert all(disk.startswith(b"aa") for disk in some)
    assert {b"aa....", b"aabb..", b"aa..cc", b"aabbcc"} <= some
    assert any(disk[2:4] in (b"b.", b".b") for disk in some)
    # In order, and only the last one torn.
    torn = _disks(tmp_path, EVENTS, "torn", 4)
    assert {b"aa....", b"aab...", b"aabb..", b"aabbc.", b"aabbcc"} <= torn
    assert not any(disk.startswith((b"aa.", b"aab.")) and b"c" in disk for disk in torn)


@pytest.mark.parametrize("fate", ["nothing", "all", "torn", "some"])
def test_after_a_flush_there_is_nothing_to_lose(tmp_path: Path, fate: str) -> None:
    assert _disks(tmp_path, EVENTS, fate, 5) == {b"aabbcc"}
    assert _disks(tmp_path, EVENTS, fate, 2) == {b"aa...."}


def test_a_crash_comes_right_after_an_answer_or_anywhere(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        for event in EVENTS:
            write_event(file, event)
    replay = Replay(tmp_path / "base", log)
    random = Random(1)

    drawn = [replay.draw(random, 1, 1, [4.5]) for _ in range(200)]

    assert {crash.at for crash in drawn} == {1, 2, 3, 4, 5}
    # The answer came before the fifth event, so that one may be missing.
    assert sum(crash.at == 4 for crash in drawn) > 80
    assert replay.time_of(Crash(4, "all", 0)) == 5.0
    assert replay.time_of(Crash(5, "all", 0)) == float("inf")


def test_moments_between_two_flushes_leave_the_same_disk_when_nothing_else_lasts(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        for event in EVENTS:
            write_event(file, event)
    replay = Replay(tmp_path / "base", log)

    after_flush = replay.left_by(Crash(2, "all", 0))

    assert replay.left_by(Crash(3, "nothing", 1)) == replay.left_by(Crash(4, "nothing", 2))
    assert replay.left_by(Crash(4, "nothing", 0)) == after_flush
    assert replay.left_by(Crash(4, "all", 0)) != after_flush
    assert replay.left_by(Crash(5, "nothing", 0)).flushed == 5
