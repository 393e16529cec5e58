"""The log as JSON: one object a line, whatever happens."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest

from agent_trace_coordinator.log_lines import JsonFormatter
from support.coordinator import running


def record(message: str, *arguments: object) -> logging.LogRecord:
    made = logging.LogRecord("agent_trace.x", logging.WARNING, "", 0, message, arguments, None)
    made.created, made.msecs, made.process = 1_700_000_000.5, 500.0, 7
    return made


def test_a_record_is_one_line_of_json() -> None:
    line = JsonFormatter().format(record("%s is\nnot %d", "it", 3))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.500Z",
        "level": "warning",
        "logger": "agent_trace.x",
        "pid": 7,
        "message": "it is\nnot 3",
    }


def test_a_name_that_is_no_text_costs_no_line() -> None:
    line = JsonFormatter().format(record("%s", b"\xff.md".decode("utf-8", "surrogateescape")))
    assert json.loads(line)["message"] == "\\udcff.md"


def test_an_exception_is_in_the_same_line() -> None:
    made = record("it failed")
    try:
        raise ValueError("of this")
    except ValueError:
        made.exc_info = sys.exc_info()
    line = JsonFormatter().format(made)
    assert "\n" not in line
    assert "ValueError: of this" in json.loads(line)["exception"]


@pytest.mark.integration
def test_all_that_a_coordinator_says_is_json(tmp_path: Path) -> None:
    with running(tmp_path / "store", "--log-format", "json") as coordinator:
        # At the first moment at which somebody knows of it.
        coordinator.end()
        assert coordinator.process.returncode == 0
    said = [json.loads(line) for line in coordinator.said]
    assert any("serving" in each["message"] for each in said)
    assert {each["pid"] for each in said} == {coordinator.process.pid}
