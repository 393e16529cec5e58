"""Making, opening and configuring a store's directory."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from agent_trace_coordinator.errors import StoreInvalid
from agent_trace_coordinator.storage import store as store_module
from agent_trace_coordinator.storage.store import (
    Store,
    StoreConfig,
    create_store,
    load_config,
    open_store,
)


def test_a_new_store_is_private_and_complete(tmp_path: Path) -> None:
    create_store(tmp_path)
    store = open_store(tmp_path)

    made = {
        str(path.relative_to(tmp_path)): oct(stat.S_IMODE(path.stat().st_mode))
        for path in tmp_path.rglob("*")
        if path.is_dir()
    }
    assert made == {
        ".agent-trace": "0o700",
        ".agent-trace/run": "0o700",
        ".agent-trace/run/tmp": "0o700",
        ".agent-trace/locks": "0o700",
        ".agent-trace/drafts": "0o700",
        ".agent-trace/quarantine": "0o700",
        ".agent-trace/keys": "0o700",
    }
    assert store.root == tmp_path
    assert store.lock == tmp_path / ".agent-trace/run/coordinator.lock"
    assert load_config(store) == StoreConfig()


def test_the_written_settings_explain_every_setting_with_its_default(tmp_path: Path) -> None:
    create_store(tmp_path)
    config = Store(tmp_path).config
    text = config.read_text(encoding="utf-8")

    config.write_text(re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE), encoding="utf-8")
    assert load_config(Store(tmp_path)) == StoreConfig()
    for field in StoreConfig.__struct_fields__:
        assert len(re.findall(rf"^(?:# )?{field} = ", text, re.MULTILINE)) == 1


def test_a_store_is_made_once(tmp_path: Path) -> None:
    create_store(tmp_path)
    with pytest.raises(StoreInvalid, match="is a store already"):
        create_store(tmp_path)


def test_what_an_interrupted_making_left_is_no_store_and_the_next_one_finishes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def fail(path: Path, data: bytes) -> None:
        raise OSError("cut")

    with monkeypatch.context() as patch:
        patch.setattr(store_module, "write_file", fail)
        with pytest.raises(StoreInvalid, match="can not be made a store: cut"):
            create_store(tmp_path)
    with pytest.raises(StoreInvalid, match="never finished"):
        open_store(tmp_path)
    create_store(tmp_path)
    assert open_store(tmp_path).root == tmp_path


def test_a_store_below_a_store_must_be_asked_for(tmp_path: Path) -> None:
    create_store(tmp_path)
    below = tmp_path / "notes"
    below.mkdir()
    with pytest.raises(StoreInvalid, match=f"inside the store {re.escape(str(tmp_path))}"):
        create_store(below)
    create_store(below, nested=True)
    with pytest.raises(StoreInvalid, match=r"inside a \.agent-trace directory"):
        create_store(tmp_path / ".agent-trace" / "run", nested=True)


def test_what_is_no_store_is_refused_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(StoreInvalid, match="`agent-trace init` makes it one"):
        open_store(tmp_path)
    with pytest.raises(StoreInvalid, match="can not be opened"):
        open_store(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(StoreInvalid, match="is not a directory"):
        open_store(tmp_path / "file")
    (tmp_path / ".agent-trace").symlink_to(tmp_path)
    with pytest.raises(StoreInvalid, match="move it out of the way"):
        open_store(tmp_path)


def test_a_store_open_to_others_is_closed_with_a_warning(tmp_path: Path) -> None:
    create_store(tmp_path)
    directory = tmp_path / ".agent-trace"
    directory.chmod(0o755)
    warnings = open_store(tmp_path).warnings

    assert f"{directory} was open to others (mode 755); it is private again" in warnings
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_empty_directories_that_a_copy_lost_are_made_again(tmp_path: Path) -> None:
    create_store(tmp_path)
    (tmp_path / ".agent-trace" / "quarantine").rmdir()
    assert open_store(tmp_path).quarantine.is_dir()


def test_a_store_of_somebody_else_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_store(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(StoreInvalid, match="run the coordinator as its owner"):
        open_store(tmp_path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("format_version = 3\nnew_thing = 1", "format 3, this program knows 2; upgrade"),
        ("format_version = '1'", "format_version must be a number"),
        ("", "format_version must be a number, not None"),
        ("format_version = 1\nstale_second = 3", "'stale_second'; did you mean stale_seconds"),
        ("format_version = 1\nzzz = 3", "there is no setting 'zzz'"),
        ("format_version = 1\ndocument_bytes_max = 99999999", "`document_bytes_max`"),
        ("format_version = 1\ndocument_bytes_max = '1 MiB'", "`document_bytes_max`"),
        ("format_version = 1\nidle_seconds = nan", "`idle_seconds`"),
        ("format_version = 1\nstale_seconds = 3", "at least twice heartbeat_seconds"),
        ("format_version =", "is not valid TOML"),
        ("# " + "x" * 70_000, "is larger than"),
    ],
)
def test_a_wrong_setting_is_refused_naming_the_file(
    tmp_path: Path, text: str, complaint: str
) -> None:
    create_store(tmp_path)
    config = Store(tmp_path).config
    config.write_text(text, encoding="utf-8")
    with pytest.raises(StoreInvalid) as refused:
        open_store(tmp_path)
    assert str(config) in str(refused.value)
    assert complaint in str(refused.value)


def test_settings_that_are_given_are_used(tmp_path: Path) -> None:
    create_store(tmp_path)
    text = "format_version = 2\nidle_seconds = 0\ndocument_bytes_max = 4096\n"
    Store(tmp_path).config.write_text(text, encoding="utf-8")
    assert load_config(Store(tmp_path)) == StoreConfig(idle_seconds=0.0, document_bytes_max=4096)


def test_file_systems_that_do_not_keep_their_word_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_store(tmp_path)
    kinds = iter(["nfs4", "tmpfs", "fuse.sshfs", "ext4"])

    def next_kind(_root: Path) -> str:
        return next(kinds)

    monkeypatch.setattr(store_module, "_file_system_of", next_kind)
    found = [open_store(tmp_path).warnings for _ in range(4)]

    assert [len(warnings) for warnings in found] == [1, 1, 1, 0]
    assert "is on nfs4: locks and syncs may not hold there" in found[0][0]
    assert "is on tmpfs: it is gone" in found[1][0]
