"""Disks that fill up and disks that fail, both real: small file systems made for the test."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from agent_trace_protocol import (
    Actor,
    Append,
    Committed,
    Document,
    Done,
    ErrorCode,
    Heartbeat,
    Opened,
    Put,
    Read,
    Refused,
    Status,
    StatusReport,
    Transact,
)
from agent_trace_protocol.layout import EXIT_DISK_FAILED
from crash.disk import why_unavailable
from support.coordinator import Coordinator, Peer, running

_WHY = why_unavailable()

PATIENCE_SECONDS = 20.0
"""The coordinator tries a full disk again about once a second."""

pytestmark = [pytest.mark.integration, pytest.mark.skipif(bool(_WHY), reason=_WHY)]


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


@contextlib.contextmanager
def mounted(kind: str, source: str, target: Path, options: str) -> Generator[Path]:
    """Mount a file system for the length of a block."""
    target.mkdir(exist_ok=True)
    run("mount", "-t", kind, "-o", options, source, str(target))
    try:
        yield target
    finally:
        run("umount", "--lazy", str(target))


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    with mounted("tmpfs", "tmpfs", tmp_path / "disk", "size=12m") as root:
        yield root


def test_a_full_disk_makes_the_store_read_only_and_it_heals_by_itself(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    with running(small_disk / "store") as coordinator, Peer(coordinator.endpoint) as peer:
        peer.opened()
        written = 0
        for number in range(5):
            peer.do(Append("notes.md", f"{number}\n".encode()))
            written += 1
        with contextlib.suppress(OSError), ballast.open("wb") as file:
            while True:
                file.write(bytes(1 << 16))
                file.flush()
        refused = None
        for number in range(200):
            reply = peer.ask(Transact((Put(f"{number}.md", b"x" * 200_000),)))
            if isinstance(reply, Refused):
                refused = reply.error
                break
        assert refused is not None and refused.code is ErrorCode.READ_ONLY and refused.retryable
        # Everything but writing goes on, and nothing of what was acknowledged is missing.
        read = peer.ask(Read("notes.md"))
        assert isinstance(read, Document)
        assert read.content == b"".join(f"{each}\n".encode() for each in range(written))
        assert peer.ask(Heartbeat()) == Done()
        status = peer.ask(Status())
        assert isinstance(status, StatusReport) and status.read_only
        with Peer(coordinator.endpoint, "reader", Actor.USER) as reader:
            assert isinstance(reader.open(), Opened)
            assert isinstance(reader.ask(Read("notes.md")), Document)
        ballast.unlink()
        healed = _until_writable(peer)
        again = peer.ask(Read("notes.md"))
        assert isinstance(again, Document)
        assert again.content == read.content + b"healed\n"
        assert healed.seq > status.seq
        assert coordinator.end() == 0


def _until_writable(peer: Peer) -> Committed:
    """Repeat one append, as a client would, until the disk was found to take writes again."""
    request = Transact((Append("notes.md", b"healed\n"),))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        reply = peer.ask(request)
        if isinstance(reply, Committed):
            return reply
        assert isinstance(reply, Refused) and reply.error.code is ErrorCode.READ_ONLY, reply
    raise AssertionError("the store did not become writable again")


@pytest.fixture
def failing_disk(tmp_path: Path) -> Generator[Path]:
    """An ext4 on an image whose own disk is too small: when that is full, every sync fails."""
    with mounted("tmpfs", "tmpfs", tmp_path / "below", "size=24m") as below:
        image = below / "disk.img"
        with image.open("xb") as file:
            file.truncate(512 << 20)
        run("mkfs.ext4", "-q", "-O", "^has_journal", str(image))
        with mounted("ext4", str(image), tmp_path / "disk", "loop,errors=continue") as disk:
            yield disk


def test_a_failed_sync_acknowledges_nothing_and_ends_the_process(
    failing_disk: Path, tmp_path: Path
) -> None:
    with running(failing_disk / "store") as coordinator, Peer(coordinator.endpoint) as peer:
        peer.opened()
        acknowledged = _write_until_it_dies(coordinator, peer)
        assert coordinator.process.wait(20) == EXIT_DISK_FAILED
        coordinator.end()
        # More room below: from now on syncs succeed, and the next start makes all durable anew.
        run("mount", "-o", "remount,size=800m", str(tmp_path / "below"))
        coordinator.start()
        peer.endpoint = coordinator.endpoint
        peer.connect()
        peer.opened()
        for number in range(acknowledged):
            read = peer.ask(Read(f"{number}.md"))
            assert isinstance(read, Document) and read.content == _text(number)


def _text(number: int) -> bytes:
    return f"{number}\n".encode() * 40_000


def _write_until_it_dies(coordinator: Coordinator, peer: Peer) -> int:
    """Return how many writes were acknowledged before the coordinator ended."""
    for number in range(400):
        peer.number += 1
        peer.send(Transact((Put(f"{number}.md", _text(number)),)))
        while not peer.socket.poll(20):
            if coordinator.process.poll() is not None:
                return number
        reply = peer.receive()
        assert isinstance(reply, Committed), reply
    raise AssertionError("the disk did not fail")
