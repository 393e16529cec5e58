"""What a command imports before it does anything: that is most of what it costs.

The set of modules is held, not the time, which depends on the machine; `make bench` prints that.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.coordinator import Coordinator, running

ALLOWED = {
    *("agent_trace", "agent_trace_protocol"),
    *("anyio", "click", "idna", "msgspec", "regex", "sniffio", "typing_extensions", "zmq"),
    # Of zmq's compiled part.
    "cython_runtime",
}
"""All that a command of the command line needs besides Python itself. The MCP SDK alone would cost
seconds."""

SCRIPT = """
import json, sys
before = set(sys.modules)
sys.argv = ["agent-trace", *sys.argv[1:]]
from agent_trace.cli import main
try:
    main()
finally:
    loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
    print(json.dumps(sorted(loaded - sys.stdlib_module_names)), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinator]:
    with running(tmp_path_factory.mktemp("store")) as started:
        yield started


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("write", "plan.md", "--text", "x"),
        ("log",),
        ("hook", "claude"),
        ("setup", "cursor", "--check"),
        # Without a terminal it ends before the view is imported.
        ("open",),
    ],
    ids=" ".join,
)
def test_a_command_imports_no_more_than_it_needs(
    coordinator: Coordinator, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        cwd=coordinator.root,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    loaded = set(json.loads(done.stderr.splitlines()[-1]))
    # The finder of an editable installation and compilers put versions into their names.
    loaded = {name for name in loaded if not name.startswith(("__editable__", "_cython_"))}
    assert loaded - ALLOWED == set()
    assert "agent_trace" in loaded
