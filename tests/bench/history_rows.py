"""What questions about history cost after many revisions, and how soon a listing begins.

Times are those of an asker: what the coordinator takes, and the way there and back, which the note
tells apart.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent_trace.launch import listening
from agent_trace_protocol import (
    Actor,
    Blame,
    Diff,
    DocumentInfo,
    ListDocuments,
    Log,
    Page,
    Ping,
    Read,
    Refused,
    Request,
    Search,
    SearchPage,
)
from support.coordinator import Peer

from .processes import BenchFailed, Coordinator, Crew, make_store
from .results import Row, Target, median, milliseconds, percentile, ratios

if TYPE_CHECKING:
    from .scenarios import Settings

__all__ = ["HISTORY_ROWS", "LISTING_ROWS", "measure_history", "measure_listing"]

REVISIONS_FEW: Final = 1000
REVISIONS_MANY: Final = 100_000
DOCUMENTS: Final = 100
DOCUMENTS_FEW: Final = 10

SECONDS_MAX: Final = 0.020
"""What a question may take, at the median, in the middle of all these revisions."""

ASKED: Final = 400
"""Questions of each kind in each run."""

INDEXED_MS_MAX: Final = 60_000

_AGENTS: Final = 8
_DEPTH: Final = 32

HISTORY_ROWS: Final = ("log-file", "show-revision", "diff", "blame")
LISTING_ROWS: Final = ("ls-first",)

_TITLES: Final = {
    "log-file": "log FILE --limit 10",
    "show-revision": "show FILE@REV",
    "diff": "diff FILE A B",
    "blame": "blame FILE, back to its first revision",
}


def measure_history(settings: Settings, wanted: Collection[str]) -> list[Row]:
    """The same questions after many revisions and after few, same documents, in turns."""
    few, many = settings.place / "few", settings.place / "many"
    settings.tell(f"history of {settings.revisions:,} revisions: preparing")
    make_store(few)
    with Coordinator(few) as coordinator:
        with Crew(few, 4 * settings.processes, settings.processes, "filler") as crew:
            crew.run("create", agents=4 * settings.processes, documents=DOCUMENTS, depth=2)
        _revise(few, settings, REVISIONS_FEW - DOCUMENTS)
        coordinator.settle()
    shutil.copytree(few, many, symlinks=True)
    with Coordinator(many) as coordinator:
        _revise(many, settings, settings.revisions - REVISIONS_FEW)
        coordinator.settle()
    times: dict[str, tuple[list[float], list[float]]] = {}
    worst: dict[str, list[float]] = {}
    for run in range(1, settings.runs + 1):
        settings.tell(f"history: run {run} of {settings.runs}")
        # Both are there at once and are asked in turns, so that whatever else the machine does
        # falls on both.
        with Coordinator(few), Coordinator(many):
            for root in (few, many):
                with _asker(root) as peer:
                    _let_index(peer)
            with _asker(few) as one, _asker(many) as other:
                draw = random.Random(run)
                documents = _documents(one), _documents(other)
                for row in ("ping", *(row for row in HISTORY_ROWS if row in wanted)):
                    spent = _ask(
                        (one, _questions(row, draw, documents[0])),
                        (other, _questions(row, draw, documents[1])),
                    )
                    for side, seconds in zip(times.setdefault(row, ([], [])), spent, strict=True):
                        side.append(percentile(seconds, 50))
                    worst.setdefault(row, []).append(percentile(spent[1], 99))
    ping = milliseconds(median(times["ping"][1]))
    rows: list[Row] = []
    for row in HISTORY_ROWS:
        if row not in wanted:
            continue
        samples = ratios(times[row][1], times[row][0])
        p50 = median(times[row][1])
        within = "over" if p50 > SECONDS_MAX else "within"
        rows.append(
            Row(
                name=row,
                title=f"{_TITLES[row]} at {settings.revisions:,} revisions vs at {REVISIONS_FEW:,}",
                value=median(samples),
                # Blame goes back through the document's revisions: its cost is theirs.
                target=None if row == "blame" else Target(1.2, at_least=False),
                ours=f"{milliseconds(p50)} ms",
                against=f"vs {milliseconds(median(times[row][0]))} ms",
                p50_seconds=p50,
                p99_seconds=median(worst[row]),
                note=f"a ping takes {ping} ms of it; {within} {milliseconds(SECONDS_MAX)} ms",
                samples=samples,
                asked=settings.revisions >= REVISIONS_MANY,
            )
        )
    return rows


def _asker(root: Path) -> Peer:
    info = listening(root)
    if info is None:
        raise BenchFailed("the coordinator is gone")
    return Peer(info.endpoint, "asker", Actor.USER).opened()


def _let_index(peer: Peer) -> None:
    """Return when the full-text index has everything: after a hundred thousand writes at once it
    works for half a minute, and questions about history would share the processor with it."""
    page = SearchPage((), False, 0, 1)
    while page.indexed_seq < page.seq:
        # It answers with what it has after some time, longer than a peer waits.
        peer.number += 1
        peer.send(Search("nothing"))
        if not peer.socket.poll(INDEXED_MS_MAX):
            raise BenchFailed("the full-text index does not answer")
        answer = peer.receive()
        assert isinstance(answer, SearchPage), answer
        page = answer


def _questions(row: str, draw: random.Random, documents: Sequence[DocumentInfo]) -> list[Request]:
    """Return questions of a kind about revisions that are all different: an answer that is kept
    from the one before is none of the figures' business."""
    revisions = [
        (document.path, revision)
        for document in documents
        for revision in range(1, document.revision + 1)
    ]
    chosen = draw.sample(revisions, min(ASKED, len(revisions)))
    match row:
        case "ping":
            return [Ping()] * ASKED
        case "log-file":
            return [Log(path, 10) for path, _ in chosen]
        case "show-revision":
            return [Read(path, revision) for path, revision in chosen]
        case "diff":
            return [Diff(path, new=revision) for path, revision in chosen]
        case _:
            return [Blame(path, revision) for path, revision in chosen]


