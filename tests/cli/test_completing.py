"""What a shell completes: by the program, and by the key itself in each shell that is there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import termios
import time
from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest
from click.shell_completion import ShellComplete

from agent_trace import connect_sync
from agent_trace.cli.completing import VARIABLE
from agent_trace.cli.face import Face
from agent_trace.cli.main import cli
from support.coordinator import running

pytestmark = pytest.mark.integration

PATIENCE_SECONDS: Final = 20

BIN: Final = Path(sys.executable).parent


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """A store that nobody serves any more."""
    root = tmp_path_factory.mktemp("completing") / "s"
    with running(root) as coordinator:
        with connect_sync(root, user="ada") as ada:
            ada.write("plan.md", "- [ ] one\n", type="plan")
            ada.write("reference.md", "so it is\n", type="reference")
            ada.write("notes/first of all, too.md", "hello there\n")
        ben(root, 0, "connect")
        ben(root, 0, "write", "notes/second.md")
        ben(root, 0, "lease", "acquire", "notes/**")
        ben(root, 1, "write", "plan.md", "--if-revision", "0")
        ben(root, 1, "write", "reference.md")
        wait_for(root / ".agent-trace/manifest.toml", "second.md")
        wait_for(root / ".agent-trace/locks/agent-lock.toml", '"notes/**"')
        coordinator.end()
    yield root
    # The shells' own commands started another one.
    subprocess.run([BIN / "agent-trace", "stop"], cwd=root, check=True, capture_output=True)


def ben(root: Path, code: int, *arguments: str) -> None:
    command = [str(BIN / "agent-trace"), *arguments, "--agent", "ben"]
    done = subprocess.run(
        command, cwd=root, input=b"hello\n", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert done.returncode == code, done.stderr


def wait_for(file: Path, text: str) -> None:
    """Wait until the mirror, which follows within a second, shows something."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while text not in (file.read_text(encoding="utf-8") if file.exists() else ""):
        assert time.monotonic() < give_up_at
        select.select([], [], [], 0.05)


def completions(directory: Path, *words: str, shell: str = "zsh") -> list[str]:
    """Return the values that the program proposes for the last of the words."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        patch.setenv(VARIABLE, f"{shell}_complete")
        asked = ShellComplete(cli, {"obj": Face()}, "agent-trace", VARIABLE)
        return [each.value for each in asked.get_completions(list(words[:-1]), words[-1])]


def test_documents_names_and_ids_are_proposed_though_nobody_serves_the_store(store: Path) -> None:
    assert completions(store, "read", "notes/") == ["notes/first of all, too.md", "notes/second.md"]
    assert completions(store, "read", ":/pl", shell="bash") == [":/plan.md"]
    assert completions(store, "edit", "pla") == ["plan.md"]
    assert completions(store, "reclassify", "plan.md", "pl") == ["plan"]
    assert "ben" in completions(store, "log", "--agent", "")
    assert completions(store, "--agent", "b") == ["ben"]
    (lease, *_) = completions(store, "lease", "release", "")
    assert lease.isdecimal()
    assert completions(store, "lease", "release", "n") == ["notes/**"]
    assert all(each.startswith("draft-") for each in completions(store, "drafts", "show", ""))
    assert len(completions(store, "drafts", "show", "")) == 1
    assert len(completions(store, "violations", "apply", "violation-")) == 1
    assert any(len(each) == 26 for each in completions(store, "sessions", "show", ""))
    assert not (store / ".agent-trace/run/endpoint.json").exists(), "nobody was started"


def test_paths_are_proposed_as_they_are_typed_where_one_is(store: Path) -> None:
    below = store / "notes"
    assert completions(below, "read", "s") == ["second.md"]
    assert completions(below, "read", "./s") == ["./second.md"]
    assert completions(below, "read", "../p") == ["../plan.md"]
    assert completions(store, "read", "notes/f", shell="bash") == [
        "notes/first\\ of\\ all,\\ too.md"
    ]


@pytest.mark.parametrize("manifest", [b"", b"\xff[[document]]\npath = 7\n", None])
def test_whatever_is_wrong_nothing_is_said(manifest: bytes | None, tmp_path: Path) -> None:
    assert completions(tmp_path, "read", "p") == []
    (tmp_path / ".agent-trace").mkdir()
    (tmp_path / ".agent-trace/config.toml").touch()
    if manifest is not None:
        (tmp_path / ".agent-trace/manifest.toml").write_bytes(manifest)
    assert completions(tmp_path, "read", "p") == []
    assert completions(tmp_path, "drafts", "show", "d") == []


# ---- the shells themselves -------------------------------------------------------------------

SHELLS: Final = {
    "bash": (["--noprofile", "--norc", "-i"], 'eval "$(agent-trace completion bash)"'),
    "zsh": (
        ["-f", "-i"],
        'autoload -Uz compinit; compinit -u -D; eval "$(agent-trace completion zsh)"',
    ),
    "fish": (["--no-config", "-i"], "agent-trace completion fish | source"),
}


class Terminal:
    """A shell at a terminal of its own."""

    def __init__(self, shell: str, arguments: list[str], directory: Path) -> None:
        self.master, slave = pty.openpty()
        environment = {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(directory.parent),
            "TERM": "dumb",
            "LANG": "C.UTF-8",
        }
        self.process = subprocess.Popen(
            [shell, *arguments],
            cwd=directory,
            env=environment,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.said = ""

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def wait_for(self, pattern: str) -> str:
        """Return what matches in the output, and forget the output up to there."""
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while (match := re.search(pattern, self.said)) is None:
            left = give_up_at - time.monotonic()
            readable, _, _ = select.select([self.master], [], [], max(left, 0))
            assert readable, f"{pattern!r} was not said: {self.said!r}"
            self.said += os.read(self.master, 65536).decode(errors="replace")
        self.said = self.said[match.end() :]
        return match[0]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_the_path_of_a_document(shell: str, store: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    arguments, setting_up = SHELLS[shell]
    terminal = Terminal(shell, arguments, store)
    try:
        terminal.type(f"{setting_up}; echo re''ady\r")
        terminal.wait_for(r"\bready\r?\n")
        # The rest of the name is never typed; the shell has to quote its blanks.
        terminal.type("agent-trace read notes/f\t")
        terminal.wait_for(r"of.{1,3}all,.{1,3}too\.md")
        terminal.type("\r")
        terminal.wait_for("hello there")
    finally:
        terminal.close()
