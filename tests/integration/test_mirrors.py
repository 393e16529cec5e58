"""Mirrors: real bare repositories, reached and not, never overwritten."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent_trace_coordinator.errors import StoreInvalid
from agent_trace_coordinator.repair.mirrors import (
    add_mirror,
    mirror_states,
    push_all,
    remove_mirror,
)
from agent_trace_coordinator.storage.mirror_push import check_address
from agent_trace_coordinator.storage.store import Store
from agent_trace_protocol import Durability, Put, Status, StatusReport
from crash.repository import commit_ids, run_git
from support.coordinator import Peer, running

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("mirrored") / "store"
    with running(root) as coordinator, Peer(coordinator.endpoint).opened() as peer:
        for number in range(20):
            peer.do(Put(f"{number}.md", b"text\n" * number))
        peer.do(Put("last.md", b"text\n"), durability=Durability.GIT)
    return Store(root)


@pytest.fixture(autouse=True)
def _forget(store: Store) -> None:
    for state in mirror_states(store):
        remove_mirror(store, state.url)
    (store.run / "mirrors.json").unlink(missing_ok=True)


def bare(path: Path) -> str:
    run_git("init", "-q", "--bare", str(path))
    return f"file://{path}"


def test_a_mirror_gets_the_history_and_then_what_is_new(store: Store, tmp_path: Path) -> None:
    url = bare(tmp_path / "mirror.git")
    add_mirror(store, url)
    (state,) = push_all(store, now=True)
    ids = commit_ids(store.repo)
    assert (state.seq, state.failure, state.commit) == (len(ids), "", ids[-1])
    assert commit_ids(tmp_path / "mirror.git") == ids
    # Nothing is new: the remote is not even asked.
    (tmp_path / "mirror.git").rename(tmp_path / "away.git")
    assert push_all(store, now=True) == [state]


def test_a_mirror_that_is_away_is_told_of_and_tried_later(store: Store, tmp_path: Path) -> None:
    url = f"file://{tmp_path / 'mirror.git'}"
    add_mirror(store, url)
    (first,) = push_all(store, now=True)
    assert first.seq == 0 and "does not appear to be a git repository" in first.failure
    (waiting,) = push_all(store, now=False)
    assert waiting == first
    (second,) = push_all(store, now=True)
    assert second.failures == 2 and second.next_ms > first.next_ms
    bare(tmp_path / "mirror.git")
    (done,) = push_all(store, now=True)
    assert (done.failure, done.failures, done.next_ms) == ("", 0, 0)
    assert commit_ids(tmp_path / "mirror.git") == commit_ids(store.repo)


def test_what_a_mirror_has_and_we_do_not_is_not_overwritten(store: Store, tmp_path: Path) -> None:
    url = bare(tmp_path / "mirror.git")
    tree = run_git(f"--git-dir={tmp_path / 'mirror.git'}", "mktree").decode().strip()
    identity = {"GIT_AUTHOR_NAME": "mia", "GIT_AUTHOR_EMAIL": "mia@users.invalid"}
    identity |= {key.replace("AUTHOR", "COMMITTER"): value for key, value in identity.items()}
    git = ["git", f"--git-dir={tmp_path / 'mirror.git'}"]
    made = subprocess.run(
        [*git, "commit-tree", "-m", "mine", tree],
        env=os.environ | identity,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    run_git(f"--git-dir={tmp_path / 'mirror.git'}", "update-ref", "refs/heads/main", made)
    add_mirror(store, url)
    (state,) = push_all(store, now=True)
    assert "nothing was overwritten" in state.failure
    assert commit_ids(tmp_path / "mirror.git") == [made]


def test_a_push_that_is_killed_leaves_the_mirror_whole(store: Store, tmp_path: Path) -> None:
    url = bare(tmp_path / "mirror.git")
    hook = tmp_path / "mirror.git" / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    # It says that it was reached, and then waits until it is killed.
    hook.write_text(f"#!/bin/sh\necho > {tmp_path}/fifo\nexec sleep 60\n", encoding="ascii")
    hook.chmod(0o755)
    os.mkfifo(tmp_path / "fifo")
    add_mirror(store, url)
    command = [sys.executable, "-m", "agent_trace_coordinator", "mirror", "push", "--json"]
    process = subprocess.Popen(
        [*command, "--store", str(store.root)], start_new_session=True, stdout=subprocess.DEVNULL
    )
    (tmp_path / "fifo").read_bytes()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert commit_ids(tmp_path / "mirror.git") == []
    hook.unlink()
    (state,) = push_all(store, now=True)
    assert state.failure == ""
    assert commit_ids(tmp_path / "mirror.git") == commit_ids(store.repo)


def test_a_running_coordinator_pushes_by_itself_and_says_how_far(
    store: Store, tmp_path: Path
) -> None:
    add_mirror(store, bare(tmp_path / "mirror.git"))
    with running(store.root) as coordinator, Peer(coordinator.endpoint, "ben").opened() as peer:
        # Whoever waits for the mirror waits for its hook, not for a time.
        os.mkfifo(tmp_path / "fifo")
        hook = tmp_path / "mirror.git" / "hooks" / "post-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\necho > {tmp_path}/fifo\n", encoding="ascii")
        hook.chmod(0o755)
        (tmp_path / "fifo").read_bytes()
        report = peer.ask(Status())
        assert isinstance(report, StatusReport)
        assert [each.url for each in report.mirrors] == [f"file://{tmp_path / 'mirror.git'}"]
    assert commit_ids(tmp_path / "mirror.git")[:22] == commit_ids(store.repo)[:22]


def test_a_coordinator_that_leaves_pushes_what_is_left(tmp_path: Path) -> None:
    url = bare(tmp_path / "mirror.git")
    root = tmp_path / "store"
    with running(root) as coordinator, Peer(coordinator.endpoint).opened() as peer:
        add_mirror(Store(root), url)
        peer.do(Put("a.md", b"last words\n"))
        assert coordinator.end() == 0
    ids = commit_ids(Store(root).repo)
    assert commit_ids(tmp_path / "mirror.git") == ids
    (state,) = mirror_states(Store(root))
    assert (state.seq, state.failure) == (len(ids), "")


def test_a_coordinator_that_leaves_does_not_wait_for_a_mirror_that_has_failed(
    tmp_path: Path,
) -> None:
    root = tmp_path / "store"
    with running(root) as coordinator, Peer(coordinator.endpoint).opened() as peer:
        add_mirror(Store(root), f"file://{tmp_path / 'nowhere.git'}")
        peer.do(Put("a.md", b"text\n"), durability=Durability.GIT)
        (failed,) = push_all(Store(root), now=True)
        assert coordinator.end() == 0
    assert mirror_states(Store(root)) == [failed]


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c id",
        "--upload-pack=id",
        "-oProxyCommand=id",
        "ssh://-oProxyCommand=id/x",
        "ssh://host",
        "ssh://mia@-host/x",
        "http://host/x",
        "git://host/x",
        "https://mia:secret@host/x",
        "https://mia@host/x",
        "host:path",
        "/srv/mirror.git",
        "file://host/x",
        "file:///a b",
        "file:///a\nb",
        "",
        "https://host/" + "x" * 1000,
        "file:///srv/\u202egit.a",
    ],
)
def test_what_can_be_no_mirror_is_refused(store: Store, url: str) -> None:
    with pytest.raises(StoreInvalid):
        add_mirror(store, url)
    assert mirror_states(store) == []


def test_the_forms_that_are_taken() -> None:
    for url in ("file:///srv/a.git", "ssh://git@host:22/a.git", "https://host.example/a/b.git"):
        assert check_address(url) == url