def _documents(peer: Peer) -> tuple[DocumentInfo, ...]:
    page = peer.ask(ListDocuments(limit=DOCUMENTS, prefix="notes-"))
    assert isinstance(page, Page), page
    return page.documents


def _ask(
    one: tuple[Peer, Sequence[Request]], other: tuple[Peer, Sequence[Request]]
) -> tuple[list[float], list[float]]:
    """Ask both in turns, one question after the other, and return the time of each."""
    spent: tuple[list[float], list[float]] = ([], [])
    for pair in zip(one[1], other[1], strict=False):
        for peer, request, times in zip((one[0], other[0]), pair, spent, strict=True):
            began = time.perf_counter()
            reply = peer.ask(request)
            times.append(time.perf_counter() - began)
            if isinstance(reply, Refused):
                raise BenchFailed(f"{request}: {reply.error.message}")
    return spent


def measure_listing(settings: Settings, wanted: Collection[str]) -> list[Row]:
    """How soon the first line of `ls` is there, with many documents and with few."""
    del wanted
    few, many = settings.place / "few", settings.place / "many"
    first: dict[str, list[float]] = {"few": [], "many": []}
    whole: list[float] = []
    for root, documents in ((few, DOCUMENTS_FEW), (many, settings.documents)):
        settings.tell(f"ls of {documents:,} documents: preparing")
        make_store(root)
        with Coordinator(root), Crew(root, _AGENTS, settings.processes, "filler") as crew:
            crew.run("create", agents=_AGENTS, documents=documents, depth=2)
    with Coordinator(few), Coordinator(many):
        for run in range(1, settings.runs + 1):
            settings.tell(f"ls: run {run} of {settings.runs}")
            sides = (("few", few), ("many", many))
            for name, root in sides if run % 2 else sides[::-1]:
                began, head, end = _list(root)
                first[name].append(head - began)
                if name == "many":
                    whole.append(end - began)
    samples = ratios(first["many"], first["few"])
    return [
        Row(
            name="ls-first",
            title=f"the first line of ls with {settings.documents:,} documents vs with "
            f"{DOCUMENTS_FEW}",
            value=median(samples),
            target=Target(1.2, at_least=False),
            ours=f"{milliseconds(median(first['many']))} ms",
            against=f"vs {milliseconds(median(first['few']))} ms, from exec",
            p50_seconds=percentile(first["many"], 50),
            p99_seconds=percentile(first["many"], 99),
            note=f"the last line after {milliseconds(median(whole))} ms",
            samples=samples,
            asked=not settings.reduced,
        )
    ]


def _list(root: Path) -> tuple[float, float, float]:
    """Return when `ls` was begun, when its first line was there, and when it was over."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "agent_trace", "ls", "--store", str(root)],
        stdout=subprocess.PIPE,
        env={**os.environ, "AGENT_TRACE_NO_START": "1"},
    )
    assert process.stdout is not None
    with process.stdout:
        process.stdout.readline()
        head = time.perf_counter()
        for _ in process.stdout:
            pass
    if process.wait():
        raise BenchFailed("ls failed")
    return began, head, time.perf_counter()


def _revise(root: Path, settings: Settings, count: int) -> None:
    with Crew(root, _AGENTS, settings.processes, "reviser") as crew:
        crew.run("put", agents=_AGENTS, depth=_DEPTH, count=count, documents=DOCUMENTS)
