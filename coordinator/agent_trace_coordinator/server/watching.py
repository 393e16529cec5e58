"""Which observers a coordinator has, by its settings; the libraries of those that are off are not
imported."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from urllib.parse import urlsplit

from anyio.lowlevel import current_token

from agent_trace_coordinator.core.records import Entry
from agent_trace_coordinator.errors import StoreInvalid
from agent_trace_coordinator.storage.store import StoreConfig

from .figures import Figures
from .observer import Observer

__all__ = ["Watching"]

_log = logging.getLogger("agent_trace.coordinator.watching")


class Watching:
    """All observers as one, and what they need from the rest."""

    def __init__(
        self, stack: ExitStack, config: StoreConfig, store: str, seconds: float, replayed: int
    ) -> None:
        """Begin to serve metrics and to send traces, as the settings say, until `stack` is closed.

        Args:
            store: the store's id.
            seconds: what the start took until here.
            replayed: operations that git was given again by it.

        Raises:
            StoreInvalid: what the settings ask for is not possible here.
        """
        self.observers: list[Observer] = []
        self.metrics = ""
        """The address of the metrics; empty if they are off."""
        self._look: Callable[[Callable[[], Figures]], None] | None = None
        if config.metrics:
            # Only who asks for metrics pays for the library.
            from .metrics import Metrics, Start  # noqa: PLC0415

            made = Metrics(Start(seconds, replayed))
            self.observers.append(made)
            self.metrics = stack.enter_context(
                made.served(config.metrics, anywhere=config.listen_any)
            )
            self._look = lambda figures: made.look_at(figures, current_token())
            _log.info("metrics at %s", self.metrics)
        if config.traces:
            self.observers.append(_traces(stack, config.traces, store))
            _log.info("traces go to %s", config.traces)

    def look_at(self, figures: Callable[[], Figures]) -> None:
        """Ask `figures` on this event loop whenever somebody wants to know; call on the loop."""
        if self._look is not None:
            self._look(figures)

    def durable(self, batch: list[Entry], seconds: float) -> None:
        """Tell all; see `Observer`."""
        for each in self.observers:
            each.durable(batch, seconds)

    def in_git(self, seq: int) -> None:
        """Tell all; see `Observer`."""
        for each in self.observers:
            each.in_git(seq)

    def lost(self) -> None:
        """Tell all; see `Observer`."""
        for each in self.observers:
            each.lost()


def _traces(stack: ExitStack, url: str, store: str) -> Observer:
    if urlsplit(url).scheme not in ("http", "https"):
        raise StoreInvalid(
            f"traces can not go to {url!r}; name a collector's address for OTLP over HTTP, such as "
            "http://127.0.0.1:4318/v1/traces"
        )
    try:
        # An extra of the installation: most never need the SDK and what it brings.
        from .traces import Traces  # noqa: PLC0415
    except ImportError as error:
        raise StoreInvalid(
            f"traces need {error.name}, which is not installed: pip install 'agent-trace[traces]', "
            "or leave the setting traces empty"
        ) from error
    made = Traces(url, store)
    stack.enter_context(made.sending())
    return made
