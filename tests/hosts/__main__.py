"""Real agent hosts against what `agent-trace setup` writes: `make hosts`.

The hosts are installed by npm into a directory of their own, and started without an account, in a
home of nobody and a new store: far enough to read their configuration, to connect to the gateway
and to run the hook. The result is a table in Markdown; docs/testing.md has one. Ends with 1 if
anything is not as it should be.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PACKAGES: Final = {
    "claude": "@anthropic-ai/claude-code",
    "codex": "@openai/codex",
    "gemini": "@google/gemini-cli",
    "mcp-inspector": "@modelcontextprotocol/inspector",
}
TITLES: Final = {
    "claude": "Claude Code",
    "codex": "Codex",
    "gemini": "Gemini CLI",
    "mcp-inspector": "MCP inspector",
}
COMMAND_SECONDS_MAX: Final = 180.0

HERE: Final = Path(sys.executable).parent


@dataclass
class Machine:
    """A home of nobody with one store, and the hosts on the path."""

    programs: Path
    home: Path
    said: list[str] = field(default_factory=list[str])

    @property
    def project(self) -> Path:
        return self.home / "project"

    def run(self, *command: str) -> str:
        """Run a command in the project and return all that it says."""
        environment = {
            name: value
            for name, value in os.environ.items()
            # Whoever runs this may be an agent, or have an account.
            if not name.startswith(("CLAUDE", "CODEX", "GEMINI", "ANTHROPIC", "OPENAI", "GOOGLE"))
            and not name.startswith(("AGENT_TRACE", "XDG_"))
        }
        environment["HOME"] = str(self.home)
        environment["PATH"] = os.pathsep.join(
            (str(self.programs / "node_modules" / ".bin"), str(HERE), os.environ["PATH"])
        )
        done = subprocess.run(
            command,
            cwd=self.project,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )
        self.said.append(f"$ {' '.join(command)}\n{done.stdout}{done.stderr}[{done.returncode}]\n")
        return done.stdout + done.stderr

    def trace(self, *arguments: str) -> str:
        return self.run(str(HERE / "agent-trace"), *arguments)


Check = Callable[[Machine], bool]

CODEX_SANDBOX: Final = ("codex", "sandbox", "-c", 'sandbox_mode="workspace-write"', "--")


def _set_up(machine: Machine, *arguments: str) -> bool:
    if "added by the host's program" not in machine.trace("setup", *arguments):
        return False
    states = json.loads(machine.trace("setup", *arguments, "--json"))
    return all(each["state"] == "in place" for each in states)


def _removed(machine: Machine, host: str) -> bool:
    machine.trace("setup", host, "--remove")
    states = json.loads(machine.trace("setup", host, "--json", "--dry-run"))
    listed = machine.run(host, "mcp", "list")
    return {each["state"] for each in states} == {"missing"} and str(HERE) not in listed


def _briefed(machine: Machine) -> bool:
    # Without an account it gets no further than to its hooks, which is what counts here.
    log = machine.home / "debug.log"
    machine.run("claude", "-p", "hello", "--debug", "--debug-file", str(log))
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return any("agent-trace hook claude) provided additionalContext" in line for line in lines)


def _trusted(machine: Machine) -> bool:
    folder = machine.home / ".gemini" / "trustedFolders.json"
    folder.parent.mkdir(exist_ok=True)
    folder.write_text(json.dumps({str(machine.project): "TRUST_FOLDER"}), encoding="utf-8")
    return _connected(machine.run("gemini", "mcp", "list"))


def _boxed(machine: Machine) -> bool:
    trace = str(HERE / "agent-trace")
    machine.run(*CODEX_SANDBOX, trace, "write", "boxed.md", "--text", "boxed", "--agent", "boxed")
    came = [json.loads(line) for line in machine.trace("sessions", "--json").splitlines()]
    ways = {each["transport"] for each in came if each["name"] == "boxed"}
    return machine.trace("read", "boxed.md").startswith("boxed") and ways == {"spool"}


def _boxed_alone(machine: Machine) -> bool:
    trace = str(HERE / "agent-trace")
    machine.trace("init", "alone", "--nested")
    said = machine.run(*CODEX_SANDBOX, trace, "status", "--store", "alone")
    return "the sandbox of Codex" in said and "outside of the sandbox: agent-trace serve" in said


def _connected(said: str) -> bool:
    return any("agent-trace:" in line and "Connected" in line for line in said.splitlines())


def _inspected(machine: Machine, *arguments: str) -> str:
    return machine.run("mcp-inspector", "--cli", str(HERE / "agent-trace"), "mcp", *arguments)


CHECKS: Final[dict[str, dict[str, Check]]] = {
    "claude": {
        "`setup claude` by `claude mcp add`, twice": lambda at: _set_up(at, "claude"),
        "`claude mcp list` connects": lambda at: _connected(at.run("claude", "mcp", "list")),
        "its `SessionStart` hook brings the briefing": _briefed,
        "`setup claude --remove` leaves nothing": lambda at: _removed(at, "claude"),
        "a project's `.mcp.json` is read": lambda at: _set_up(at, "claude", "--scope", "project")
        and "agent-trace: agent-trace mcp" in at.run("claude", "mcp", "list"),
    },
    "codex": {
        "`setup codex` by `codex mcp add`, twice": lambda at: _set_up(at, "codex"),
        "`codex mcp list` reads it": lambda at: "enabled" in at.run("codex", "mcp", "list"),
        "a command in `codex sandbox` writes, by the spool": _boxed,
        "the same without a coordinator is told to start one outside": _boxed_alone,
        "`setup codex --remove` leaves nothing": lambda at: _removed(at, "codex"),
    },
    "gemini": {
        "`setup gemini` by `gemini mcp add`, twice": lambda at: _set_up(at, "gemini"),
        "`gemini mcp list` connects, in a trusted folder": _trusted,
        "`setup gemini --remove` leaves nothing": lambda at: _removed(at, "gemini"),
    },
    "mcp-inspector": {
        "`--method tools/list`": lambda at: '"write_file"'
        in _inspected(at, "--method", "tools/list"),
        "`--method tools/call` writes a document": lambda at: "isError\": true"
        not in _inspected(
            at,
            *("--method", "tools/call", "--tool-name", "write_file"),
            *("--tool-arg", "path=inspected.md", "--tool-arg", "content=by the inspector"),
        )
        and at.trace("read", "inspected.md").startswith("by the inspector"),
        "`--method resources/list`": lambda at: "agent-trace://"
        in _inspected(at, "--method", "resources/list"),
    },
}  # fmt: skip


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _install(programs: Path, hosts: list[str]) -> None:
    programs.mkdir(parents=True, exist_ok=True)
    wanted = [PACKAGES[host] for host in hosts if not _version(programs, host)]
    if wanted:
        _say(f"installing {', '.join(wanted)} into {programs}")
        npm = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(programs), *wanted]
        subprocess.run(npm, stdout=subprocess.DEVNULL, check=True)


def _version(programs: Path, host: str) -> str:
    try:
        text = (programs / "node_modules" / PACKAGES[host] / "package.json").read_bytes()
    except FileNotFoundError:
        return ""
    return str(json.loads(text)["version"])


def _verdicts(machine: Machine, hosts: list[str]) -> Iterator[tuple[str, str, bool]]:
    for host in hosts:
        for name, check in CHECKS[host].items():
            machine.said.clear()
            holds = check(machine)
            _say(f"{'ok  ' if holds else 'FAIL'} {host}: {name}")
            if not holds:
                _say("".join(machine.said))
            yield host, name, holds


def main() -> int:
    parser = argparse.ArgumentParser(prog="hosts", description=__doc__)
    parser.add_argument("hosts", nargs="*", metavar="HOST", help=", ".join(PACKAGES))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--programs", type=Path, default=cache / "agent-trace-hosts")
    options = parser.parse_args()
    hosts = options.hosts or list(PACKAGES)
    if shutil.which("npm") is None:
        parser.error("this needs npm, which comes with Node 20 or newer")
    _install(options.programs, hosts)
    with tempfile.TemporaryDirectory() as directory:
        machine = Machine(options.programs, Path(directory))
        machine.project.mkdir()
        machine.trace("init", ".")
        machine.trace("write", "plan.md", "--text", "# Plan")
        try:
            verdicts = list(_verdicts(machine, hosts))
        finally:
            machine.trace("stop")
    rows = [("host", "version", "check", "verdict"), ("---",) * 4]
    rows += [
        (TITLES[host], _version(options.programs, host), name, "yes" if holds else "**no**")
        for host, name, holds in verdicts
    ]
    sys.stdout.write("".join(f"| {' | '.join(row)} |\n" for row in rows))
    return 0 if all(holds for _, _, holds in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
