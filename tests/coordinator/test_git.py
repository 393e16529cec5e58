"""The git history: one commit per record, the same ids after every crash, nothing of ours lost."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent_trace_coordinator.core.records import (
    SessionClosed,
    SessionOpened,
)
from agent_trace_coordinator.errors import GitFailed
from agent_trace_coordinator.storage import git as git_module
from agent_trace_coordinator.storage import git_packs, git_process, git_recovery
from agent_trace_coordinator.storage.base import Entry
from agent_trace_coordinator.storage.git import GitHistory
from agent_trace_protocol import Action, SessionKind
from support.journal import entries, puts

Known = list[tuple[int, str]]


def run_git(
    root: Path, *arguments: str, directory: str = ".agent-trace/repo", input: str = ""
) -> str:
    environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", "HOME": "/nonexistent"}
    environment |= {"GIT_CONFIG_GLOBAL": "/dev/null"}
    for role in ("AUTHOR", "COMMITTER"):
        environment |= {f"GIT_{role}_NAME": "x", f"GIT_{role}_EMAIL": "x@x.invalid"}
    command = ["git", f"--git-dir={root / directory}", *arguments]
    done = subprocess.run(
        command, env=environment, capture_output=True, check=False, text=True, input=input
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".agent-trace").mkdir(mode=0o700)
    return tmp_path


OpenHistory = Callable[..., GitHistory]


@pytest.fixture
def open_history(root: Path) -> Iterator[OpenHistory]:
    opened: list[GitHistory] = []

    def make(known: Known | None = None) -> GitHistory:
        pairs: Known = [] if known is None else known
        history = GitHistory(root, known_commits=lambda: reversed(pairs))
        opened.append(history)
        return history

    yield make
    for history in opened:
        crash(history)


def crash(history: GitHistory) -> None:
    """Leave a history the way a killed coordinator does."""
    history._abandon()  # pyright: ignore[reportPrivateUsage]
    history._runner.close()  # pyright: ignore[reportPrivateUsage]


def child_of(history: GitHistory) -> int:
    pipe = history._import  # pyright: ignore[reportPrivateUsage]
    assert pipe is not None
    return pipe.process_id


def ref_of(root: Path) -> Path:
    return root / ".agent-trace" / "repo" / "refs" / "heads" / "main"


def test_each_record_is_a_commit_whose_tree_is_the_documents(
    root: Path, open_history: OpenHistory
) -> None:
    opened = SessionOpened(SessionKind.MCP, "editor", "", "host", 5, 6, "")
    journal = entries(
        [
            opened,
            [(Action.CREATE, "a b.md", "", b"one\n"), (Action.CREATE, 'd/"q"\xe9.md', "", b"")],
            [(Action.MOVE, "d/c.md", "a b.md", b"one\n")],
            [(Action.APPEND, "d/c.md", "", b"one\ncommit refs/heads/evil\ntwo\n")],
            [(Action.DELETE, 'd/"q"\xe9.md', "", b"")],
            SessionClosed("closed"),
        ]
    )
    history = open_history()
    assert history.start() == 0
    commits = history.commit(journal)
    history.checkpoint()

    assert [seq for seq, _ in commits] == [1, 2, 3, 4, 5, 6]
    assert run_git(root, "log", "--reverse", "--format=%H %an <%ae> %at %cn %s", "main") == "".join(
        f"{commit} planner <planner@agents.invalid> 1700000000 agent-trace {subject}\n"
        for (_, commit), subject in zip(
            commits,
            [
                "open session sess",
                'create 2 documents: a b.md@2, d/"q"\xe9.md@2',
                "move a b.md -> d/c.md@3 (+1 -0)",
                "append d/c.md@4 (+1 -0)",
                'delete d/"q"\xe9.md@5 (+1 -0)',
                "close session sess: closed",
            ],
            strict=True,
        )
    )
    assert run_git(root, "ls-tree", "-r", "--name-only", "main") == "d/c.md\n"
    assert run_git(root, "show", "main:d/c.md") == "one\ncommit refs/heads/evil\ntwo\n"
    assert run_git(root, "log", "-1", "--format=%(trailers:key=Seq,valueonly)") == "6\n\n"
    assert run_git(root, "for-each-ref", "--format=%(refname)") == "refs/heads/main\n"
    assert run_git(root, "fsck", "--full", "--strict") == ""


def test_a_clone_and_the_status_of_a_store_at_rest_are_clean(
    root: Path, open_history: OpenHistory, tmp_path: Path
) -> None:
    history = open_history()
    history.start()
    history.commit(entries([[(Action.CREATE, "a.md", "", b"one\n")]]))
    (root / "a.md").write_bytes(b"one\n")
    history.close()

    assert run_git(root, "-C", str(root), "status", "--porcelain") == ""
    assert run_git(root, "config", "core.worktree") == "../..\n"
    environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null"}
    clone = ["git", "clone", "-q", str(root / ".agent-trace" / "repo"), str(tmp_path / "clone")]
    subprocess.run(clone, env=environment, check=True)
    assert (tmp_path / "clone" / "a.md").read_bytes() == b"one\n"


def test_commits_go_on_after_a_restart(root: Path, open_history: OpenHistory) -> None:
    journal = puts(6)
    history = open_history()
    history.start()
    first = history.commit(journal[:3])
    history.close()

    history = open_history(first)
    assert history.start() == 3
    rest = history.commit(journal[3:])
    history.checkpoint()
    log = run_git(root, "log", "--reverse", "--format=%H", "main")
    assert log.split() == [commit for _, commit in first + rest]


def test_a_replay_after_any_crash_makes_the_same_ids(root: Path, open_history: OpenHistory) -> None:
    journal = puts(20)
    history = open_history()
    history.start()
    commits = history.commit(journal[:10])
    history.checkpoint()
    commits += history.commit(journal[10:])
    crash(history)

    history = open_history(commits[:10])
    assert history.start() == 10
    assert history.commit(journal[10:]) == commits[10:]
    history.checkpoint()
    assert run_git(root, "rev-parse", "main").strip() == commits[-1][1]
    assert run_git(root, "fsck") == ""


def test_the_ids_do_not_depend_on_batches_or_checkpoints(tmp_path: Path) -> None:
    journal = puts(9)
    results: list[list[tuple[int, str]]] = []
    for size in (1, 2, 9):
        root = tmp_path / str(size)
        (root / ".agent-trace").mkdir(parents=True)
        history = GitHistory(root)
        history.start()
        commits: list[tuple[int, str]] = []
        for begin in range(0, 9, size):
            commits += history.commit(journal[begin : begin + size])
            history.checkpoint()
        history.close()
        results.append(commits)
    assert results[0] == results[1] == results[2]


def test_a_killed_fast_import_is_reported_and_start_goes_on_from_the_checkpoint(
    root: Path, open_history: OpenHistory
) -> None:
    journal = puts(30)
    history = open_history()
    history.start()
    commits = history.commit(journal[:10])
    history.checkpoint()
    commits += history.commit(journal[10:20])
    os.kill(child_of(history), signal.SIGKILL)

    with pytest.raises(GitFailed, match="fast-import (ended|closed its input) with status -9"):
        history.commit(journal[20:])
    with pytest.raises(GitFailed, match="not started"):
        history.commit(journal[20:])
    assert history.start() == 10
    assert history.commit(journal[10:])[:10] == commits[10:]
    history.close()
    assert [name for name in os.listdir(packs_of(root)) if name.startswith("tmp")] == []
    assert run_git(root, "fsck") == ""


def packs_of(root: Path) -> Path:
    return root / ".agent-trace" / "repo" / "objects" / "pack"


def test_a_refusal_of_fast_import_is_quoted(open_history: OpenHistory) -> None:
    history = open_history()
    history.start()
    with pytest.raises(GitFailed, match=r"status 128: fatal: .*nowhere\.md"):
        history.commit(entries([[(Action.MOVE, "b.md", "nowhere.md", b"")]]))
    assert history.start() == 0
    assert len(history.commit(puts(1))) == 1


def test_an_entry_that_can_not_be_rendered_leaves_a_history_that_can_be_started_again(
    open_history: OpenHistory,
) -> None:
    history = open_history()
    history.start()
    history.commit(puts(1))
    history.checkpoint()
    broken = puts(2)[1]
    with pytest.raises(ValueError, match="lacks content"):
        history.commit([Entry(broken.record, broken.encoded, broken.chain, ())])
    assert history.start() == 1
    assert len(history.commit(puts(2)[1:])) == 1


def test_a_fast_import_that_hangs_is_killed(
    open_history: OpenHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = open_history()
    history.start()
    history.commit(puts(1))
    os.kill(child_of(history), signal.SIGSTOP)
    pipe = history._import  # pyright: ignore[reportPrivateUsage]
    # Only now: a process that is just starting may well take longer on a busy machine.
    monkeypatch.setattr(pipe, "_silence_ms", 50)
    with pytest.raises(GitFailed, match=r"was silent for 0\.05 seconds"):
        history.checkpoint()
    assert history.start() == 0


def test_more_than_any_pipe_holds_goes_through_in_one_batch(
    root: Path, open_history: OpenHistory
) -> None:
    big = os.urandom(3 * 1024 * 1024)
    journal = entries([[(Action.PUT, "big", "", big)] for _ in range(2)])
    history = open_history()
    history.start()
    assert len(history.commit(journal)) == 2
    history.close()
    assert int(run_git(root, "cat-file", "-s", "main:big")) == len(big)


def test_a_checkpoint_without_news_does_nothing(root: Path, open_history: OpenHistory) -> None:
    history = open_history()
    history.start()
    history.checkpoint()
    history.commit(puts(1))
    history.checkpoint()
    before = sorted(os.listdir(packs_of(root)))
    history.checkpoint()
    assert sorted(os.listdir(packs_of(root))) == before


def test_a_checkpoint_syncs_the_directories_that_git_does_not(
    root: Path, open_history: OpenHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = open_history()
    history.start()
    history.commit(puts(1))
    synced: set[str] = set()
    real = os.fsync

    def record(descriptor: int) -> None:
        synced.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    history.checkpoint()

    assert {str(packs_of(root)), str(ref_of(root).parent)} <= synced


@pytest.mark.parametrize("fails", ["pack", "heads"])
def test_packs_whose_sync_failed_are_made_again(
    root: Path, open_history: OpenHistory, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    journal = puts(4)
    history = open_history(known := [])
    history.start()
    known += history.commit(journal[:2])
    history.checkpoint()
    good = set(os.listdir(packs_of(root)))
    history.commit(journal[2:])

    def fail(path: Path) -> None:
        if path.name == fails:
            raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(git_recovery, "sync_directory", fail)
        with pytest.raises(GitFailed, match="can not be synced"):
            history.checkpoint()
    assert history.start() == 2
    packs = {name for name in os.listdir(packs_of(root)) if name.endswith(".pack")}
    assert packs == {name for name in good if name.endswith(".pack")}
    known += history.commit(journal[2:])
    history.close()
    assert run_git(root, "rev-parse", "main").strip() == known[-1][1]


@pytest.mark.parametrize("garbage", [b"", b"\0" * 41, b"ref: HEAD\n", b"1" * 40 + b"\n", b"main"])
def test_a_damaged_ref_is_set_to_the_newest_commit_the_journal_knows(
    root: Path, open_history: OpenHistory, garbage: bytes
) -> None:
    history = open_history()
    history.start()
    known = history.commit(puts(3))
    history.close()
    ref_of(root).write_bytes(garbage)

    missing = [*known, (4, "2" * 40), (5, "3" * 40)]
    assert open_history(missing).start() == 3
    assert ref_of(root).read_text() == f"{known[-1][1]}\n"


def test_a_damaged_ref_without_a_journal_means_that_all_is_replayed(
    root: Path, open_history: OpenHistory
) -> None:
    history = open_history()
    history.start()
    commits = history.commit(puts(3))
    history.close()
    run_git(root, "pack-refs", "--all")
    assert not ref_of(root).exists()
    history = open_history()
    assert history.start() == 3
    ref_of(root).write_bytes(b"")

    assert history.start() == 0
    assert history.commit(puts(3)) == commits
    history.checkpoint()


def test_a_branch_behind_what_the_journal_knows_is_brought_forward(
    root: Path, open_history: OpenHistory
) -> None:
    history = open_history()
    history.start()
    known = history.commit(puts(3))
    history.close()
    run_git(root, "update-ref", "refs/heads/main", known[0][1])
    assert open_history(known).start() == 3


def test_a_branch_ahead_of_what_the_journal_knows_is_kept_if_it_is_ours(
    root: Path, open_history: OpenHistory
) -> None:
    history = open_history()
    history.start()
    known = history.commit(puts(5))
    history.close()
    assert open_history(known[:2]).start() == 5


def test_a_foreign_commit_is_kept_aside_and_the_branch_restored(
    root: Path, open_history: OpenHistory
) -> None:
    history = open_history()
    history.start()
    known = history.commit(puts(3))
    history.close()
    foreign = run_git(root, "commit-tree", "-p", "main", "-m", "mine", "main^{tree}").strip()
    run_git(root, "update-ref", "refs/heads/main", foreign)

    history = open_history(known)
    assert history.start() == 3
    assert ref_of(root).read_text() == f"{known[-1][1]}\n"
    assert run_git(root, "rev-parse", f"refs/agent-trace/foreign/{foreign}").strip() == foreign


@pytest.mark.parametrize("known_count", [2, 3])
def test_a_commit_that_only_claims_to_be_ours_is_foreign(
    root: Path, open_history: OpenHistory, known_count: int
) -> None:
    history = open_history()
    history.start()
    known = history.commit(puts(3))
    history.close()
    message = run_git(root, "log", "-1", "--format=%B", "main").rstrip("\n")
    forged = run_git(root, "commit-tree", "-p", "main~2", "-m", message, "main~2^{tree}").strip()
    run_git(root, "update-ref", "refs/heads/main", forged)

    assert open_history(known[:known_count]).start() == known_count
    assert run_git(root, "rev-parse", f"refs/agent-trace/foreign/{forged}").strip() == forged


def test_a_branch_moved_by_somebody_else_is_noticed_at_the_checkpoint(
    root: Path, open_history: OpenHistory
) -> None:
    journal = puts(4)
    history = open_history(known := [])
    history.start()
    known += history.commit(journal[:2])
    history.checkpoint()
    foreign = run_git(root, "commit-tree", "-p", "main", "-m", "mine", "main^{tree}").strip()
    run_git(root, "update-ref", "refs/heads/main", foreign)
    rest = history.commit(journal[2:])
    with pytest.raises(GitFailed, match=f"the branch is at {foreign}"):
        history.checkpoint()

    assert history.start() == 2
    assert history.commit(journal[2:]) == rest
    history.checkpoint()
    assert run_git(root, "rev-parse", "main").strip() == rest[-1][1]


@pytest.mark.parametrize(
    "last",
    [
        [(Action.PUT, "d/1.md", "", b"other\n")],
        [(Action.CREATE, "e/new.md", "", b"new\n")],
        [(Action.DELETE, "d/1.md", "", b"")],
        [(Action.MOVE, "d/9.md", "d/1.md", b"one\n")],
        [(Action.DELETE, "d/1.md", "", b""), (Action.CREATE, "d/1.md/in.md", "", b"in\n")],
    ],
)
def test_a_commit_that_lacks_what_it_says_is_made_again(
    root: Path, open_history: OpenHistory, last: list[tuple[Action, str, str, bytes]]
) -> None:
    """A fast-import whose input failed inside a commit moves the branch to what it had of it."""
    journal = entries([[(Action.CREATE, "d/1.md", "", b"one\n")], SessionClosed("closed"), last])
    history = open_history()
    history.start()
    commits = history.commit(journal)
    history.close()
    history = open_history()
    assert history.start() == 3, "as it is it counts"
    history.close()
    raw = run_git(root, "cat-file", "commit", "main")
    tree = run_git(root, "rev-parse", "main^^{tree}").strip()
    cut = f"tree {tree}{raw[45:]}"
    id = run_git(root, "hash-object", "-t", "commit", "-w", "--stdin", input=cut).strip()
    ref_of(root).write_text(f"{id}\n", encoding="ascii")

    history = open_history(commits[:2])
    assert history.start() == 2
    assert history.commit(journal[2:]) == commits[2:]
    history.close()
    assert run_git(root, "rev-parse", "main").strip() == commits[2][1]


def test_what_was_durable_is_not_taken_back_because_nothing_can_be_read_for_a_while(
    root: Path, open_history: OpenHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = puts(3)
    history = open_history()
    history.start()
    commits = history.commit(journal)
    history.checkpoint()
    standing = ref_of(root).read_bytes()
    real_open = os.open

    def read_nothing(reader: git_process.ObjectReader, name: str) -> None:
        """Say that an object is missing."""

    def open_no_ref(path: object, flags: int, *rest: object, **named: object) -> int:
        if str(path).endswith("heads/main"):
            raise OSError(errno.EMFILE, "too many open files")
        return real_open(path, flags, *rest, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", open_no_ref)
        with pytest.raises(GitFailed, match="too many open files"):
            history.start()
    # Neither the life that made them durable nor the next one believes a git that finds nothing,
    # however often it says so: the packs are whole.
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(git_process.ObjectReader, "read", read_nothing)
            for _ in range(5):
                with pytest.raises(GitFailed, match=f"does not find {commits[2][1]}, which is in "):
                    history.start()
        assert ref_of(root).read_bytes() == standing
        assert history.start() == 3
        crash(history)
        history = open_history(commits)

    # Nor is a pack judged that can not be read itself.
    def read_no_pack(pack: Path) -> bytes:
        raise OSError(errno.EIO, "input/output error", str(pack))

    with monkeypatch.context() as patch:
        patch.setattr(git_process.ObjectReader, "read", read_nothing)
        patch.setattr(git_packs, "_checksum", read_no_pack)
        with pytest.raises(GitFailed, match="input/output error"):
            history.start()
    assert ref_of(root).read_bytes() == standing

    # What no whole pack has is lost, and made again.
    (pack,) = packs_of(root).glob("*.pack")
    pack.chmod(0o600)
    with pack.open("r+b") as file:
        file.truncate(pack.stat().st_size - 1)
    assert history.start() == 0
    assert history.commit(journal) == commits


def test_a_combined_index_that_leads_astray_is_forgotten(
    root: Path, open_history: OpenHistory
) -> None:
    history = open_history()
    history.start()
    commits = history.commit(puts(3))
    history.checkpoint()
    history.maintain()
    crash(history)
    (combined,) = packs_of(root).glob("multi-pack-index")
    combined.chmod(0o600)
    data = bytearray(combined.read_bytes())
    at = data.index(bytes.fromhex(commits[2][1]))
    data[at + 19] ^= 1
    combined.write_bytes(data)

    history = open_history(commits)
    with pytest.raises(GitFailed, match=f"does not find {commits[2][1]}, which is in "):
        history.start()
    assert history.start() == 3


def test_a_damaged_commit_is_never_built_upon(root: Path, open_history: OpenHistory) -> None:
    journal = puts(4)
    history = open_history(known := [])
    history.start()
    known += history.commit(journal[:2])
    history.checkpoint()
    before = set(os.listdir(packs_of(root)))
    known += history.commit(journal[2:])
    history.checkpoint()
    crash(history)
    (pack,) = (
        packs_of(root) / name
        for name in set(os.listdir(packs_of(root))) - before
        if name.endswith(".pack")
    )
    pack.chmod(0o600)
    data = bytearray(pack.read_bytes())
    for offset in range(12, len(data) - 20):
        data[offset] ^= 0x55
    pack.write_bytes(data)

    history = open_history(known)
    assert history.start() == 2
    assert ref_of(root).read_text() == f"{known[1][1]}\n"


def test_litter_of_killed_git_processes_is_removed(root: Path, open_history: OpenHistory) -> None:
    history = open_history()
    history.start()
    commits = history.commit(puts(2))
    history.checkpoint()
    # Killed, it leaves the `.keep` file that guards its pack.
    crash(history)
    repository = root / ".agent-trace" / "repo"
    outside = root / "outside.lock"
    outside.write_text("stays")
    for name in (
        "index.lock",
        "HEAD.lock",
        "config.lock",
        "refs/heads/main.lock",
        "objects/pack/tmp_pack_abc",
        "objects/pack/.tmp-12-pack-ab.pack",
        "fast_import_crash_12",
    ):
        (repository / name).write_text("x")
    (repository / "packed-refs.lock").symlink_to(outside)
    (repository / "linked").symlink_to(root)
    (repository / "HEAD").write_bytes(b"\0\0")

    assert open_history(commits).start() == 2
    left = [path.name for path in repository.rglob("*") if not path.is_dir()]
    assert not [name for name in left if name.endswith((".lock", ".keep"))]
    assert not [name for name in left if name.startswith(("tmp_", ".tmp", "fast_import_crash"))]
    assert outside.read_text() == "stays"
    assert (repository / "HEAD").read_text() == "ref: refs/heads/main\n"


@pytest.mark.parametrize("config", [b"", b"\0\0\0", b"[core\n", b"[core]\n\thooksPath = /tmp\n"])
def test_a_damaged_or_edited_configuration_is_written_again(
    root: Path, open_history: OpenHistory, config: bytes
) -> None:
    history = open_history()
    history.start()
    commits = history.commit(puts(1))
    history.close()
    path = root / ".agent-trace" / "repo" / "config"
    wanted = path.read_bytes()
    path.write_bytes(config)

    assert open_history(commits).start() == 1
    assert path.read_bytes() == wanted


def test_a_half_made_repository_is_made_again(root: Path, open_history: OpenHistory) -> None:
    (root / ".agent-trace" / "repo.new" / "objects").mkdir(parents=True)
    assert open_history().start() == 0
    assert not (root / ".agent-trace" / "repo.new").exists()


def test_the_environment_of_the_coordinator_does_not_reach_git(
    root: Path, open_history: OpenHistory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'core.fsync'='none'")
    history = open_history()
    history.start()
    history.commit(puts(1))
    history.checkpoint()
    # Not the store's root either, where agents write.
    assert os.readlink(f"/proc/{child_of(history)}/cwd") == str(root / ".agent-trace" / "repo")
    environment = Path(f"/proc/{child_of(history)}/environ").read_bytes()
    names = {pair.split(b"=")[0] for pair in environment.split(b"\0") if pair}
    constant = {name for name in names if not name.startswith(b"GIT_CONFIG_")}

    assert constant == {
        b"PATH",
        b"HOME",
        b"LC_ALL",
        b"MALLOC_TRIM_THRESHOLD_",
        b"TZ",
        b"GIT_ATTR_NOSYSTEM",
        b"GIT_TERMINAL_PROMPT",
        b"GIT_OPTIONAL_LOCKS",
        b"GIT_NO_REPLACE_OBJECTS",
        b"GIT_LITERAL_PATHSPECS",
    }
    assert b"GIT_CONFIG_PARAMETERS" not in names
    assert not (tmp_path / "elsewhere").exists()


def test_an_orphan_of_a_killed_coordinator_is_ended_before_anything_is_repaired(
    root: Path, open_history: OpenHistory
) -> None:
    history = open_history()
    history.start()
    lock = root / ".agent-trace" / "repo" / "git.pid"
    program = "import sys; print('ready', flush=True); sys.stdin.read()"
    pipe = subprocess.PIPE
    crash(history)
    with lock.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with subprocess.Popen(
            ["python3", "-c", program],
            stdin=pipe,
            stdout=pipe,
            pass_fds=[file.fileno()],
            start_new_session=True,
        ) as orphan:
            file.truncate(0)
            file.write(b"%d" % orphan.pid)
            file.close()
            assert orphan.stdout is not None
            assert orphan.stdout.readline() == b"ready\n"
            assert open_history().start() == 0
            assert orphan.wait() == -signal.SIGKILL


def test_the_orphans_to_end_are_all_on_record(root: Path, open_history: OpenHistory) -> None:
    history = open_history()
    history.start()
    history.commit(puts(1))
    history.checkpoint()
    history.refresh_index()
    lock = root / ".agent-trace" / "repo" / "git.pid"
    assert lock.read_text().split() == [str(child_of(history))]


def test_a_git_that_can_not_be_put_on_record_is_ended_and_keeps_no_other_from_starting(
    open_history: OpenHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = open_history()
    history.start()

    def full(descriptor: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises((OSError, GitFailed)):
            history.start()
            history.commit(puts(1))
    assert history.start() == 0
    history.commit(puts(1))
    history.checkpoint()


def test_fast_import_is_renewed_after_its_bounds(
    root: Path, open_history: OpenHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_module, "CHECKPOINTS_MAX", 2)
    journal = puts(5)
    history = open_history()
    history.start()
    children: list[int] = []
    for entry in journal:
        history.commit([entry])
        children.append(child_of(history))
        history.checkpoint()
    assert children[0] == children[1] != children[2] == children[3] != children[4]
    assert run_git(root, "rev-list", "--count", "main") == "5\n"


def test_maintenance_combines_packs_and_changes_no_commit(
    root: Path, open_history: OpenHistory
) -> None:
    journal = puts(41)
    history = open_history()
    history.start()
    commits: list[tuple[int, str]] = []
    for begin in range(0, 40, 4):
        commits += history.commit(journal[begin : begin + 4])
        history.checkpoint()
    assert history.statistics().packs == 10
    line = history.maintain()

    after = history.statistics()
    assert line.startswith(f"10 packs to {after.packs}, ")
    assert after.packs <= 3
    assert (after.head, after.seq, after.commits) == (commits[-1][1], 40, 40)
    commits += history.commit(journal[40:])
    history.close()
    log = run_git(root, "log", "--reverse", "--format=%H", "main")
    assert log.split() == [commit for _, commit in commits]
    assert run_git(root, "fsck", "--full") == ""
    assert run_git(root, "commit-graph", "verify") == ""


def test_maintenance_of_an_empty_history_does_nothing_and_a_closed_one_refuses(
    open_history: OpenHistory,
) -> None:
    history = open_history()
    with pytest.raises(GitFailed, match="not started"):
        history.maintain()
    history.start()
    assert history.maintain().startswith("0 packs to 0, ")
    history.close()
    with pytest.raises(GitFailed, match="not started"):
        history.commit(puts(1))


def test_a_store_whose_path_looks_like_a_variable_or_an_option_works(tmp_path: Path) -> None:
    root = tmp_path / "-$HOME ~ %n"
    (root / ".agent-trace").mkdir(parents=True)
    history = GitHistory(root)
    assert history.start() == 0
    history.commit(puts(1))
    history.close()
    assert run_git(root, "rev-list", "--count", "main") == "1\n"


def test_a_machine_without_git_is_told_so(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitFailed, match="git is not installed"):
        GitHistory(root)
