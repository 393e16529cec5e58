"""Starting the coordinator, with a stand-in for it that does what the test says."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from agent_trace import launch
from agent_trace.errors import CoordinatorFailed, StoreNotCreated
from agent_trace_protocol.layout import COORDINATOR_LOG, ENDPOINT_FILE, EndpointInfo

# The stand-in takes the store's lock, listens, and leaves traces that the test counts.
_STAND_IN = """
import fcntl, json, os, socket, sys, time
if sys.argv[1] == "init":
    if "bad" in sys.argv[2]:
        sys.exit("error: not here\\nhint: try elsewhere")
    os.makedirs(sys.argv[2])
    sys.exit(0)
run = os.path.join(sys.argv[3], ".agent-trace", "run")
print("starting", flush=True)
behaviour = open(os.path.join(run, "behaviour")).read()
if behaviour == "fail":
    sys.exit("error: the journal is damaged")
lock = open(os.path.join(run, "lock"), "w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(3)
path = os.path.join(run, "s")
if os.path.exists(path):
    os.unlink(path)
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(64)
info = {"endpoint": "ipc://" + path, "pid": os.getpid(), "epoch": 1, "version": "0"}
temporary = os.path.join(run, "endpoint.tmp")
with open(temporary, "w") as file:
    json.dump(info, file)
os.replace(temporary, os.path.join(run, "endpoint.json"))
listener.settimeout(60)
while True:
    listener.accept()
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    modules = tmp_path / "modules" / "agent_trace_coordinator"
    modules.mkdir(parents=True)
    (modules / "__init__.py").touch()
    (modules / "__main__.py").write_text(_STAND_IN, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(modules.parent))
    store = tmp_path / "store"
    (store / ".agent-trace" / "run").mkdir(parents=True)
    _behave(store, "serve")
    yield store
    info = launch.read_endpoint(store)
    if info is not None:
        with suppress(ProcessLookupError):
            os.kill(info.pid, signal.SIGKILL)


def _behave(store: Path, how: str) -> None:
    (store / ".agent-trace" / "run" / "behaviour").write_text(how, encoding="utf-8")


def _log(store: Path) -> str:
    return (store / COORDINATOR_LOG).read_text(encoding="utf-8")


async def test_a_coordinator_is_started_once_however_many_need_it(root: Path) -> None:
    found: list[EndpointInfo] = []

    async def need() -> None:
        found.append(await launch.ensure_coordinator(root))

    assert launch.listening(root) is None
    with anyio.fail_after(15):
        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(need)
        assert await launch.ensure_coordinator(root) == found[0]
    assert found == [found[0]] * 8
    assert _log(root) == "starting\n"


async def test_a_killed_coordinator_is_followed_by_another(root: Path) -> None:
    with anyio.fail_after(15):
        first = await launch.ensure_coordinator(root)
        os.kill(first.pid, signal.SIGKILL)
        second = await launch.ensure_coordinator(root)
        while second.pid == first.pid:
            second = await launch.ensure_coordinator(root)
    assert first.endpoint == second.endpoint


async def test_one_that_can_not_start_is_quoted(root: Path) -> None:
    _behave(root, "fail")
    with anyio.fail_after(15), pytest.raises(CoordinatorFailed) as caught:
        await launch.ensure_coordinator(root)
    assert caught.value.message == (
        f"the coordinator of {root} ended with exit code 1 and said: starting\n"
        "the journal is damaged; run agent-trace serve to watch it start"
    )


async def test_a_store_that_is_held_but_not_served_is_waited_for_up_to_the_bound(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "START_SECONDS_MAX", 0.5)
    held = os.open(root / ".agent-trace" / "run" / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    with anyio.fail_after(15), pytest.raises(CoordinatorFailed, match="no coordinator listens"):
        await launch.ensure_coordinator(root)
    os.close(held)


async def test_files_of_a_store_are_never_taken_for_modules(root: Path) -> None:
    (root / "agent_trace_coordinator.py").write_text("1 / 0", encoding="utf-8")
    (root / "json.py").write_text("1 / 0", encoding="utf-8")
    with anyio.fail_after(15):
        await launch.ensure_coordinator(root)
    assert _log(root) == "starting\n"


@pytest.mark.parametrize("text", ["", "{", '{"endpoint": 1}', "[" * 100_000, "\xff"])
def test_an_endpoint_file_that_says_nothing_is_no_coordinator(root: Path, text: str) -> None:
    (root / ENDPOINT_FILE).write_text(text, encoding="latin-1")
    assert launch.listening(root) is None


def test_a_store_is_made_by_the_coordinator(root: Path) -> None:
    launch.create_store(root / "new")
    assert (root / "new").is_dir()
    with pytest.raises(StoreNotCreated, match="^not here$") as raised:
        launch.create_store(root / "bad")
    assert raised.value.hint == "try elsewhere"
