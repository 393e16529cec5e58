"""Whoever may write into the store's own git directory must not get anything run by us.

An agent in a sandbox may be able to write there and nothing else, while the coordinator runs
outside of it. So every setting of git that names a program is planted, with every hook, attributes,
and variables that git heeds; then everything that we do with git is done, and nothing of it runs.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from agent_trace_coordinator.errors import GitFailed
from agent_trace_coordinator.storage.bundle import bundle_history
from agent_trace_coordinator.storage.mirror_push import push
from agent_trace_protocol import Durability, Log, LogPage, Put
from support.coordinator import Peer, running

pytestmark = pytest.mark.integration

HOOKS = (
    *("pre-commit", "post-commit", "pre-push", "post-checkout", "reference-transaction"),
    *("post-index-change", "pre-auto-gc", "post-rewrite", "pre-receive", "update", "post-update"),
    *("proc-receive", "fsmonitor-watchman", "push-to-checkout"),
)


def settings(program: Path) -> str:
    """Return a configuration in which each setting that names a program names this one."""
    return f"""
[core]
    fsmonitor = {program}
    hooksPath = {program.parent}
    sshCommand = {program}
    askPass = {program}
    gitProxy = {program}
    editor = {program}
    pager = {program}
    alternateRefsCommand = {program}
    attributesFile = {program.parent}/attributes
[credential]
    helper = !{program}
[diff]
    external = {program}
[diff "evil"]
    command = {program}
    textconv = {program}
[filter "evil"]
    clean = {program}
    smudge = {program}
    process = {program}
    required = true
[merge "evil"]
    driver = {program} %A
[gpg]
    program = {program}
[gpg "ssh"]
    program = {program}
[commit]
    gpgSign = true
[push]
    gpgSign = if-asked
[remote "mirror"]
    receivepack = {program}
    uploadpack = {program}
    pushurl = ext::{program}
[url "ext::{program} "]
    insteadOf = file://
[alias]
    fast-import = !{program}
    push = !{program}
    cat-file = !{program}
[uploadpack]
    packObjectsHook = {program}
[include]
    path = {program.parent}/more
[maintenance]
    auto = true
[gc]
    auto = 1
    recentObjectsHook = {program}
[trailer "evil"]
    command = {program}
[interactive]
    diffFilter = {program}
[init]
    templateDir = {program.parent}
"""


def plant(root: Path, bait: Path) -> Path:
    """Put everything into a store's git directory that could run a program; return its mark."""
    mark = bait / "ran"
    program = bait / "program"
    program.write_text(f'#!/bin/sh\necho "$0 $*" >> {mark}\n')
    program.chmod(0o755)
    repo = root / ".agent-trace/repo"
    with (repo / "config").open("a") as config:
        config.write(settings(program))
    (repo / "config.worktree").write_text(settings(program))
    (bait / "more").write_text(f"[core]\n\tsshCommand = {program}\n")
    (bait / "attributes").write_text("* filter=evil diff=evil merge=evil\n")
    (repo / "info/attributes").write_text("* filter=evil diff=evil merge=evil\n")
    (root / ".gitattributes").write_text("* filter=evil diff=evil merge=evil\n")
    (repo / "hooks").mkdir(exist_ok=True)
    for name in HOOKS:
        for directory in (repo / "hooks", bait):
            hook = directory / name
            hook.write_text(program.read_text())
            hook.chmod(0o755)
    return mark


def test_nothing_planted_in_the_git_directory_or_the_environment_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, bait, remote = tmp_path / "store", tmp_path / "bait", tmp_path / "remote.git"
    bait.mkdir()
    subprocess.run(["git", "init", "-q", "--bare", str(remote)], check=True)
    with running(root) as served, Peer(served.endpoint) as planner:
        planner.opened().do(Put("plan.md", b"one\n"), durability=Durability.GIT)
        served.end()
    mark = plant(root, bait)
    program = bait / "program"
    for name in (
        *("GIT_SSH_COMMAND", "GIT_SSH", "GIT_ASKPASS", "SSH_ASKPASS", "GIT_EXTERNAL_DIFF"),
        *("GIT_PROXY_COMMAND", "GIT_EDITOR", "GIT_PAGER", "PAGER", "EDITOR"),
    ):
        monkeypatch.setenv(name, str(program))
    monkeypatch.setenv("GIT_EXEC_PATH", str(bait))
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(bait))
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", f"'core.fsmonitor={program}'")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(bait))
    monkeypatch.setenv("HOME", str(bait))
    (bait / ".gitconfig").write_text(settings(program))
    (bait / "git").mkdir()
    (bait / "git/config").write_text(settings(program))
    repo = root / ".agent-trace/repo"
    with running(root) as served, Peer(served.endpoint, "coder") as coder:
        coder.opened().do(Put("plan.md", b"two\n"), durability=Durability.GIT)
        assert isinstance(coder.ask(Log()), LogPage)
        # A start puts the configuration right; whoever planted it plants it again.
        assert str(program) not in (repo / "config").read_text()
        plant(root, bait)
        coder.do(Put("plan.md", b"three\n"), durability=Durability.GIT)
        assert bundle_history(repo, tmp_path / "bundle")
        try:
            push(repo, f"file://{remote}")
        except GitFailed as error:
            # It may well refuse; it may not run anything.
            assert "program" not in error.message or "never" in error.message, error
    assert not mark.exists(), mark.read_text()


def test_the_planted_program_would_run(tmp_path: Path) -> None:
    """The bait is good: git as people start it falls for it."""
    repo = tmp_path / "store/.agent-trace/repo"
    (tmp_path / "bait").mkdir()
    subprocess.run(["git", "init", "-q", "--bare", str(repo)], check=True)
    (repo / "info").mkdir(exist_ok=True)
    mark = plant(tmp_path / "store", tmp_path / "bait")
    subprocess.run(
        ["git", f"--git-dir={repo}", "fetch", "-q", "mirror"],
        check=False,
        timeout=20,
        capture_output=True,
    )
    subprocess.run(
        ["git", f"--git-dir={repo}", "push", "-q", f"file://{repo}", "HEAD"],
        check=False,
        timeout=20,
        capture_output=True,
    )
    subprocess.run(
        ["git", f"--git-dir={repo}", f"--work-tree={tmp_path}", "status"],
        check=False,
        timeout=20,
        capture_output=True,
    )
    assert mark.exists()
