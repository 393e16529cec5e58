"""Settings: described once, documented from there, and changed without harm to the rest."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from agent_trace_coordinator.cli import main
from agent_trace_coordinator.storage.settings import FIXED, as_toml, settings
from agent_trace_coordinator.storage.store import (
    Store,
    StoreConfig,
    create_store,
    load_config,
    open_store,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"

HEAD = """\
# Settings of a store

They lie in `.agent-trace/config.toml`, which a person edits; `agent-trace config set NAME VALUE`
does so without touching its other lines. The coordinator reads them when it starts, and does not
start with settings that are not valid: it names the line. `agent-trace config check` says whether
they are, `config ls` and `config get NAME` what they are.

This page is made from the program: run `tests/coordinator/test_config.py` with `--regenerate`.

| setting | default | may be | what it is for |
| --- | --- | --- | --- |
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    create_store(tmp_path)
    return open_store(tmp_path)


def run(store: Store, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["config", *arguments, "--store", str(store.root)])


def test_every_setting_is_described_with_its_default() -> None:
    fields = {field.name: field.default for field in msgspec.structs.fields(StoreConfig)}
    assert {each.name: each.default for each in settings()} == fields
    assert all(each.about and each.allowed for each in settings())


def test_the_documentation_names_every_setting(regenerate: bool) -> None:
    rows = "".join(
        f"| `{each.name}` | `{as_toml(each.default)}` | {each.allowed} | {each.about} |\n"
        for each in settings()
    )
    if regenerate:
        DOCUMENT.write_text(HEAD + rows, encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == HEAD + rows


@pytest.mark.parametrize("name", [each.name for each in settings() if each.name not in FIXED])
def test_setting_a_default_changes_no_value(store: Store, name: str) -> None:
    default = getattr(StoreConfig(), name)
    given = default if isinstance(default, str) else as_toml(default)
    result = run(store, "set", name, given)
    assert (result.exit_code, result.stdout) == (0, f"{name} = {as_toml(default)}\n")
    assert load_config(store) == StoreConfig()
    assert f"\n{name} = " in store.config.read_text("utf-8")


def test_a_setting_is_changed_in_its_place_and_again(store: Store) -> None:
    before = store.config.read_text("utf-8").splitlines()
    assert run(store, "set", "leases", "enforced").exit_code == 0
    assert run(store, "set", "idle_seconds", "60").exit_code == 0
    assert run(store, "set", "idle_seconds", "61.5").exit_code == 0
    after = store.config.read_text("utf-8").splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [
        ("# idle_seconds = 900.0", "idle_seconds = 61.5"),
        ('# leases = "advisory"', 'leases = "enforced"'),
    ]
    assert load_config(store) == StoreConfig(leases="enforced", idle_seconds=61.5)
    assert run(store, "get", "leases").stdout == '"enforced"\n'
    listed = run(store, "ls").stdout.splitlines()
    assert [line for line in listed if line.startswith("*")] == [
        "* idle_seconds = 61.5",
        '* leases = "enforced"',
    ]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("leases", "perhaps", 'leases is a "advisory" or "enforced", not'),
        ("idle_seconds", "soon", "idle_seconds is a number from 0"),
        ("idle_seconds", "-1", "idle_seconds is a number from 0"),
        ("stale_seconds", "1", "must be at least twice"),
        ("format_version", "2", "can not be set"),
        ("idle_second", "2", "did you mean idle_seconds?"),
    ],
)
def test_what_can_not_be_is_refused_and_nothing_is_changed(
    store: Store, name: str, value: str, says: str
) -> None:
    before = store.config.read_bytes()
    result = run(store, "set", name, value)
    assert (result.exit_code, result.stdout) == (1, "")
    assert says in result.stderr
    assert store.config.read_bytes() == before


def test_a_file_that_is_written_in_another_way_is_left_to_its_writer(store: Store) -> None:
    text = 'format_version = 1\nsynthesis_url = """\nleases = x\n"""\n'
    store.config.write_text(text, encoding="utf-8")
    result = run(store, "set", "leases", "enforced")
    assert (result.exit_code, "by hand" in result.stderr) == (1, True)
    assert store.config.read_text("utf-8") == text


def test_check_says_what_is_wrong(store: Store) -> None:
    assert run(store, "check").stdout == f"{store.config} is valid\n"
    store.config.write_text("format_version = 1\nidle = 3\n", encoding="utf-8")
    result = run(store, "check", "--json")
    assert result.exit_code == 1
    assert "there is no setting 'idle'" in json.loads(result.stderr)["error"]["message"]
