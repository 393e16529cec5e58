"""Setting agent hosts up: what is written, that nothing is lost, and that it can be undone."""

from __future__ import annotations

import os
import re
import stat
import sys
import tomllib
from pathlib import Path

import pytest

from agent_trace.hosts import HOSTS, Done, Host, Scope, marked, plan, plan_removal
from agent_trace.hosts.jsonc import Document, Json
from agent_trace_protocol import InvalidRequest

PROGRAM = "/opt/bin/agent-trace"
SCOPES = [
    pytest.param(HOSTS[host], scope, id=f"{host}-{scope.value}")
    for host in HOSTS
    for scope in Scope
    if HOSTS[host].servers.path(scope, Path("/project")) is not None
]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of nobody, in which no host's program is found."""
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "CLAUDE_CONFIG_DIR", "CODEX_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", [sys.argv[0]])
    monkeypatch.setattr(sys, "executable", "/opt/python")
    return home


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    directory.mkdir()
    return directory


def own_program(tmp_path: Path, name: str, script: str) -> None:
    path = tmp_path / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def contents(*directories: Path) -> dict[Path, bytes]:
    """Return all files, but for what setup keeps for itself."""
    return {
        path: path.read_bytes()
        for directory in directories
        for path in directory.rglob("*")
        if path.is_file() and "before-setup" not in path.parts
    }


def server(host: Host, scope: Scope, project: Path) -> object:
    path = host.servers.path(scope, project)
    assert path is not None
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".toml":
        return tomllib.loads(text)[host.key]["agent-trace"]
    return Document(text).get((host.key, "agent-trace"))


@pytest.mark.parametrize(("host", "scope"), SCOPES)
def test_a_host_is_set_up_twice_as_once_and_removed_without_a_trace(
    host: Host, scope: Scope, home: Path, project: Path
) -> None:
    made = plan(
        host, scope, project, instructions=host.instructions.path(scope, project) is not None
    )
    assert set(made.state()) == {Done.TO_DO}
    assert set(made.carry_out()) == {Done.WRITTEN}
    once = contents(home, project)
    assert set(made.state()) == {Done.NOTHING}
    assert set(made.carry_out()) == {Done.NOTHING}
    assert contents(home, project) == once
    assert len(once) == len({step.path for step in made.steps})
    removed = plan_removal(host, scope, project).carry_out()
    assert Done.WRITTEN in removed
    assert contents(home, project) == {}


@pytest.mark.parametrize(("host", "scope"), SCOPES)
def test_what_a_file_held_before_is_there_after_setup_and_exactly_after_removal(
    host: Host, scope: Scope, home: Path, project: Path
) -> None:
    texts: dict[Path, str] = {}
    made = plan(
        host, scope, project, instructions=host.instructions.path(scope, project) is not None
    )
    for step in made.steps:
        if step.path.suffix == ".toml":
            text = '# mine\nmodel = "x"  # fast\n\n[mcp_servers.other]\ncommand = "y"\n'
        elif step.path.suffix == ".md":
            text = "# Rules\n\nBe kind.\n"
        else:
            text = (
                '{\n\t// mine\n\t"version": 1,\n\t"hooks": {\n'
                '\t\t"SessionStart": [{"hooks": [{"command": "x"}]}],\n\t},\n}\n'
            )
        texts[step.path] = text
        step.path.parent.mkdir(parents=True, exist_ok=True)
        step.path.write_text(text, encoding="utf-8")
        step.path.chmod(0o600)
    made.carry_out()
    for path, text in texts.items():
        now = path.read_text(encoding="utf-8")
        assert set(re.findall(r"\w+", text)) <= set(re.findall(r"\w+", now))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        # Somebody goes on with the file; then only what is ours may go.
        path.write_text(now + "\n", encoding="utf-8")
    plan_removal(host, scope, project).carry_out()
    for path, text in texts.items():
        assert path.read_text(encoding="utf-8") == text + "\n"
    made.carry_out()
    plan_removal(host, scope, project).carry_out()
    for path, text in texts.items():
        assert path.read_text(encoding="utf-8") == text + "\n"


