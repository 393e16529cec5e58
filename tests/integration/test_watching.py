"""Metrics and traces of a real coordinator: off by default, true when they are on."""

from __future__ import annotations

import gzip
import re
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from urllib.request import urlopen

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families

from agent_trace_coordinator.server.metrics import Metrics, Start
from agent_trace_coordinator.storage.store import create_store, open_store
from agent_trace_protocol import (
    AcquireLease,
    DocumentType,
    Durability,
    Put,
    Read,
    Refused,
    Status,
    StatusReport,
    Transact,
)
from support.coordinator import Peer, running

pytestmark = pytest.mark.integration

Samples = dict[tuple[str, tuple[str, ...]], float]


def scrape(address: str) -> Samples:
    """Return all samples by name and labels' values; what is not a number of ours left out."""
    with urlopen(address, timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return {
        (sample.name.removeprefix("agent_trace_"), tuple(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("agent_trace_") and not sample.name.endswith("_created")
    }


def test_metrics_count_what_was_done_and_show_what_waits(tmp_path: Path) -> None:
    with running(tmp_path / "s", "--metrics", "127.0.0.1:0") as coordinator:
        with Peer(coordinator.endpoint).opened() as peer:
            peer.do(Put("a.md", b"a\n"), Put("b.md", b"b\n"))
            peer.do(Put("a.md", b"two\n", if_revision=1), durability=Durability.GIT)
            late = peer.ask(Transact((Put("a.md", b"late\n", if_revision=1),)))
            assert isinstance(late, Refused)
            denied = peer.ask(Transact((Put("r.md", b"r\n", type=DocumentType.REFERENCE),)))
            assert isinstance(denied, Refused)
            assert isinstance(peer.ask(Read("none.md")), Refused)
            peer.ask(AcquireLease("plans/*"))
            status = peer.ask(Status())
            assert isinstance(status, StatusReport)
            found = scrape(coordinator.info.metrics)
    # Exactly what was done, by whom, and what was refused, why.
    operations = {key[1]: value for key, value in found.items() if key[0] == "operations_total"}
    done = ("open", "create", "put", "draft", "refuse", "lease")
    assert operations == {(action, "agent"): 1 for action in done}
    refusals = {key[1]: value for key, value in found.items() if key[0] == "refusals_total"}
    assert refusals == {("conflict",): 1, ("permission_denied",): 1, ("not_found",): 1}
    # What waits is what `status` says.
    assert found["operation", ()] == status.seq == 6
    assert found["documents", ()] == status.documents == 2
    assert found["sessions", ("live",)] == status.sessions_live == 1
    assert found["sessions", ("stale",)] == 0
    assert (found["leases", ()], found["drafts", ()], found["violations", ()]) == (1, 1, 1)
    # Each operation was timed once, each batch as well.
    assert found["acknowledge_seconds_count", ()] == 6
    assert found["journal_batch_operations_sum", ()] == 6
    batches = found["journal_sync_seconds_count", ()]
    assert batches == found["journal_batch_operations_count", ()]
    assert found["journal_sync_seconds_sum", ()] <= found["acknowledge_seconds_sum", ()]
    assert 1 <= found["git_seconds_count", ()] <= batches
    # Whoever waits for its commit leaves at most what came later.
    assert 0 <= found["git_lag_operations", ()] <= 3
    for quiet in ("store_read_only", "git_failing", "files_failing", "pending_operations"):
        assert found[quiet, ()] == 0


def test_every_metric_is_described(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    _, _, table = text.partition("| metric | what it says |\n| --- | --- |\n")
    rows = table.partition("\n\n")[0].splitlines()
    described = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    with running(tmp_path / "s", "--metrics", "127.0.0.1:0") as coordinator:
        with urlopen(coordinator.info.metrics, timeout=10) as answer:
            named = re.findall(r"^# TYPE agent_trace_(\w+)", answer.read().decode(), re.MULTILINE)
    assert described == {name for name in named if not name.endswith("_created")}


def test_what_is_off_is_not_even_imported() -> None:
    script = (
        "import sys, agent_trace_coordinator.server.service\n"
        "print(*{'prometheus_client', 'opentelemetry', 'http.server'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout == b"\n"


def failing(root: Path, *arguments: str) -> str:
    """Serve a store, which must be refused, and return why."""
    create_store(root)
    done = subprocess.run(
        [sys.executable, "-m", "agent_trace_coordinator", "serve", "--store", root, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--metrics", "0.0.0.0:0"), "can be reached from other machines"),
        (("--traces", "localhost:4318"), "such as http://127.0.0.1:4318/v1/traces"),
    ],
    ids=lambda each: str(each[-1]),
)
def test_what_can_not_be_watched_from_is_refused_at_the_start(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    tmp_path.joinpath("s").mkdir()
    assert says in failing(tmp_path / "s", *arguments)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    tmp_path.joinpath("s").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        assert f"metrics can not be served at {place}" in failing(
            tmp_path / "s", "--metrics", place
        )


def test_what_is_lost_on_a_full_disk_is_not_timed() -> None:
    metrics = Metrics(Start(0.0, 0))
    metrics.lost()
    (family,) = (each for each in metrics.registry.collect() if each.name.endswith("_read_only"))
    assert [sample.value for sample in family.samples if sample.name.endswith("_total")] == [1.0]


# ---- traces ----------------------------------------------------------------------------------


@contextmanager
def collector() -> Generator[tuple[str, SimpleQueue[ExportTraceServiceRequest]]]:
    """A collector of traces: its address, and what it is sent."""
    received: SimpleQueue[ExportTraceServiceRequest] = SimpleQueue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            received.put(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_write_has_a_span_from_the_request_to_its_commit(tmp_path: Path) -> None:
    with (
        collector() as (url, received),
        running(tmp_path / "s", "--traces", url) as coordinator,
    ):
        with Peer(coordinator.endpoint).opened() as peer:
            peer.do(Put("plan.md", b"what nobody may collect\n"), durability=Durability.GIT)
        # A clean end sends what is left.
        assert coordinator.end() == 0
        request = received.get(timeout=10)
    assert b"nobody may collect" not in request.SerializeToString()
    resource = {
        each.key: each.value.string_value for each in request.resource_spans[0].resource.attributes
    }
    assert resource["service.name"] == "agent-trace" and len(resource["agent_trace.store"]) == 32
    spans: list[Span] = [
        span
        for group in request.resource_spans
        for scope in group.scope_spans
        for span in scope.spans
    ]
    (whole,) = (span for span in spans if span.name == "create")
    told = {each.key: each.value.string_value or each.value.int_value for each in whole.attributes}
    assert told == {
        "agent_trace.seq": 2,
        "agent_trace.actor": "agent",
        "agent_trace.author": "planner",
        "agent_trace.session": told["agent_trace.session"],
        "agent_trace.path": "plan.md",
        "agent_trace.revision": 1,
        "agent_trace.bytes": 24,
    }
    journal, git = sorted(
        (span for span in spans if span.parent_span_id == whole.span_id),
        key=lambda span: span.start_time_unix_nano,
    )
    assert (journal.name, git.name) == ("journal", "git")
    # The parts cover the whole, one after the other.
    assert (
        whole.start_time_unix_nano
        == journal.start_time_unix_nano
        < journal.end_time_unix_nano
        == git.start_time_unix_nano
        < git.end_time_unix_nano
        == whole.end_time_unix_nano
    )


def test_a_collector_that_is_gone_costs_nobody_a_write(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with running(tmp_path / "s", "--traces", f"http://127.0.0.1:{port}/v1/traces") as coordinator:
        with Peer(coordinator.endpoint).opened() as peer:
            peer.do(Put("plan.md", b"x\n"), durability=Durability.GIT)
        assert coordinator.end() == 0
    assert open_store(tmp_path / "s").root == (tmp_path / "s").absolute()
