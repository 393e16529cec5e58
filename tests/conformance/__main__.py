"""`python -m conformance`: the official MCP conformance suite against the gateway over HTTP.

Every scenario of the suite has a line in `expected.toml`. What differs from it, better or worse,
fails: a scenario that is new, one that began to pass, a check that is missed now.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

ROOT: Final = Path(__file__).resolve().parents[2]
TOOLS: Final = ROOT / "build" / "conformance"
"""Where npm puts the suite; `make clean` takes it away."""

PACKAGES: Final = ("@modelcontextprotocol/conformance@0.2.0-alpha.12", "node@24")
"""The suite in the version that `expected.toml` is about, and the Node that it wants."""

PLACES: Final = ("gateway", "fixture", "left_out")

SCENARIO_SECONDS: Final = 30
SUITE_SECONDS_MAX: Final = 600

WIDTH: Final = 200
"""Characters of the table: its reasons stand on one line each."""


@dataclass
class Outcome:
    """What became of one scenario."""

    passed: int = 0
    missed: set[str] = field(default_factory=set[str])
    """The ids of checks that failed or warned."""


def install() -> dict[str, str]:
    """Install the suite, if it is not there, and return the environment to run it in."""
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("the conformance suite comes by npm, and there is no npm on the PATH")
    wanted = json.dumps({"private": True, "installed": PACKAGES})
    mark = TOOLS / "installed.json"
    if not mark.exists() or mark.read_text() != wanted:
        TOOLS.mkdir(parents=True, exist_ok=True)
        (TOOLS / "package.json").write_text('{"private": true}\n')
        quiet = ("--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--silent")
        subprocess.run([npm, "install", *quiet, *PACKAGES], cwd=TOOLS, check=True)
        mark.write_text(wanted)
    binaries = TOOLS / "node_modules" / ".bin"
    return {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}


@contextmanager
def serving(store: Path, *arguments: str) -> Generator[str]:
    """Serve a new store for the suite, and yield the address."""
    command = [sys.executable, "-c", "from agent_trace.cli import main; main()"]
    # Asking for its status starts the coordinator: some scenarios wait for less than that takes.
    for words in (("init", str(store)), ("status", "--store", str(store))):
        subprocess.run([*command, *words], check=True, stdout=subprocess.DEVNULL)
    process = subprocess.Popen(
        [sys.executable, "-m", "conformance.serve", str(store), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        # It refuses on purpose, and says so for each refusal.
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise SystemExit("the gateway did not start; see: python -m conformance.serve STORE")
        yield url
    finally:
        process.terminate()
        process.wait(10)
        stop = (*command, "stop", "--store", str(store))
        subprocess.run(stop, check=False, capture_output=True)


def run(url: str, into: Path, environment: Mapping[str, str]) -> dict[str, Outcome]:
    """Run every scenario for servers, and return what became of each."""
    command = ["conformance", "server", "--url", url, "--suite", "all", "-o", str(into)]
    program = TOOLS / "node_modules" / ".bin" / command[0]
    subprocess.run(
        [str(program), *command[1:], "--timeout", str(SCENARIO_SECONDS * 1000)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=SUITE_SECONDS_MAX,
        check=False,
    )
    outcomes: dict[str, Outcome] = {}
    for file in sorted(into.glob("server-*/checks.json")):
        # The folder is the scenario's name and the time.
        name = file.parent.name.removeprefix("server-")[: -len("-2026-01-01T00-00-00-000Z")]
        outcome = outcomes[name] = Outcome()
        checks: list[dict[str, Any]] = json.loads(file.read_bytes())
        for check in checks:
            if check["status"] == "SUCCESS":
                outcome.passed += 1
            elif check["status"] in ("FAILURE", "WARNING"):
                outcome.missed.add(check["id"])
    return outcomes


def judge(
    outcomes: Mapping[str, Mapping[str, Outcome]], expected: Mapping[str, Any]
) -> tuple[list[tuple[str, str, str, str]], int]:
    """Return a table of what became of each scenario, and how many lines of it are not as
    expected."""
    rows: list[tuple[str, str, str, str]] = []
    surprises = 0
    named = {
        name: place for place in ("gateway", "fixture", "left_out") for name in expected[place]
    }
    for name in sorted(set(named) | set(outcomes["gateway"])):
        place = named.get(name, "")
        found = outcomes.get("fixture" if place == "fixture" else "gateway", {}).get(name)
        if not place or found is None:
            surprises += 1
            rows.append((name, place, "?", "not in expected.toml" if not place else "did not run"))
            continue
        entry: dict[str, Any] = expected[place][name]
        missed = set(entry.get("missed", ()))
        why = str(entry.get("why", ""))
        if found.passed == entry["passed"] and found.missed == missed:
            state = "passed" if not missed else "as told"
        else:
            surprises += 1
            state = "CHANGED"
            new, gone = sorted(found.missed - missed), sorted(missed - found.missed)
            why = f"{found.passed} checks passed, not {entry['passed']}; missed: {new}, not: {gone}"
        rows.append((name, place, state, why))
    return rows, surprises


def as_toml(outcomes: Mapping[str, Mapping[str, Outcome]], expected: Mapping[str, Any]) -> str:
    """Return `expected.toml` as it would be if all that was seen were as it should be."""
    lines: list[str] = []
    for place in PLACES:
        for name, entry in expected[place].items():
            found = outcomes["fixture" if place == "fixture" else "gateway"][name]
            lines.append(f"[{place}.{name}]\npassed = {found.passed}")
            if found.missed:
                lines.append(f"missed = {json.dumps(sorted(found.missed))}")
            if entry.get("why"):
                lines.append(f"why = {json.dumps(entry['why'])}")
            lines.append("")
    return "\n".join(lines)


def main() -> int:
    """Run the suite twice, as the gateway is and with the suite's own tools, and print a table."""
    environment = install()
    file = Path(__file__).with_name("expected.toml")
    expected = tomllib.loads(file.read_text(encoding="utf-8"))
    outcomes: dict[str, dict[str, Outcome]] = {}
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        for which in ("gateway", "fixture"):
            more = () if which == "gateway" else ("fixture",)
            with serving(Path(folder) / f"store-{which}", *more) as url:
                outcomes[which] = run(url, Path(folder) / which, environment)
    if "--write" in sys.argv[1:]:
        head = file.read_text(encoding="utf-8").partition("\n\n")[0]
        file.write_text(f"{head}\n\n{as_toml(outcomes, expected)}", encoding="utf-8")
        return 0
    rows, surprises = judge(outcomes, expected)
    table = Table("scenario", "against", "outcome", "why", box=SIMPLE_HEAD)
    for row in rows:
        table.add_row(*row)
    console = Console(width=WIDTH)
    console.print(table)
    passed = sum(state == "passed" for _, _, state, _ in rows)
    console.print(
        f"{len(rows)} scenarios of {PACKAGES[0]}: {passed} passed whole, "
        f"{len(rows) - passed - surprises} as expected.toml tells, {surprises} not as expected"
    )
    return 1 if surprises else 0


if __name__ == "__main__":
    sys.exit(main())