def test_entries_say_how_the_gateway_is_started(tmp_path: Path, home: Path, project: Path) -> None:
    own_program(tmp_path, "agent-trace", "")
    absolute = str(tmp_path / "bin" / "agent-trace")
    (project / "docs").mkdir()

    def entry(name: str, scope: Scope, store: str = "") -> object:
        plan(HOSTS[name], scope, project, store=store).carry_out()
        return server(HOSTS[name], scope, project)

    assert entry("claude", Scope.USER) == {"type": "stdio", "command": absolute, "args": ["mcp"]}
    # A file that is shared names no place of this machine.
    assert entry("claude", Scope.PROJECT, str(project / "docs")) == {
        "type": "stdio",
        "command": "agent-trace",
        "args": ["mcp", "--store", "docs"],
    }
    assert entry("cursor", Scope.PROJECT) == {
        "command": "agent-trace",
        "args": ["mcp", "--store", "${workspaceFolder}"],
    }
    assert entry("vscode", Scope.PROJECT, str(project / "docs")) == {
        "type": "stdio",
        "command": "agent-trace",
        "args": ["mcp", "--store", "${workspaceFolder}/docs"],
    }
    assert entry("codex", Scope.USER, str(project)) == {
        "command": absolute,
        "args": ["mcp", "--store", str(project)],
    }


def test_an_entry_that_starts_something_else_is_brought_up_to_date(
    home: Path, project: Path
) -> None:
    path = home / ".cursor" / "mcp.json"
    path.parent.mkdir()
    path.write_text('{"mcpServers": {"agent-trace": {"command": "old"}}}', encoding="utf-8")
    assert plan(HOSTS["cursor"], Scope.USER, project, hooks=False).carry_out() == (Done.WRITTEN,)
    assert server(HOSTS["cursor"], Scope.USER, project) == {
        "command": "/opt/python",
        "args": ["-m", "agent_trace", "mcp"],
    }


@pytest.mark.parametrize(
    ("name", "file", "before", "after"),
    [
        (
            "cursor",
            ".cursor/mcp.json",
            '{"mcpServers": {"agent-trace": {"command": "old", /* mine */ "env": {"A": "b"}}}}',
            '{"mcpServers": {"agent-trace": {"command": "/opt/python", /* mine */ '
            '"env": {"A": "b"}, "args": ["-m", "agent_trace", "mcp"]}}}',
        ),
        (
            "codex",
            ".codex/config.toml",
            '[mcp_servers.agent-trace]\ncommand = "old" # mine\nenabled = false\n'
            '[mcp_servers.agent-trace.env]\nA = "b"\n',
            '[mcp_servers.agent-trace]\ncommand = "/opt/python" # mine\nenabled = false\n'
            'args = ["-m", "agent_trace", "mcp"]\n\n[mcp_servers.agent-trace.env]\nA = "b"\n',
        ),
    ],
)
def test_an_entry_is_brought_up_to_date_without_what_its_owner_has_added(
    home: Path, project: Path, name: str, file: str, before: str, after: str
) -> None:
    path = home / file
    path.parent.mkdir()
    path.write_text(before, encoding="utf-8")
    plan(HOSTS[name], Scope.USER, project, hooks=False).carry_out()
    assert path.read_text(encoding="utf-8") == after


@pytest.mark.parametrize("key", ["url", "httpUrl", "serverUrl"])
def test_an_entry_that_reaches_a_gateway_over_http_is_in_place(
    home: Path, project: Path, key: str
) -> None:
    path = home / ".cursor" / "mcp.json"
    path.parent.mkdir()
    entry: Json = {key: "http://127.0.0.1:8137/mcp", "headers": {"Authorization": "Bearer x"}}
    path.write_text(Document("").set(("mcpServers", "agent-trace"), entry).text, encoding="utf-8")
    before = path.read_bytes()
    assert plan(HOSTS["cursor"], Scope.USER, project, hooks=False).carry_out() == (Done.NOTHING,)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "before",
    [
        'mcp_servers = { other = { command = "y" } }\n',
        'mcp_servers.other.command = "y"\n# about what follows\n',
        '[mcp_servers]\nother = { command = "y" } # mine\n',
        '[mcp_servers.other]\ncommand = "y"\n\n# of a profile\n[profiles.x]\nmodel = "z"\n',
        'x = """\n[mcp_servers.agent-trace]\n"""\n\n[a]\nb = [\n  [1],\n]\n',
        "\ufeffa = 1\n",
    ],
)
def test_toml_of_any_form_keeps_what_is_not_ours(home: Path, project: Path, before: str) -> None:
    path = home / ".codex" / "config.toml"
    path.parent.mkdir()
    path.write_text(before, encoding="utf-8")
    made = plan(HOSTS["codex"], Scope.USER, project, hooks=False)
    made.carry_out()
    assert set(made.state()) == {Done.NOTHING}
    # Somebody adds a server of theirs behind ours, and says what it is for.
    theirs = "" if before.startswith("mcp_servers = {") else '# mine\n[mcp_servers.z]\nurl = "u"\n'
    path.write_text(path.read_text(encoding="utf-8") + "\n" + theirs, encoding="utf-8")
    plan_removal(HOSTS["codex"], Scope.USER, project).carry_out()
    assert path.read_text(encoding="utf-8") == f"{before}\n{theirs}"


