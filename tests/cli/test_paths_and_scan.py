"""Paths as people type them, files that become documents, and keys that are kept."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from agent_trace.cli.face import Face
from agent_trace.cli.kept import open_kept
from agent_trace.cli.revisions import split_revision
from agent_trace.client import new_key
from agent_trace.config import Identity
from agent_trace.scanning import Found, Skipped, guess_type, scan
from agent_trace_protocol import Actor, AgentName, DocumentType, InvalidPath
from agent_trace_protocol.layout import CONFIG_FILE, SESSIONS_DIRECTORY


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("AGENT_TRACE_STORE", raising=False)
    store = tmp_path / "store"
    (store / CONFIG_FILE).parent.mkdir(parents=True)
    (store / CONFIG_FILE).touch()
    (store / "notes" / "deep").mkdir(parents=True)
    return store.resolve()


@pytest.mark.parametrize(
    ("here", "argument", "path"),
    [
        (".", "plan.md", "plan.md"),
        (".", "./notes/../plan.md", "plan.md"),
        ("notes/deep", "idea.md", "notes/deep/idea.md"),
        ("notes/deep", "../../plan.md", "plan.md"),
        ("notes", "deep/", "notes/deep"),
        ("..", "plan.md", "plan.md"),
        ("notes/deep", ":/plan.md", "plan.md"),
        (".", ":/notes/idea.md", "notes/idea.md"),
    ],
)
def test_a_path_is_meant_from_where_one_stands(
    root: Path, monkeypatch: pytest.MonkeyPatch, here: str, argument: str, path: str
) -> None:
    monkeypatch.chdir(root / here)
    assert Face(store=str(root)).document_path(argument) == path


@pytest.mark.parametrize("here", [".", "notes", "notes/deep", ".."])
@pytest.mark.parametrize("path", ["plan.md", "notes/idea.md", "notes/deep/**", "other/*.md"])
def test_what_is_shown_is_what_may_be_typed(
    root: Path, monkeypatch: pytest.MonkeyPatch, here: str, path: str
) -> None:
    monkeypatch.chdir(root / here)
    face = Face(store=str(root))
    assert face.document_path(face.path_here(path)) == path


def test_a_refused_path_is_shown_as_it_was_named(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root / "notes")
    face = Face(store=str(root))
    assert [face.path_here(each) for each in ("../x", "/etc/passwd", "a/../b", "")] == [
        "../x",
        "/etc/passwd",
        "a/../b",
        "",
    ]


def test_a_path_behind_the_root_sign_can_not_leave_the_store(root: Path) -> None:
    with pytest.raises(InvalidPath, match="outside of the store"):
        Face(store=str(root)).document_path(":/../secret")


def test_an_absolute_path_in_the_store_is_understood(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root / "notes")
    assert Face().document_path(str(root / "a" / "b.md")) == "a/b.md"


@pytest.mark.parametrize("argument", ["../../x", "/etc/passwd", "../../../../..", "..", "."])
def test_a_path_outside_of_the_store_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch, argument: str
) -> None:
    monkeypatch.chdir(root / "notes")
    if argument in {"..", "."}:
        monkeypatch.chdir(root if argument == "." else root / "notes")
    with pytest.raises(InvalidPath):
        Face().document_path(argument)


def test_a_symbolic_link_is_left_for_the_coordinator_to_refuse(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "link").symlink_to("/etc")
    monkeypatch.chdir(root)
    assert Face().document_path("link/passwd") == "link/passwd"


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("plan.md", ("plan.md", None)),
        ("plan.md@3", ("plan.md", 3)),
        ("a@b", ("a@b", None)),
        ("a@1@2", ("a@1", 2)),
        ("@3", ("@3", None)),
    ],
)
def test_a_revision_stands_behind_the_last_at_sign(
    argument: str, expected: tuple[str, int | None]
) -> None:
    assert split_revision(argument) == expected


@pytest.mark.parametrize(
    ("path", "head", "kind"),
    [
        ("README.md", "", DocumentType.REFERENCE),
        ("docs/design.md", "", DocumentType.REFERENCE),
        ("docs/plan.md", "", DocumentType.PLAN),
        ("a/ROADMAP.txt", "", DocumentType.PLAN),
        ("todo-later.md", "", DocumentType.PLAN),
        ("ideas.md", "", DocumentType.SCRATCH),
        ("ideas.md", "---\ntitle: x\ntype: 'plan'\n---\n", DocumentType.PLAN),
        ("plan.md", "---\ntype: scratch\n---\n", DocumentType.SCRATCH),
        ("ideas.md", "---\ntype: context\n---\n", DocumentType.SCRATCH),
        ("ideas.md", "---\ntype: plan\n", DocumentType.SCRATCH),
        ("ideas.md", "text\ntype: plan\n---\n", DocumentType.SCRATCH),
    ],
)
def test_a_type_is_guessed_from_front_matter_and_then_from_the_name(
    path: str, head: str, kind: DocumentType
) -> None:
    assert guess_type(path, head)[0] is kind


def test_a_scan_finds_documents_and_says_what_it_skips(root: Path) -> None:
    for path in (
        *("plan.md", "notes/a.txt", "notes/b.py", ".hidden/x.md", "node_modules/p/README.md"),
        *("context.md", "notes/context.md", ".dot.md", "own-env/pyvenv.cfg", "own-env/x.md"),
        *("inner/.agent-trace/config.toml", "inner/x.md", "bad:name.md"),
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x", encoding="utf-8")
    (root / "large.md").write_text("x" * 11, encoding="utf-8")
    (root / "binary.md").write_bytes(b"a\0b")
    (root / "latin.md").write_bytes(b"caf\xe9")
    (root / "link.md").symlink_to("plan.md")
    os.mkfifo(root / "pipe.md")
    found = list(scan(root, 10))
    assert [each for each in found if isinstance(each, Found)] == [
        Found("plan.md", DocumentType.PLAN, 1, "name"),
        Found("notes/a.txt", DocumentType.SCRATCH, 1, "nothing else fits"),
        Found("notes/context.md", DocumentType.SCRATCH, 1, "nothing else fits"),
    ]
    assert [(each.path, each.reason) for each in found if isinstance(each, Skipped)] == [
        ("bad:name.md", "'bad:name.md' holds ':', which some systems do not allow"),
        ("binary.md", "binary (it holds NUL) at byte 1"),
        ("large.md", "11 bytes; the limit is 10"),
        ("latin.md", "not UTF-8 text at byte 3"),
        ("link.md", "not a regular file"),
        ("pipe.md", "not a regular file"),
    ]


_PLANNER = Identity(Actor.AGENT, AgentName("planner"))


def test_a_kept_key_comes_back_and_only_its_owner_can_read_it(root: Path) -> None:
    key = new_key()
    with open_kept(root, _PLANNER) as kept:
        assert kept is None
    with open_kept(root, _PLANNER, create=True) as kept:
        assert kept is not None
        assert kept.key is None
        kept.keep(key)
    path = root / SESSIONS_DIRECTORY / "planner.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with open_kept(root, _PLANNER) as kept:
        assert kept is not None
        assert kept.key == key
        kept.remove()
        kept.remove()
    assert not path.exists()


def test_a_user_and_an_agent_of_one_name_have_keys_of_their_own(root: Path) -> None:
    with open_kept(root, _PLANNER, create=True) as kept:
        assert kept is not None
        kept.keep(new_key())
    with open_kept(root, Identity(Actor.USER, AgentName("planner"))) as kept:
        assert kept is None


@pytest.mark.parametrize("text", ["", "{", '{"key": "AAAA"}', '{"key": 1}', "[" * 3000])
def test_a_damaged_key_is_no_key(root: Path, text: str) -> None:
    with open_kept(root, _PLANNER, create=True):
        pass
    (root / SESSIONS_DIRECTORY / "planner.json").write_text(text, encoding="utf-8")
    with open_kept(root, _PLANNER) as kept:
        assert kept is not None
        assert kept.key is None
