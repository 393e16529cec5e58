"""The reference pages say what the program does: a change of one is a change of the other."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import pytest

from reference import DOCS, pages
from reference.commands import VARIABLES

ROOT = DOCS.parent


@pytest.mark.parametrize("name", ["reference-cli.md", "reference-mcp.md", "format.md"])
def test_a_reference_page_says_what_the_program_does(name: str) -> None:
    path = DOCS / name
    made = pages()[path]
    written = path.read_text(encoding="utf-8") if path.exists() else ""
    drift = difflib.unified_diff(
        written.splitlines(), made.splitlines(), name, "the program", lineterm="", n=1
    )
    assert written == made, "run `make reference`:\n" + "\n".join(drift)


def test_every_environment_variable_of_the_program_is_described() -> None:
    named = {
        found
        for folder in ("agents", "coordinator", "protocol")
        for path in Path(ROOT / folder).rglob("*.py")
        for found in re.findall(r"(?<!_)AGENT_TRACE_[A-Z_]+[A-Z]", path.read_text(encoding="utf-8"))
    }
    assert named == VARIABLES.keys()