def test_a_comment_at_what_is_empty_without_us_stays(home: Path, project: Path) -> None:
    path = home / ".cursor" / "mcp.json"
    path.parent.mkdir()
    before = '// of the team\n{"mcpServers": {} /* nothing yet */, "a": "// none"}\n'
    path.write_text(before, encoding="utf-8")
    plan(HOSTS["cursor"], Scope.USER, project, hooks=False).carry_out()
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    plan_removal(HOSTS["cursor"], Scope.USER, project).carry_out()
    assert path.read_text(encoding="utf-8") == before + "\n"


def test_what_is_no_file_is_not_opened(home: Path, project: Path) -> None:
    (home / ".cursor").mkdir()
    os.mkfifo(home / ".cursor" / "mcp.json")
    with pytest.raises(InvalidRequest, match="this is no file; nothing was changed"):
        plan(HOSTS["cursor"], Scope.USER, project, hooks=False)


def test_what_an_entry_says_besides_is_its_owner_s(home: Path, project: Path) -> None:
    made = plan(HOSTS["cursor"], Scope.USER, project, hooks=False)
    made.carry_out()
    path = home / ".cursor" / "mcp.json"
    changed = Document(path.read_text(encoding="utf-8")).set(
        ("mcpServers", "agent-trace", "env"), {"AGENT_TRACE_AGENT": "ada"}
    )
    path.write_text(changed.text, encoding="utf-8")
    assert made.carry_out() == (Done.NOTHING,)
    assert path.read_text(encoding="utf-8") == changed.text


def test_one_hook_is_kept_beside_those_of_others(home: Path, project: Path) -> None:
    path = home / ".claude" / "settings.json"
    path.parent.mkdir()
    mine: Json = {"matcher": "startup", "hooks": [{"type": "command", "command": "mine"}]}
    old: Json = {"hooks": [{"command": "'/old place/agent-trace' hook claude"}, {"command": "b"}]}
    event = ("hooks", "SessionStart")
    path.write_text(Document("").set(event, [mine, old, old]).text, encoding="utf-8")
    plan(HOSTS["claude"], Scope.USER, project).carry_out()
    hooks = Document(path.read_text(encoding="utf-8")).get(event)
    ours = {"type": "command", "command": "/opt/python -m agent_trace hook claude", "timeout": 15}
    assert hooks == [
        mine,
        {"hooks": [{"command": "b"}]},
        {"hooks": [{"command": "b"}]},
        {"matcher": "startup|resume|clear|compact", "hooks": [ours]},
    ]
    plan_removal(HOSTS["claude"], Scope.USER, project).carry_out()
    hooks = Document(path.read_text(encoding="utf-8")).get(event)
    assert hooks == [mine, {"hooks": [{"command": "b"}]}, {"hooks": [{"command": "b"}]}]


@pytest.mark.parametrize(
    ("name", "path", "text", "message"),
    [
        ("claude", ".claude.json", "{\n  a: 1\n}", "line 2, column 3: a key in quotes"),
        ("claude", ".claude/settings.json", "[]", "line 1: it is not an object"),
        ("codex", ".codex/config.toml", "a = 1\nb = = 2\n", "at line 2 col 4"),
        ("codex", ".codex/config.toml", "mcp_servers = 1\n", "mcp_servers is not a table"),
        ("codex", ".codex/hooks.json", b"{}\n\xff", "line 2: not UTF-8"),
        ("claude", ".claude/CLAUDE.md", "a\n<!-- agent-trace: begin -->\n", "line 2: the marks"),
    ],
)
def test_a_file_that_can_not_be_read_is_named_with_its_line_and_nothing_is_written(
    home: Path, project: Path, name: str, path: str, text: str | bytes, message: str
) -> None:
    (home / path).parent.mkdir(exist_ok=True)
    (home / path).write_bytes(text if isinstance(text, bytes) else text.encode())
    before = contents(home, project)
    with pytest.raises(InvalidRequest) as caught:
        plan(HOSTS[name], Scope.USER, project, instructions=True)
    assert str(home / path) in caught.value.message
    assert message in caught.value.message
    assert "nothing was changed" in caught.value.message
    assert contents(home, project) == before


