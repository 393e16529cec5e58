"""OpenTelemetry traces: a span for each operation, from the request to the commit that holds it.

Two spans lie below it: `journal`, until the operation is durable and answered, and `git`, from
there until its commit is durable. They are made when the last of them ends, with the times that
were kept meanwhile. Contents of documents are never in a span; who wrote what, and where, is.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import set_span_in_context

from agent_trace_coordinator import __version__
from agent_trace_coordinator.core.entries import log_entries
from agent_trace_coordinator.core.records import Entry
from agent_trace_protocol import ErrorCode

__all__ = ["Traces"]

OPERATIONS_MAX: Final = 10_000
"""Operations whose spans wait for git; while it is farther behind, the oldest get none."""

EXPORT_SECONDS: Final = 3
"""How long one delivery may take; as long may a coordinator take longer to leave."""

_Attributes = dict[str, str | int]


class _Timed:
    """One operation and its times, in seconds of the monotonic clock."""

    __slots__ = ("asked", "attributes", "durable", "name", "seq")

    def __init__(self, entry: Entry, asked: float) -> None:
        record = entry.record
        first = log_entries(record)[0]
        self.seq = record.seq
        self.asked = asked
        self.durable = 0.0
        self.name = str(first.action)
        self.attributes: _Attributes = {
            "agent_trace.seq": record.seq,
            "agent_trace.actor": str(record.actor),
            "agent_trace.author": record.author,
            "agent_trace.session": record.session,
            "agent_trace.path": first.path,
            "agent_trace.revision": first.revision,
            "agent_trace.bytes": sum(len(content) for _, content in entry.contents),
        }


class Traces:
    """An observer that makes spans and sends them to a collector, by OTLP over HTTP."""

    def __init__(self, url: str, store: str) -> None:
        self._provider = TracerProvider(
            resource=Resource.create(
                {
                    "service.name": "agent-trace",
                    "service.version": __version__,
                    "agent_trace.store": store,
                }
            ),
            # We say when it ends; its own way is at the interpreter's exit, after our lock is gone.
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(url, timeout=EXPORT_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("agent_trace.coordinator", __version__)
        # Spans have wall times; one offset, so that a jump of that clock makes none negative.
        self._offset = time.time_ns() - time.monotonic_ns()
        self._accepted: deque[_Timed] = deque(maxlen=OPERATIONS_MAX)
        self._durable: deque[_Timed] = deque(maxlen=OPERATIONS_MAX)

    def accepted(self, entry: Entry, asked: float) -> None:
        """See `Observer`."""
        self._accepted.append(_Timed(entry, asked))

    def refused(self, code: ErrorCode) -> None:
        """See `Observer`; a refused request became no operation and has no span."""

    def durable(self, batch: list[Entry], seconds: float) -> None:
        """See `Observer`."""
        now = time.monotonic()
        last = batch[-1].record.seq
        while self._accepted and self._accepted[0].seq <= last:
            timed = self._accepted.popleft()
            timed.durable = now
            self._durable.append(timed)

    def in_git(self, seq: int) -> None:
        """See `Observer`."""
        now = time.monotonic()
        while self._durable and self._durable[0].seq <= seq:
            self._emit(self._durable.popleft(), now)

    def lost(self) -> None:
        """See `Observer`."""
        self._accepted.clear()

    def _emit(self, timed: _Timed, end: float) -> None:
        whole = self._tracer.start_span(
            timed.name, attributes=timed.attributes, start_time=self._wall(timed.asked)
        )
        below = set_span_in_context(whole)
        for name, since, until in (
            ("journal", timed.asked, timed.durable),
            ("git", timed.durable, end),
        ):
            span = self._tracer.start_span(name, below, start_time=self._wall(since))
            span.end(self._wall(until))
        whole.end(self._wall(end))

    def _wall(self, moment: float) -> int:
        """Return UTC nanoseconds of a moment of the monotonic clock."""
        return int(moment * 1e9) + self._offset

    @contextmanager
    def sending(self) -> Generator[None]:
        """Send what is made during a block; what is left is sent at its end, or given up."""
        try:
            yield
        finally:
            self._provider.shutdown()
