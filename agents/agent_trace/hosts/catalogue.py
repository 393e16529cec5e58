"""What each agent host reads: where its servers are configured, where its hooks, where its
instructions, and how its own program adds a server. Facts only; what is done with them is in
`setting_up`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

__all__ = ["HOSTS", "SERVER", "HookStyle", "Host", "Place", "Scope"]

SERVER: Final = "agent-trace"
"""The name of our server in every configuration."""


class Scope(Enum):
    """For whom a host is set up."""

    USER = "user"
    PROJECT = "project"


class HookStyle(Enum):
    """How a host writes its hooks down, and what it wants to hear from one."""

    CLAUDE = "claude"
    """Groups with a matcher; seconds."""
    GEMINI = "gemini"
    """The same groups, a name for each hook; milliseconds."""
    CURSOR = "cursor"
    """Plain entries under a version."""

    def answer(self, text: str) -> dict[str, object]:
        """Return what a hook prints, as JSON, so that `text` becomes part of what the agent reads
        at the start of its session."""
        if self is HookStyle.CURSOR:
            return {"additional_context": text}
        told = {"hookEventName": "SessionStart", "additionalContext": text}
        return {"hookSpecificOutput": told}


@dataclass(frozen=True, slots=True)
class Place:
    """Where one thing is configured, by scope; a scope that is missing has none."""

    user: Callable[[], Path] | None = None
    project: Callable[[Path], Path] | None = None

    def path(self, scope: Scope, project: Path) -> Path | None:
        """Return the file, or None if the host has none for this scope."""
        if scope is Scope.USER:
            return self.user() if self.user is not None else None
        return self.project(project) if self.project is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One agent host."""

    name: str
    title: str
    servers: Place
    """JSON, or TOML if the file's name says so."""
    key: str = "mcpServers"
    """The object, or table, that holds the servers."""
    extra: tuple[tuple[str, str], ...] = ()
    """What an entry holds besides command and arguments."""
    directory: str = ""
    """How the entry of a project's file names the project, for a host that does not start servers
    in it."""
    program: str = ""
    """Its own program, which adds and removes servers by itself; empty if none does."""
    program_scopes: tuple[Scope, ...] = ()
    add: Callable[[Scope, list[str]], list[str]] | None = None
    """Arguments of its program that add a server with this command."""
    remove: Callable[[Scope], list[str]] | None = None
    hooks: Place = Place()
    hook_style: HookStyle | None = None
    instructions: Place = Place()
    notes: tuple[str, ...] = ()
    """What a person has to do or know besides."""


def _home(*parts: str) -> Callable[[], Path]:
    return lambda: Path.home().joinpath(*parts)


def _below(*parts: str) -> Callable[[Path], Path]:
    return lambda project: project.joinpath(*parts)


def _of(variable: str, default: str, *parts: str) -> Callable[[], Path]:
    """Return the file in the directory that a variable names, else in one of the home."""

    def path() -> Path:
        named = os.environ.get(variable)
        return (Path(named) if named else Path.home() / default).joinpath(*parts)

    return path


def _claude_servers() -> Path:
    named = os.environ.get("CLAUDE_CONFIG_DIR")
    return (Path(named) if named else Path.home()) / ".claude.json"


def _vscode_servers() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library/Application Support/Code/User/mcp.json"
    return _of("XDG_CONFIG_HOME", ".config", "Code", "User", "mcp.json")()


_BOTH: Final = (Scope.USER, Scope.PROJECT)

HOSTS: Final[dict[str, Host]] = {
    host.name: host
    for host in (
        Host(
            name="claude",
            title="Claude Code",
            servers=Place(_claude_servers, _below(".mcp.json")),
            extra=(("type", "stdio"),),
            program="claude",
            program_scopes=_BOTH,
            add=lambda scope, command: [
                *("mcp", "add", "--scope", scope.value, SERVER, "--", *command)
            ],
            remove=lambda scope: ["mcp", "remove", "--scope", scope.value, SERVER],
            hooks=Place(
                _of("CLAUDE_CONFIG_DIR", ".claude", "settings.json"),
                _below(".claude", "settings.json"),
            ),
            hook_style=HookStyle.CLAUDE,
            instructions=Place(
                _of("CLAUDE_CONFIG_DIR", ".claude", "CLAUDE.md"), _below("CLAUDE.md")
            ),
        ),
        Host(
            name="codex",
            title="Codex",
            servers=Place(
                _of("CODEX_HOME", ".codex", "config.toml"), _below(".codex", "config.toml")
            ),
            key="mcp_servers",
            program="codex",
            program_scopes=(Scope.USER,),
            add=lambda scope, command: ["mcp", "add", SERVER, "--", *command],
            remove=lambda scope: ["mcp", "remove", SERVER],
            hooks=Place(_of("CODEX_HOME", ".codex", "hooks.json"), _below(".codex", "hooks.json")),
            hook_style=HookStyle.CLAUDE,
            instructions=Place(_of("CODEX_HOME", ".codex", "AGENTS.md"), _below("AGENTS.md")),
            notes=("Codex runs a new hook only after you have trusted it, with /hooks.",),
        ),
        Host(
            name="gemini",
            title="Gemini CLI",
            servers=Place(_home(".gemini", "settings.json"), _below(".gemini", "settings.json")),
            program="gemini",
            program_scopes=_BOTH,
            add=lambda scope, command: [
                *("mcp", "add", "--scope", scope.value, SERVER),
                *(command[0], "--", *command[1:]),
            ],
            remove=lambda scope: ["mcp", "remove", "--scope", scope.value, SERVER],
            hooks=Place(_home(".gemini", "settings.json"), _below(".gemini", "settings.json")),
            hook_style=HookStyle.GEMINI,
            instructions=Place(_home(".gemini", "GEMINI.md"), _below("GEMINI.md")),
            notes=("Gemini CLI starts servers in folders that you trust only.",),
        ),
        Host(
            name="cursor",
            title="Cursor",
            servers=Place(_home(".cursor", "mcp.json"), _below(".cursor", "mcp.json")),
            directory="${workspaceFolder}",
            hooks=Place(_home(".cursor", "hooks.json"), _below(".cursor", "hooks.json")),
            hook_style=HookStyle.CURSOR,
            instructions=Place(None, _below("AGENTS.md")),
        ),
        Host(
            name="vscode",
            title="Visual Studio Code",
            servers=Place(_vscode_servers, _below(".vscode", "mcp.json")),
            key="servers",
            extra=(("type", "stdio"),),
            directory="${workspaceFolder}",
            instructions=Place(None, _below("AGENTS.md")),
        ),
        Host(
            name="windsurf",
            title="Windsurf",
            servers=Place(_home(".codeium", "windsurf", "mcp_config.json")),
            instructions=Place(
                _home(".codeium", "windsurf", "memories", "global_rules.md"), _below("AGENTS.md")
            ),
            notes=("Windsurf starts servers outside of projects; name the store with --store.",),
        ),
    )
}
"""All hosts, by the name on the command line."""
