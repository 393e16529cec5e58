"""Documents as files: whole at every instant, never outside the store, nothing foreign lost."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_trace_coordinator.core.records import content_digest
from agent_trace_coordinator.storage.base import ExpectedFile, FileUpdate, SetAside
from agent_trace_coordinator.storage.store import Store, create_store
from agent_trace_coordinator.storage.worktree import FileTree
from agent_trace_protocol import InvalidPath, TooLarge

LIMIT = 100


def open_tree(store: Store) -> FileTree:
    return FileTree(
        store.root,
        temporary=store.temporary,
        quarantine=store.quarantine,
        document_bytes_max=LIMIT,
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    root = tmp_path / "store"
    root.mkdir()
    create_store(root)
    return Store(root)


@pytest.fixture
def tree(store: Store) -> Iterator[FileTree]:
    tree = open_tree(store)
    yield tree
    tree.close()


def files(store: Store) -> dict[str, bytes]:
    return {
        str(path.relative_to(store.root)): path.read_bytes()
        for path in store.root.rglob("*")
        if path.is_file() and ".agent-trace" not in path.parts
    }


def quarantined(store: Store, kept: list[SetAside]) -> list[tuple[str, bytes]]:
    for each in kept:
        assert stat.S_IMODE((store.quarantine / each.kept_as).stat().st_mode) == 0o600
    assert sorted(os.listdir(store.quarantine)) == sorted(each.kept_as for each in kept)
    return [(each.path, (store.quarantine / each.kept_as).read_bytes()) for each in kept]


def expected(path: str, content: bytes, *earlier: bytes) -> ExpectedFile:
    digests = frozenset(content_digest(each) for each in earlier)
    return ExpectedFile(path, len(content), content_digest(content), digests)


def test_files_are_written_replaced_and_removed_with_their_directories(
    store: Store, tree: FileTree
) -> None:
    assert tree.apply([FileUpdate("a/b/c.md", b"1"), FileUpdate("d.md", b"")]) == []
    assert files(store) == {"a/b/c.md": b"1", "d.md": b""}
    assert tree.apply([FileUpdate("a/b/c.md", b"2"), FileUpdate("a/e.md", b"3")]) == []
    assert files(store) == {"a/b/c.md": b"2", "a/e.md": b"3", "d.md": b""}
    assert tree.apply([FileUpdate("a/b/c.md", None), FileUpdate("d.md", None)]) == []
    assert files(store) == {"a/e.md": b"3"}
    assert not (store.root / "a" / "b").exists()
    assert tree.apply([FileUpdate("a/e.md", None), FileUpdate("never/was.md", None)]) == []
    assert [path.name for path in store.root.iterdir()] == [".agent-trace"]
    assert os.listdir(store.temporary) == []


def test_a_file_that_was_judged_is_replaced_and_our_own_after_it_is_known(
    store: Store, tree: FileTree
) -> None:
    tree.apply([FileUpdate("a.md", b"one\n")])
    (store.root / "a.md").write_bytes(b"somebody's\n")
    (captured,) = tree.capture(["a.md"])

    assert tree.apply([FileUpdate("a.md", b"one\n", captured.signature)]) == []
    assert tree.apply([FileUpdate("a.md", b"two\n")]) == []
    # Brought back once more, after something newer of ours took its place.
    assert tree.apply([FileUpdate("a.md", b"three\n", captured.signature)]) == []
    assert tree.foreign(["a.md"]) == {}
    assert (store.root / "a.md").read_bytes() == b"three\n"


def test_modes_follow_the_umask(store: Store, tree: FileTree) -> None:
    before = os.umask(0o027)
    try:
        tree.apply([FileUpdate("a/b.md", b"1")])
    finally:
        os.umask(before)
    assert stat.S_IMODE((store.root / "a").stat().st_mode) == 0o750
    assert stat.S_IMODE((store.root / "a" / "b.md").stat().st_mode) == 0o640


def test_a_foreign_edit_between_two_writes_is_kept_before_it_is_replaced(
    store: Store, tree: FileTree
) -> None:
    tree.apply([FileUpdate("a.md", b"ours")])
    (store.root / "a.md").write_bytes(b"theirs, longer")
    kept = tree.apply([FileUpdate("a.md", b"new")])

    assert quarantined(store, kept) == [("a.md", b"theirs, longer")]
    assert kept[0].size == 14
    assert kept[0].kept_as.split("-", 1)[1] == (
        f"{content_digest(b'theirs, longer').hex()[:12]}-a.md"
    )
    assert files(store) == {"a.md": b"new"}


def test_a_file_put_there_by_rename_is_foreign_even_with_the_same_size(
    store: Store, tree: FileTree
) -> None:
    tree.apply([FileUpdate("a.md", b"ours")])
    (store.root / "b").write_bytes(b"them")
    (store.root / "b").replace(store.root / "a.md")

    kept = tree.apply([FileUpdate("a.md", None)])
    assert quarantined(store, kept) == [("a.md", b"them")]
    assert files(store) == {}


def test_what_holds_the_new_content_already_is_taken_as_ours(store: Store, tree: FileTree) -> None:
    (store.root / "a.md").write_bytes(b"same")
    inode = (store.root / "a.md").stat().st_ino

    assert tree.apply([FileUpdate("a.md", b"same")]) == []
    assert (store.root / "a.md").stat().st_ino == inode
    assert tree.apply([FileUpdate("a.md", b"next")]) == []


def test_equal_foreign_contents_are_kept_under_different_names(
    store: Store, tree: FileTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1_700_000_000_123_456_789)
    kept: list[SetAside] = []
    for _ in range(3):
        (store.root / "a.md").write_bytes(b"theirs")
        kept += tree.apply([FileUpdate("a.md", None)])

    name = f"1700000000123-{content_digest(b'theirs').hex()[:12]}-a.md"
    assert [each.kept_as for each in kept] == [name, f"{name}.2", f"{name}.3"]
    assert quarantined(store, kept) == [("a.md", b"theirs")] * 3


def test_a_foreign_file_over_the_limit_is_moved_to_the_quarantine(
    store: Store, tree: FileTree
) -> None:
    (store.root / "a.md").write_bytes(b"x" * (LIMIT + 1))
    inode = (store.root / "a.md").stat().st_ino
    kept = tree.apply([FileUpdate("a.md", b"new")])

    assert quarantined(store, kept) == [("a.md", b"x" * (LIMIT + 1))]
    assert (store.quarantine / kept[0].kept_as).stat().st_ino == inode
    assert files(store) == {"a.md": b"new"}


def test_a_symlink_at_a_document_is_replaced_and_its_target_untouched(
    store: Store, tree: FileTree, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (store.root / "a.md").symlink_to(secret)
    kept = tree.apply([FileUpdate("a.md", b"new")])

    assert quarantined(store, kept) == [("a.md", os.fsencode(secret))]
    assert secret.read_bytes() == b"secret"
    assert not (store.root / "a.md").is_symlink()
    assert files(store) == {"a.md": b"new"}


def test_a_symlinked_directory_is_never_written_through(
    store: Store, tree: FileTree, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "gone.md").write_bytes(b"stays")
    (store.root / "a").symlink_to(outside)

    assert tree.apply([FileUpdate("a/gone.md", None)]) == []
    kept = tree.apply([FileUpdate("a/b.md", b"new")])
    assert quarantined(store, kept) == [("a/b.md", os.fsencode(outside))]
    assert os.listdir(outside) == ["gone.md"]
    assert files(store) == {"a/b.md": b"new"}


def test_a_file_in_the_place_of_a_directory_is_kept_and_gives_way(
    store: Store, tree: FileTree
) -> None:
    (store.root / "a").write_bytes(b"a file")
    kept = tree.apply([FileUpdate("a/b.md", b"new")])

    assert quarantined(store, kept) == [("a/b.md", b"a file")]
    assert files(store) == {"a/b.md": b"new"}


def test_a_directory_in_the_place_of_a_document_is_kept_whole(store: Store, tree: FileTree) -> None:
    (store.root / "a.md").mkdir()
    assert tree.apply([FileUpdate("a.md", b"1")]) == []
    (store.root / "b.md" / "c").mkdir(parents=True)
    (store.root / "b.md" / "c" / "d").write_bytes(b"deep")
    assert tree.apply([FileUpdate("b.md", None)]) == []
    (kept,) = tree.apply([FileUpdate("b.md", b"2")])

    assert (store.quarantine / kept.kept_as / "c" / "d").read_bytes() == b"deep"
    assert files(store) == {"a.md": b"1", "b.md": b"2"}


def test_fifos_and_sockets_neither_hang_nor_survive(store: Store, tree: FileTree) -> None:
    os.mkfifo(store.root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(store.root / "socket"))
        assert tree.compare([expected("fifo", b""), expected("socket", b"")]) == ["fifo", "socket"]
        kept = tree.apply([FileUpdate("fifo", b"1"), FileUpdate("socket", b"2")])
    assert quarantined(store, kept) == [("fifo", b""), ("socket", b"")]
    assert files(store) == {"fifo": b"1", "socket": b"2"}


def test_a_failed_write_leaves_the_old_file_and_no_litter(
    store: Store, tree: FileTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.apply([FileUpdate("a.md", b"old")])
    real = os.write

    def fail(descriptor: int, data: memoryview) -> int:
        real(descriptor, data[:1])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        with pytest.raises(OSError, match="No space"):
            tree.apply([FileUpdate("a.md", b"new")])
    assert files(store) == {"a.md": b"old"}
    assert os.listdir(store.temporary) == []
    assert tree.apply([FileUpdate("a.md", b"new")]) == []


def test_foreign_content_that_can_not_be_kept_is_not_replaced(
    store: Store, tree: FileTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store.root / "a.md").write_bytes(b"theirs")

    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="Input/output"):
            tree.apply([FileUpdate("a.md", b"new")])
    assert files(store) == {"a.md": b"theirs"}


def test_compare_names_what_differs_and_knows_earlier_revisions_as_ours(
    store: Store, tree: FileTree
) -> None:
    for name, content in {"same": b"1", "old": b"2", "foreign": b"3", "d/same": b"5"}.items():
        path = store.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    (store.root / "link").symlink_to("same")
    (store.root / "large").write_bytes(b"x" * (LIMIT + 1))
    differing = tree.compare(
        [
            expected("same", b"1"),
            expected("old", b"new", b"0", b"2"),
            expected("foreign", b"new", b"2"),
            expected("missing", b"4"),
            expected("no/directory", b"4"),
            expected("same/file", b"4"),
            expected("d/same", b"5"),
            expected("link", b"1"),
            expected("large", b"1"),
        ]
    )

    assert differing == [
        "old",
        "foreign",
        "missing",
        "no/directory",
        "same/file",
        "link",
        "large",
    ]
    names = ["same", "old", "foreign", "d/same"]
    kept = tree.apply([FileUpdate(name, b"newest") for name in names])
    assert quarantined(store, kept) == [("foreign", b"3")]


def test_read_returns_regular_files_only(store: Store, tree: FileTree, tmp_path: Path) -> None:
    (store.root / "d").mkdir()
    (store.root / "d" / "a.md").write_bytes(b"x" * LIMIT)
    (store.root / "large").write_bytes(b"x" * (LIMIT + 1))
    (tmp_path / "outside.md").write_bytes(b"secret")
    (store.root / "link").symlink_to(tmp_path / "outside.md")
    (store.root / "up").symlink_to(tmp_path)
    os.mkfifo(store.root / "fifo")

    assert tree.read("d/a.md") == b"x" * LIMIT
    for path in ("missing", "d/missing", "no/where", "large/below"):
        assert tree.read(path) is None
    for path in ("link", "up/outside.md", "fifo", "d"):
        with pytest.raises(InvalidPath):
            tree.read(path)
    with pytest.raises(TooLarge, match="more than 100 bytes"):
        tree.read("large")


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../a", "a/../../b", "a//b", "./a", "a\0b", ".agent-trace/run/x"]
)
def test_a_path_that_is_no_document_path_touches_nothing(tree: FileTree, path: str) -> None:
    with pytest.raises(InvalidPath):
        tree.read(path)
    with pytest.raises(InvalidPath):
        tree.apply([FileUpdate(path, b"x")])
    with pytest.raises(InvalidPath):
        tree.apply([FileUpdate(path, None)])


def test_what_an_earlier_life_left_half_written_is_removed(store: Store) -> None:
    (store.temporary / "123-4").write_bytes(b"half")
    open_tree(store).close()
    assert os.listdir(store.temporary) == []


@pytest.mark.parametrize("swapped", ["directory", "document"])
def test_a_symlink_swapped_in_at_any_moment_never_leads_out_of_the_store(
    store: Store, tree: FileTree, tmp_path: Path, swapped: str
) -> None:
    """The one who swaps runs beside us; nothing may be written, read or removed outside."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "b.md").write_bytes(b"secret")
    place = store.root / "a" if swapped == "directory" else store.root / "a" / "b.md"
    target = outside if swapped == "directory" else outside / "b.md"
    tree.apply([FileUpdate("a/b.md", b"0")])
    done = threading.Event()
    swaps = 0

    def swap() -> None:
        nonlocal swaps
        link = tmp_path / "link"
        while not done.is_set():
            try:
                link.symlink_to(target)
                # In one step, so that there is no moment in which nothing lies there.
                if swapped == "directory":
                    place.rename(tmp_path / f"aside-{swaps}")
                link.rename(place)
                swaps += 1
            except OSError:
                link.unlink(missing_ok=True)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for number in range(400):
            with contextlib.suppress(OSError):
                tree.apply([FileUpdate("a/b.md", b"%d" % number)])
            if number % 4 == 0:
                # The other thread gets a turn while the directory is there, and takes many more
                # at moments of its own choice.
                done.wait(0.0005)
            with contextlib.suppress(OSError, InvalidPath):
                assert tree.read("a/b.md") != b"secret"
            for captured in tree.capture(["a/b.md"]):
                assert captured.content != b"secret"
            with contextlib.suppress(OSError):
                tree.apply([FileUpdate("a/b.md", None)])
    finally:
        done.set()
        thread.join()
    assert swaps > 0
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"b.md": b"secret"}


def test_what_others_did_to_files_is_told_from_what_we_did(store: Store, tree: FileTree) -> None:
    paths = ["a/b.md", "a/c.md", "d.md", "e/f.md"]
    tree.apply([FileUpdate(path, b"ours") for path in paths])
    assert tree.foreign(paths) == {}
    (store.root / "a" / "b.md").write_bytes(b"theirs")
    (store.root / "a" / "c.md").unlink()
    (store.root / "d.md").unlink()
    (store.root / "d.md").symlink_to("a/b.md")
    (store.root / "e").rename(store.root / "g")
    (store.root / "e").symlink_to("g")
    assert sorted(tree.foreign(paths)) == paths
    found = {each.path: each for each in tree.capture(paths)}
    assert found["a/b.md"].content == b"theirs"
    assert (found["a/c.md"].content, found["a/c.md"].problem) == (None, "")
    assert found["d.md"].problem and found["e/f.md"].problem
    tree.accept("a/b.md", found["a/b.md"].signature)
    assert sorted(tree.foreign(paths)) == ["a/c.md", "d.md", "e/f.md"]
    update = FileUpdate("a/b.md", b"new", found["a/b.md"].signature)
    assert tree.apply([update]) == []