def test_a_host_s_own_program_is_asked_first_and_looked_after(
    tmp_path: Path, home: Path, project: Path
) -> None:
    own_program(tmp_path, "claude", f'echo "$@" >> {tmp_path}/asked')
    made = plan(HOSTS["claude"], Scope.USER, project, hooks=False)
    # It says yes and does nothing.
    assert made.carry_out() == (Done.WRITTEN,)
    arguments = "mcp add --scope user agent-trace -- /opt/python -m agent_trace mcp\n"
    assert (tmp_path / "asked").read_text(encoding="utf-8") == arguments
    assert made.carry_out() == (Done.NOTHING,)
    made = plan_removal(HOSTS["claude"], Scope.USER, project)
    written = (home / ".claude.json").read_text(encoding="utf-8")
    # The file is as we wrote it, so the program is not needed.
    assert made.carry_out()[0] is Done.WRITTEN
    assert not (home / ".claude.json").exists()
    # One that does what it is asked to.
    own_program(
        tmp_path,
        "claude",
        f"if [ \"$2\" = add ]; then echo '{written}' > {home}/.claude.json; "
        f"else echo '{{}}' > {home}/.claude.json; fi",
    )
    made = plan(HOSTS["claude"], Scope.USER, project, hooks=False)
    assert made.carry_out() == (Done.BY_PROGRAM,)
    # It has changed nothing else, so the file becomes what it was without its help: none.
    assert plan_removal(HOSTS["claude"], Scope.USER, project).carry_out()[0] is Done.WRITTEN
    assert not (home / ".claude.json").exists()
    made.carry_out()
    with (home / ".claude.json").open("a", encoding="utf-8") as file:
        file.write("// mine\n")
    assert plan_removal(HOSTS["claude"], Scope.USER, project).carry_out()[0] is Done.BY_PROGRAM
    assert (home / ".claude.json").read_text(encoding="utf-8") == "{}\n"


def test_a_link_stays_a_link(tmp_path: Path, home: Path, project: Path) -> None:
    target = tmp_path / "dotfiles.json"
    target.write_text("{}\n", encoding="utf-8")
    (home / ".cursor").mkdir()
    (home / ".cursor" / "mcp.json").symlink_to(target)
    plan(HOSTS["cursor"], Scope.USER, project, hooks=False).carry_out()
    assert (home / ".cursor" / "mcp.json").is_symlink()
    assert "agent-trace" in target.read_text(encoding="utf-8")
    plan_removal(HOSTS["cursor"], Scope.USER, project).carry_out()
    assert target.read_text(encoding="utf-8") == "{}\n"


def test_a_file_that_can_not_be_written_is_as_it_was(
    home: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home / ".cursor" / "mcp.json"
    path.parent.mkdir()
    path.write_text("{}\n", encoding="utf-8")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="No space"):
        plan(HOSTS["cursor"], Scope.USER, project, hooks=False).carry_out()
    assert contents(home) == {path: b"{}\n"}


def test_instructions_are_added_replaced_and_taken_out_as_one_block(project: Path) -> None:
    for text in ("", "# Rules\n", "# Rules", "# Rules\r\n\r\nBe kind.\r\n", "\n\n"):
        with_block = marked.with_block(text)
        assert marked.with_block(with_block) == with_block
        assert marked.has_block(with_block)
        assert marked.without_block(with_block).rstrip("\r\n") == text.rstrip("\r\n")
        older = with_block.replace("Plans", "Old plans")
        assert marked.with_block(older + "after\n") == with_block + "after\n"


def test_a_scope_that_a_host_does_not_have_is_refused(project: Path) -> None:
    with pytest.raises(InvalidRequest, match="Windsurf has no servers of a project"):
        plan(HOSTS["windsurf"], Scope.PROJECT, project)
    with pytest.raises(InvalidRequest, match="Cursor reads no instructions of a user"):
        plan(HOSTS["cursor"], Scope.USER, project, instructions=True)
