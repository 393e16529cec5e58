"""The spool as a hostile client sees it: nothing in it is believed, and nothing of it spreads."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from agent_trace.errors import ConnectionLost
from agent_trace.transport.spool import SpoolTransport, is_served
from agent_trace_coordinator.server import spool_directory
from agent_trace_coordinator.server.spool_directory import SpoolDirectory, is_spool_peer
from agent_trace_protocol.spool import FILE_BYTES_MAX, pack

NAME = "0" * 31 + "1"
MESSAGE = [b"envelope", b"body"]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def spool(tmp_path: Path, clock: Clock) -> SpoolDirectory:
    (tmp_path / "tmp").mkdir()
    opened = SpoolDirectory(tmp_path / "spool", tmp_path / "tmp", clock=clock)
    opened.open()
    return opened


@pytest.fixture
def connection(tmp_path: Path, spool: SpoolDirectory) -> Path:
    """A connection that somebody makes by hand, without a bell."""
    directory = tmp_path / "spool" / NAME
    directory.mkdir(mode=0o700)
    return directory


def take(spool: SpoolDirectory) -> list[list[bytes]]:
    return [frames for _, frames in spool.turn((), taking=True)]


def test_messages_are_taken_once_in_order_and_a_gap_is_waited_for(
    spool: SpoolDirectory, connection: Path
) -> None:
    for number in (1, 3):
        (connection / f"q.{number}").write_bytes(pack([b"%d" % number, b""]))
    assert take(spool) == [[b"1", b""]]
    assert take(spool) == []
    (connection / "q.2").write_bytes(pack([b"2", b""]))
    assert take(spool) == [[b"2", b""], [b"3", b""]]
    assert list(connection.iterdir()) == []


def make_link(path: Path) -> None:
    target = path.parent.parent.parent / "secret"
    target.write_bytes(pack(MESSAGE))
    path.symlink_to(target)


def make_hard_link(path: Path) -> None:
    target = path.parent.parent.parent / "secret"
    target.write_bytes(pack(MESSAGE))
    os.link(target, path)


def make_huge(path: Path) -> None:
    path.write_bytes(b"")
    os.truncate(path, FILE_BYTES_MAX + 1)


def make_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


HOSTILE: dict[str, Callable[[Path], object]] = {
    "a symbolic link": make_link,
    "a second name of another file": make_hard_link,
    "a named pipe": lambda path: os.mkfifo(path),
    "a directory": Path.mkdir,
    "a socket": make_socket,
    "a huge file": make_huge,
    "no message": lambda path: path.write_bytes(b"\xff" * 100),
    "an empty file": Path.touch,
    "too many frames": lambda path: path.write_bytes(pack([b""] * 9)),
    "frames that are no bytes": lambda path: path.write_bytes(b"\x91\x01"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_request_that_is_no_plain_message_costs_its_connection_and_nothing_else(
    spool: SpoolDirectory, connection: Path, tmp_path: Path, what: str
) -> None:
    HOSTILE[what](connection / "q.1")
    other = tmp_path / "spool" / NAME[::-1]
    other.mkdir(mode=0o700)
    (other / "q.1").write_bytes(pack(MESSAGE))
    assert take(spool) == [MESSAGE]
    assert not connection.exists()
    secret = tmp_path / "secret"
    assert not secret.exists() or secret.read_bytes() == pack(MESSAGE)


def test_an_answer_never_leaves_the_directory_of_its_connection(
    spool: SpoolDirectory, connection: Path, tmp_path: Path
) -> None:
    (connection / "q.1").write_bytes(pack(MESSAGE))
    ((peer, _),) = spool.turn((), taking=True)
    assert is_spool_peer(peer)
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    for name in ("a.1", "a.new"):
        (connection / name).symlink_to(outside)
    # The directory itself is swapped for a link as well: the one that was opened counts.
    moved = tmp_path / "moved"
    connection.rename(moved)
    connection.symlink_to(tmp_path)
    spool.turn([(peer, [b"answer"])], taking=False)
    assert outside.read_bytes() == b"mine"
    assert (moved / "a.1").read_bytes() == pack([b"answer"])
    assert not (moved / "a.1").is_symlink()


def test_an_answer_that_can_not_be_written_ends_the_connection(
    spool: SpoolDirectory, connection: Path
) -> None:
    (connection / "q.1").write_bytes(pack(MESSAGE))
    ((peer, _),) = spool.turn((), taking=True)
    (connection / "a.1").mkdir()
    spool.turn([(peer, [b"answer"])], taking=False)
    assert not connection.exists()
    spool.turn([(peer, [b"answer"])], taking=False)
    assert spool.dropped_count == 1


@pytest.mark.parametrize("kind", ["open to others", "a link", "a file"])
def test_what_is_no_private_directory_is_no_connection(
    spool: SpoolDirectory, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "spool" / NAME
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    (target / "q.1").write_bytes(pack(MESSAGE))
    if kind == "a link":
        path.symlink_to(target)
    elif kind == "a file":
        path.touch()
    else:
        target.rename(path)
        path.chmod(0o750)
    assert take(spool) == []
    # It stands in nobody's way; what it leads to is nobody's business here.
    assert os.path.lexists(path) is (kind == "open to others")
    assert target.exists() is (kind != "open to others")


def test_what_is_none_of_a_client_s_keeps_nobody_waiting(
    spool: SpoolDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_directory, "ENTRIES_MAX", 3)
    outside = tmp_path / "outside"
    outside.mkdir()
    for number in range(4):
        (tmp_path / "spool" / f"file {number}").touch()
        (tmp_path / "spool" / f"{number:032x}").touch()
        (tmp_path / "spool" / f"link {number}").symlink_to(outside)
        (tmp_path / "spool" / f"directory {number}" / "deep").mkdir(parents=True)
    directory = tmp_path / "spool" / NAME[::-1]
    directory.mkdir(mode=0o700)
    (directory / "q.1").write_bytes(pack(MESSAGE))
    # In whatever order the file system lists them.
    assert [found for _ in range(7) for found in take(spool)] == [MESSAGE]
    assert sorted(each.name for each in (tmp_path / "spool").iterdir()) == [NAME[::-1], "bell"]
    assert outside.exists()


def test_a_bell_that_is_no_pipe_ends_the_connection(
    spool: SpoolDirectory, connection: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    (connection / "bell").symlink_to(outside)
    (connection / "q.1").write_bytes(pack(MESSAGE))
    assert take(spool) == [MESSAGE]
    assert take(spool) == []
    assert not connection.exists()
    assert outside.read_bytes() == b"mine"


async def test_a_client_that_is_gone_is_heard_out_and_cleaned_up(
    spool: SpoolDirectory, tmp_path: Path
) -> None:
    client = SpoolTransport(tmp_path / "spool")
    client.send_nowait(b"last", b"words")
    assert take(spool) == [[b"last", b"words"]]
    client.send_nowait(b"very last", b"words")
    (directory,) = [each for each in (tmp_path / "spool").iterdir() if each.is_dir()]
    kept = directory.with_name("f" * 32)
    # As if it was killed: nothing tidies up, but the kernel closes what it had open.
    directory.rename(kept)
    client.close()
    kept.rename(directory)
    (directory / "q.2").write_bytes(pack([b"very last", b"words"]))
    assert take(spool) == [[b"very last", b"words"]]
    assert take(spool) == []
    assert not directory.exists()


def test_a_client_without_a_bell_is_gone_when_it_was_silent_for_long(
    spool: SpoolDirectory, connection: Path, clock: Clock
) -> None:
    assert take(spool) == []
    clock.now += spool_directory.QUIET_SECONDS_MAX - 1
    (connection / "q.1").write_bytes(pack(MESSAGE))
    assert take(spool) == [MESSAGE]
    clock.now += spool_directory.QUIET_SECONDS_MAX - 1
    assert take(spool) == []
    assert connection.exists()
    clock.now += 2
    assert take(spool) == []
    assert not connection.exists()


async def test_connections_are_bounded_and_the_next_one_waits_for_a_place(
    spool: SpoolDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_directory, "CONNECTIONS_MAX", 1)
    clients = [SpoolTransport(tmp_path / "spool") for _ in range(2)]
    for client in clients:
        client.send_nowait(b"a", b"b")
    assert take(spool) == [[b"a", b"b"]]
    assert take(spool) == []
    for client in clients:
        client.close()


def test_what_one_turn_takes_is_bounded_and_everybody_comes_to_it(
    spool: SpoolDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_directory, "TURN_BYTES_MAX", 10)
    for connection in range(3):
        directory = tmp_path / "spool" / f"{connection:032x}"
        directory.mkdir(mode=0o700)
        for number in range(1, 4):
            body = b"%d.%d" % (connection, number)
            (directory / f"q.{number}").write_bytes(pack([b"12345678", body]))
    turns = [take(spool) for _ in range(9)]
    assert [len(turn) for turn in turns] == [1] * 9
    # Each of three turns that follow each other begins with another connection.
    assert {turn[0][1].partition(b".")[0] for turn in turns[:3]} == {b"0", b"1", b"2"}


def test_answers_that_nobody_reads_are_bounded(
    spool: SpoolDirectory, connection: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_directory, "UNREAD_MESSAGES_MAX", 2)
    (connection / "q.1").write_bytes(pack(MESSAGE))
    ((peer, _),) = spool.turn((), taking=True)
    spool.turn([(peer, [b"%d" % each]) for each in range(4)], taking=False)
    assert sorted(each.name for each in connection.iterdir()) == ["a.1", "a.2"]
    assert spool.dropped_count == 2
    (connection / "a.1").unlink()
    spool.turn([(peer, [b"next"])], taking=False)
    assert (connection / "a.3").read_bytes() == pack([b"next"])


def test_a_coordinator_begins_with_an_empty_spool_whatever_lies_there(
    tmp_path: Path, spool: SpoolDirectory, connection: Path
) -> None:
    deep = connection
    for _ in range(20):
        deep = deep / "d"
        deep.mkdir()
    (connection / "out").symlink_to(tmp_path)
    later = SpoolDirectory(tmp_path / "spool", tmp_path / "tmp")
    later.open()
    assert later.turn((), taking=True) == []
    assert [each.name for each in (tmp_path / "spool").iterdir()] == ["bell"]
    assert list((tmp_path / "tmp").iterdir()) == []
    later.close()
    assert not (tmp_path / "spool").exists()


def test_a_spool_that_is_a_link_is_replaced_and_its_target_left_alone(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    target = tmp_path / "target"
    target.mkdir()
    (target / "file").touch()
    (tmp_path / "spool").symlink_to(target)
    opened = SpoolDirectory(tmp_path / "spool", tmp_path / "tmp")
    opened.open()
    opened.turn((), taking=True)
    assert not (tmp_path / "spool").is_symlink()
    assert [each.name for each in target.iterdir()] == ["file"]
    opened.close()


async def test_a_client_finds_nobody_when_nobody_hears_the_bell(
    tmp_path: Path, spool: SpoolDirectory
) -> None:
    path = tmp_path / "spool"
    assert is_served(path)
    assert not is_served(tmp_path / "nowhere")
    spool.close()
    path.mkdir()
    os.mkfifo(path / "bell")
    assert not is_served(path)
    with pytest.raises(ConnectionLost, match="no coordinator looks into it"):
        SpoolTransport(path)


async def test_without_named_pipes_both_sides_look_from_time_to_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "no named pipes here")

    monkeypatch.setattr(os, "mkfifo", refuse)
    (tmp_path / "tmp").mkdir()
    opened = SpoolDirectory(tmp_path / "spool", tmp_path / "tmp")
    opened.open()
    assert opened.bell == -1
    client = SpoolTransport(tmp_path / "spool")
    client.send_nowait(b"a", b"b")
    ((peer, frames),) = opened.turn((), taking=True)
    assert frames == [b"a", b"b"]
    opened.turn([(peer, [b"c"])], taking=False)
    got: list[list[bytes]] = []

    def deliver(message: Sequence[bytes]) -> None:
        got.append(list(message))
        opened.close()
        client.close()

    with pytest.raises(ConnectionLost):
        await client.run(deliver)
    assert got == [[b"c"]]
