"""The documents are true: commands are run, names are looked up, links are followed.

In a fenced block marked `console`, a line that begins with `$ ` is a command, lines that begin with
`> ` continue it, and what follows is what it prints (standard output and error together) up to the
next command. A block marked `python` is a program. Both are run in the order of the document, in
one shell and one empty home directory for each document, by a user who is called `you`.

A command that shows a line beginning with `error: ` must fail, any other must succeed. Printed text
is compared after times, ids, sizes and process ids were made equal; `...` stands for any text
within a line, and as a line of its own for any lines. Commands in `NOT_RUN` are only shown.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import select
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import pytest

from agent_trace.cli.main import cli

ROOT: Final = Path(__file__).resolve().parent.parent
DOCUMENTS: Final = (
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)
SOURCES: Final = tuple(ROOT / name for name in ("protocol", "agents", "coordinator", "tests"))

NOT_RUN: Final = ("make ", "pip ", "docker ")
"""Beginnings of commands that set a machine up, and are tested by using them."""

GENERATED: Final = ROOT / "docs" / "generated.md"
"""The document whose commands run while documents are generated: it is about them."""

HOME: Final = "/home/you"
"""What the documents call the directory that everything happens in."""

MARKER: Final = "===== done with"
"""Printed by the shell after each command, with its number and its exit code."""

RUN_SECONDS_MAX: Final = 60
"""A document whose commands take longer hangs."""

END_SECONDS_MAX: Final = 10
"""How long a coordinator may take to leave."""

_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

_VARIES: Final = (
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "<time>"),
    (re.compile(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{40}\b|\b[0-9a-f]{32}\b"), "<id>"),
    (re.compile(r"(?<![@\w])[0-9a-f]{10}\b"), "<id>"),
    (re.compile(r"\b[a-z2-7]{26}\b"), "<session>"),
    (re.compile(r"\bpid \d+"), "pid <pid>"),
    (re.compile(r"\bupdate-\d+"), "update-<seq>"),
    (re.compile(r"\b\d+(\.\d+)? (B|KiB|MiB|GiB)\b"), "<size>"),
    (re.compile(r"\b\d+ s\b"), "<seconds> s"),
    (re.compile(r"\b\d+ packs?\b"), "<count> packs"),
    (re.compile(r"[ \t]+"), " "),
)
"""What differs from run to run, and what it becomes."""


@dataclass(frozen=True)
class Step:
    """One command of a document."""

    line: int
    command: str
    shown: tuple[str, ...] | None
    """The lines that it prints; None if the document does not say."""

    @property
    def fails(self) -> bool:
        """Whether the document shows it failing."""
        return any(line.startswith("error: ") for line in self.shown or ())


def name_of(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


def steps_of(document: Path) -> list[Step]:
    text = document.read_text(encoding="utf-8")
    steps: list[Step] = []
    for block in _FENCE.finditer(text):
        line = text.count("\n", 0, block.start(2)) + 1
        if block[1] == "python":
            program = f"{sys.executable} - <<'END-OF-PROGRAM'\n{block[2]}END-OF-PROGRAM"
            steps.append(Step(line, program, None))
        elif block[1] == "console":
            steps += console_steps(line, block[2].splitlines())
    return steps


def console_steps(first: int, lines: list[str]) -> Iterator[Step]:
    starts = [index for index, line in enumerate(lines) if line.startswith("$ ")]
    assert starts and starts[0] == 0, f"line {first}: a console block begins with a command"
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        output = start + 1
        while output < end and lines[output].startswith("> "):
            output += 1
        command = "\n".join(line[2:] for line in lines[start:output])
        yield Step(first + start, command, tuple(lines[output:end]))


def run(steps: list[Step], home: Path, *, generated: bool) -> list[tuple[int, str]]:
    """Run commands in one shell; return the exit code and the output of each."""
    script = "".join(
        f"{{ {step.command}\n}} 2>&1\nprintf '\\n{MARKER} {index} %d\\n' $?\n"
        for index, step in enumerate(steps)
    )
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("AGENT_TRACE_")
    }
    environment |= {
        "HOME": str(home),
        # They are written a moment later, so the numbers of operations would vary.
        "AGENT_TRACE_GENERATED": "1" if generated else "0",
        "LOGNAME": "you",
        "LC_ALL": "C.UTF-8",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_PAGER": "cat",
    }
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-o", "pipefail", "-s"],
        input=script,
        cwd=home,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=RUN_SECONDS_MAX,
        check=False,
    )
    parts = re.split(rf"\n{MARKER} (\d+) (\d+)\n", done.stdout)
    outcomes = [(int(code), output) for output, code in zip(parts[::3], parts[2::3], strict=False)]
    assert len(outcomes) == len(steps), f"the shell ended early: {parts[-1]}{done.stderr}"
    return outcomes


def normalised(lines: list[str]) -> list[str]:
    found: list[str] = []
    for line in lines:
        for pattern, name in _VARIES:
            line = pattern.sub(name, line)
        found.append(line.rstrip())
    while found and not found[-1]:
        found.pop()
    return found


def matches(shown: list[str], printed: list[str]) -> bool:
    pattern = "".join(
        r"(?:[^\n]*\n)*" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") + "\n"
        for line in shown
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in printed)) is not None


def end_coordinators(home: Path) -> None:
    for file in home.rglob(".agent-trace/run/endpoint.json"):
        try:
            process = os.pidfd_open(json.loads(file.read_bytes())["pid"])
        except ProcessLookupError:
            continue
        signal.pidfd_send_signal(process, signal.SIGTERM)
        select.select([process], [], [], END_SECONDS_MAX)
        os.close(process)


@pytest.mark.integration
@pytest.mark.parametrize("document", [each for each in DOCUMENTS if steps_of(each)], ids=name_of)
def test_the_commands_of_a_document_do_what_it_shows(document: Path) -> None:
    steps = [step for step in steps_of(document) if not step.command.startswith(NOT_RUN)]
    # Not pytest's own directory: its path is long, and a unix socket's is not.
    with tempfile.TemporaryDirectory(prefix="agent-trace-") as directory:
        home = Path(directory).resolve()
        try:
            outcomes = run(steps, home, generated=document == GENERATED)
        finally:
            end_coordinators(home)
    for step, (code, output) in zip(steps, outcomes, strict=True):
        place = f"{name_of(document)}:{step.line}: $ {step.command}\n"
        printed = normalised(output.replace(str(home), HOME).splitlines())
        assert (code != 0) == step.fails, f"{place}ended with {code}:\n{output}"
        if step.shown is None:
            continue
        shown = normalised(list(step.shown))
        if not matches(shown, printed):
            difference = difflib.unified_diff(shown, printed, "shown", "printed", lineterm="")
            pytest.fail(place + "\n".join(difference), pytrace=False)


SHOWN: Final = re.compile(r"^(?:[A-Z_]+=\S+ )*agent-trace (.*?)(?:\s+#.*)?$", re.MULTILINE)
"""A line of a block that is not run, if it is a command of ours."""


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_that_are_only_shown_can_be_given(document: Path) -> None:
    wrong: list[str] = []
    for block in _FENCE.finditer(document.read_text(encoding="utf-8")):
        if block[1] in ("", "sh") and not document.name.startswith("reference-"):
            wrong += [line for line in SHOWN.findall(block[2]) if not is_understood(line)]
    assert wrong == []


def is_understood(line: str) -> bool:
    """Return whether a command line of ours has a command and options that exist."""
    words = list(shlex.shlex(line, posix=True, punctuation_chars=True))
    end = next((at for at, word in enumerate(words) if word[0] in "|&;<>"), len(words))
    # Up to the first pipe; of a line without one, the words as a shell has them.
    left = words[:end] if end < len(words) else shlex.split(line)
    command: click.Command = cli
    context = click.Context(cli)
    try:
        while True:
            _, left, _ = command.make_parser(context).parse_args(left)
            if not isinstance(command, click.Group) or not left:
                return True
            _, found, left = command.resolve_command(context, left)
            assert found is not None
            command, context = found, click.Context(found, context)
    except click.UsageError:
        return False


def test_a_command_that_does_not_exist_is_not_understood() -> None:
    assert is_understood("log plan.md --limit 3 | head")
    assert is_understood("keys add planner --address tcp://HOST:7117")
    assert not is_understood("lgo plan.md")
    assert not is_understood("keys ad planner")
    assert not is_understood("log --no-such-option")


# ---- names and links -------------------------------------------------------------------------


def prose_of(document: Path) -> str:
    return _FENCE.sub("", document.read_text(encoding="utf-8"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_to_what_is_there(document: Path) -> None:
    dead: list[str] = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(document)):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        file = (document.parent / path).resolve() if path else document
        if not file.exists() or (anchor and anchor not in anchors_of(file)):
            dead.append(target)
    assert dead == []


def anchors_of(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_modules_and_tests_that_a_document_names_exist(document: Path) -> None:
    named = re.findall(r"`([\w/.]+)`", prose_of(document))
    files = {path.relative_to(ROOT).as_posix() for each in SOURCES for path in each.rglob("*.py")}
    tests = {
        function
        for path in (ROOT / "tests").rglob("test_*.py")
        for function in re.findall(r"^(?:async )?def (test_\w+)", path.read_text("utf-8"), re.M)
    }
    missing = [
        name
        for name in named
        if (name.endswith(".py") and not any(f"/{file}".endswith(f"/{name}") for file in files))
        or (name.startswith("test_") and not name.endswith(".py") and name not in tests)
    ]
    assert missing == []


def test_a_line_of_dots_stands_for_any_lines_and_dots_for_any_text() -> None:
    assert matches(["one", "...", "last"], ["one", "two", "three", "last"])
    assert matches(["one", "...", "last"], ["one", "last"])
    assert matches(["error: ... is gone"], ["error: plan.md is gone"])
    assert not matches(["one", "..."], ["two"])
    assert not matches(["one"], ["one", "two"])
