"""A coordinator's life: lock, recover, listen, serve, leave.

The order is a law. The lock comes before everything, because a second bind on a unix socket
silently takes it over. Nothing is served before the journal was made durable anew, git has
everything, and the files were compared. The endpoint is announced last.
"""

from __future__ import annotations

import gc
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

import anyio
import msgspec
from anyio.abc import TaskStatus

from agent_trace_coordinator import __version__
from agent_trace_coordinator.core.grants import resume
from agent_trace_coordinator.core.inputs import Credential
from agent_trace_coordinator.core.invariants import check
from agent_trace_coordinator.core.manifest import Manifest
from agent_trace_coordinator.core.records import Entry
from agent_trace_coordinator.core.state import Rules, State
from agent_trace_coordinator.errors import (
    CorruptStore,
    JournalFailed,
    JournalFull,
    JournalGone,
)
from agent_trace_coordinator.storage.beginnings import check_beginning
from agent_trace_coordinator.storage.drafts import DraftFiles
from agent_trace_coordinator.storage.git import GitHistory
from agent_trace_coordinator.storage.history_index import HistoryIndex
from agent_trace_coordinator.storage.index import Index
from agent_trace_coordinator.storage.journal import Journal
from agent_trace_coordinator.storage.keys import KeyRing
from agent_trace_coordinator.storage.lock import StoreLock
from agent_trace_coordinator.storage.quarantine import Quarantine
from agent_trace_coordinator.storage.recovery import (
    check_not_behind,
    replay_to_git,
    restore_files,
)
from agent_trace_coordinator.storage.search import SearchIndex
from agent_trace_coordinator.storage.store import Store, StoreConfig, load_config, open_store
from agent_trace_coordinator.storage.trace_index import TraceIndex
from agent_trace_coordinator.storage.upgrade import bring_up_to_date
from agent_trace_coordinator.storage.versions import FORMAT_VERSION
from agent_trace_coordinator.storage.worktree import FileTree
from agent_trace_protocol import MirrorInfo
from agent_trace_protocol.layout import EXIT_DISK_FAILED, SPOOL_DIRECTORY, EndpointInfo, StoppedInfo

from .briefings import Briefings
from .clock import read_clock
from .curve import CurveRouter
from .endpoint import (
    announce,
    check_private,
    forget_stop,
    mark_stopped,
    private_umask,
    socket_path,
    sweep_sockets,
    withdraw,
)
from .figures import Figures, figures_of
from .file_stage import FileStage
from .generated_stage import GeneratedStage
from .git_stage import GitStage
from .journal_stage import JournalStage
from .lookup import Lookup
from .manifest_stage import ManifestStage
from .mirror_stage import MirrorStage
from .push_stage import PushStage
from .quarantine_stage import QuarantineStage
from .queries import Queries, RepositoryFigures
from .runtime import Runtime
from .search_stage import SearchStage
from .sockets import Router
from .spool import Spool
from .tcp import listen_address, required_keys
from .watcher import Watcher
from .watching import Watching
from .ways import Ways

__all__ = ["serve"]

PLACE_WATCH_SECONDS: Final = 1.0
"""How often the coordinator looks whether its store is still there. Each batch of the journal looks
for itself."""

REPLAY_RECORDS_AT_START: Final = 5000
"""Records that git may lack and gets before anybody is served: some seconds, and more than a crash
leaves. A history that is gone is made while the store is in use, for nobody waits a minute."""

DESCRIPTORS_MAX: Final = 65_536
"""Open files of a coordinator, one for each connection; the usual 1,024 end at as many clients."""

GENERATED_VARIABLE: Final = "AGENT_TRACE_GENERATED"
"""`0` turns off generated documents for a coordinator, whatever its store's settings say: for
scripts that count operations."""

_log = logging.getLogger("agent_trace.coordinator")


def serve(
    root: Path,
    idle_seconds: float | None,
    *,
    background: bool = False,
    listen: str = "",
    listen_any: bool = False,
    metrics: str = "",
    traces: str = "",
) -> int:
    """Be the coordinator of a store until asked to leave; return the process's exit code.

    It leaves after `idle_seconds` without a request; in the background, if they are not given,
    after those that the store's configuration names, unless it listens on TCP: those who come by it
    can not start another one. What is given of `listen`, `listen_any`, `metrics` and `traces`
    counts in place of the configuration's.

    Raises:
        AgentTraceError: the store can not be served; the message says why.
    """
    _set_limits()
    sys.setswitchinterval(SWITCH_SECONDS)
    store = open_store(root)
    for warning in store.warnings:
        _log.warning("%s", warning)
    config = load_config(store)
    config = msgspec.structs.replace(
        config,
        listen=listen or config.listen,
        listen_any=listen_any or config.listen_any,
        metrics=metrics or config.metrics,
        traces=traces or config.traces,
    )
    if idle_seconds is None and background and config.idle_seconds and not config.listen:
        idle_seconds = config.idle_seconds
    with ExitStack() as stack:
        lock = stack.enter_context(StoreLock(store.lock))
        try:
            return _serve(stack, store, config, lock, idle_seconds)
        except JournalFailed as error:
            _end_at_once(error)
        except BaseExceptionGroup as group:
            failed = group.subgroup(JournalFailed)
            if failed is None:
                raise
            _end_at_once(failed, gone=group.subgroup(JournalGone) is not None)


SWITCH_SECONDS: Final = 0.001
"""How long the event loop may keep the interpreter from the worker threads. A batch of the journal
takes it some ten times; with Python's 5 ms each would wait that long while requests pour in."""


def _set_limits() -> None:
    """Allow a descriptor for each of many clients, and no image of our memory on the disk."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_MAX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    # It holds keys, and documents that only the store's owner may read.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _end_at_once(failure: BaseException, *, gone: bool = False) -> NoReturn:
    """End the process without another touch of the disk.

    Nobody was told that anything of the batch is durable. A second sync would report success for
    pages that the kernel has given up (fsyncgate), so nothing is closed, checkpointed or retried;
    the next start makes durable what is there before it serves.
    """
    what = "the journal was taken away" if gone else "the disk failed under the journal"
    _log.critical("%s: %s", what, failure, exc_info=failure)
    logging.shutdown()
    os._exit(EXIT_DISK_FAILED)


@contextmanager
def _contradictions() -> Generator[None]:
    """Rows that SQLite can read and that make no sense are damage: a person is told so."""
    try:
        yield
    except (AssertionError, ValueError, TypeError, LookupError) as error:
        raise CorruptStore(
            f"state.db contradicts itself: {type(error).__name__}: {error}; see what is wrong "
            "with `agent-trace doctor`, and put it right with `agent-trace repair`"
        ) from error


def _serve(
    stack: ExitStack,
    store: Store,
    config: StoreConfig,
    lock: StoreLock,
    idle_seconds: float | None,
) -> int:
    began = time.monotonic()
    ring = KeyRing(store.keys)
    tcp, server_keys = "", None
    if config.listen:
        # Refused before anything else is done: nothing of the rest would make it right.
        tcp = listen_address(config.listen, anywhere=config.listen_any)
        server_keys = required_keys(ring)
    check_beginning(store)
    if (had := bring_up_to_date(store)) != FORMAT_VERSION:
        _log.info("brought the store from format %d to format %d", had, FORMAT_VERSION)
    journal = Journal(store.state_db)
    stack.callback(journal.close)
    rules = Rules(
        document_bytes_max=config.document_bytes_max,
        heartbeat_seconds=config.heartbeat_seconds,
        stale_seconds=config.stale_seconds,
        grace_seconds=config.grace_seconds,
        grace_seconds_cli=config.grace_cli_seconds,
        quarantine_bytes_max=config.quarantine_bytes_max,
        out_of_band_author=config.out_of_band_author,
        generated=config.generated and os.environ.get(GENERATED_VARIABLE, "1") != "0",
        leases_enforced=config.leases == "enforced",
    )
    with _contradictions():
        epoch, store_id = journal.begin_life()

    def load() -> State:
        now = read_clock()
        with _contradictions():
            state = journal.load(epoch=epoch, store=store_id, rules=rules, now=now.monotonic)
            resume(state, now)
            check(state)
        return state

    state = load()
    history_index = HistoryIndex(store.state_db)
    stack.callback(history_index.close)
    lookup_index, git_index, query_index, quarantine_index, search_source = (
        Index(store.state_db) for _ in range(5)
    )
    trace_index = TraceIndex(store.state_db)
    for index in (
        *(lookup_index, git_index, query_index, quarantine_index, search_source, trace_index),
    ):
        stack.callback(index.close)

    history = GitHistory(store.root, known_commits=journal.known_commits)
    stack.callback(history.close)
    git_seq = history.start()
    check_not_behind(state, git_seq)
    journal.append([], history.commits_after(journal.last_commit_seq()))
    replayed = 0
    if state.seq - git_seq <= REPLAY_RECORDS_AT_START:
        replayed = replay_to_git(git_index, history, git_seq, partial(journal.append, []))
        git_seq = state.seq

    tree = FileTree(
        store.root,
        temporary=store.temporary,
        quarantine=store.quarantine,
        document_bytes_max=config.document_bytes_max,
    )
    stack.callback(tree.close)
    for kept in restore_files(state, lookup_index, tree):
        _log.warning("foreign content at %s was kept as %s", kept.path, kept.kept_as)

    socket = socket_path(store.root)
    sweep_sockets()
    endpoint = f"ipc://{socket}"

    def figures() -> RepositoryFigures:
        statistics = history.statistics()
        return RepositoryFigures(
            git_seq=git.git_seq,
            head=statistics.head,
            packs=statistics.packs,
            repository_bytes=statistics.repository_bytes,
            maintenance=git.maintenance,
            budget_bytes=config.repository_budget_bytes,
            mirrors=tuple(MirrorInfo(each.url, each.seq, each.failure) for each in pushes.states()),
        )

    def on_committed(commits: list[tuple[int, str]]) -> None:
        runtime.on_committed(commits)

    def on_git_progress() -> None:
        runtime.on_shown()
        watching.in_git(git.git_seq)

    lookup = Lookup(lookup_index, tree, files_seq=lambda: files.written_seq)
    git = GitStage(
        history,
        git_index,
        git_seq,
        durable_seq=state.seq,
        on_committed=on_committed,
        on_progress=on_git_progress,
    )
    files = FileStage(
        tree,
        state.seq,
        lookup.content,
        on_progress=lambda: runtime.on_shown(),
        on_set_aside=lambda kept, seq: runtime.adoption.set_aside(store.quarantine, kept, seq),
    )
    quarantine = QuarantineStage(
        Quarantine(store.quarantine), DraftFiles(store.drafts), quarantine_index
    )
    quarantine.restore(state)
    watcher = Watcher(
        store.root,
        tree,
        paths=lambda: runtime.paths,
        files_seq=lambda: files.written_seq,
        hand_over=lambda found: runtime.adoption.changed(found),
        clock=read_clock,
        scan_seconds=config.scan_seconds,
    )
    generated = GeneratedStage(lambda: runtime.refresh_generated())
    manifest = ManifestStage(Manifest(state), store.manifest, store.temporary)
    stack.callback(manifest.finish)
    pushes = PushStage(store, lambda: git.git_seq, lambda: read_clock().wall_ms)
    mirror = MirrorStage(store.locks, store.temporary, lambda: runtime.mirror())

    def on_durable(batch: list[Entry]) -> None:
        runtime.on_durable(batch)

    def on_full(error: JournalFull) -> None:
        runtime.on_full(error)
        watching.lost()

    def on_healed() -> None:
        runtime.on_healed()
        # What could not be written is not asked for again by anything but the next change.
        generated.wake()

    def on_batch(batch: list[Entry]) -> None:
        watcher.note(batch)
        mirror.add(batch)
        generated.add(batch)
        manifest.add(batch)
        search.add(batch)
        watching.durable(batch, stage.batch_seconds)

    stage = JournalStage(
        journal,
        state.seq,
        on_durable=on_durable,
        on_full=on_full,
        on_healed=on_healed,
    )
    search_index = SearchIndex(store.search_db, search_source)
    stack.callback(search_index.close)
    search = SearchStage(search_index, state.seq)

    def on_message(peer: bytes, frames: list[bytes]) -> None:
        runtime.receive(peer, frames)

    def on_known(peer: bytes, frames: list[bytes], credential: Credential) -> None:
        runtime.receive(peer, frames, credential)

    router = Router(
        on_message,
        lambda: runtime.crowded,
        lambda: runtime.take_flooded(),
        lambda: stage.has_news,
    )
    stack.callback(router.close)
    spool = Spool(
        store.root / SPOOL_DIRECTORY,
        store.temporary,
        on_message,
    )
    curve: CurveRouter | None = None
    if server_keys is not None:
        curve = CurveRouter(
            on_known,
            lambda: runtime.crowded,
            lambda: runtime.take_flooded(),
            ring,
            server_keys,
        )
        stack.callback(curve.close)
    ways = Ways(router, spool, curve)
    watching = Watching(stack, config, store_id, time.monotonic() - began, replayed)
    runtime = Runtime(
        state,
        lookup,
        stage,
        git,
        files,
        Queries(query_index, store.root, endpoint, figures, history_index, search),
        ways,
        read_clock,
        reload=load,
        git_lag_records_max=config.git_lag_records_max,
        idle_seconds=idle_seconds,
        briefings=Briefings(trace_index),
        quarantine=quarantine,
        on_batch=on_batch,
        signs=tree,
        known_keys=lambda: ring.ids,
        observers=watching.observers,
    )
    socket.unlink(missing_ok=True)
    with private_umask():
        router.bind(endpoint)
    stack.callback(withdraw, store.root, socket)
    check_private(socket)
    if curve is not None:
        tcp = curve.bind(tcp)
        known = len(ring.ids)
        _log.info("listening at %s for %d known clients", tcp, known)
        if not known:
            _log.warning("nobody can come over TCP yet: agent-trace keys add NAME")
    spool.open()
    stack.callback(spool.close)
    forget_stop(store.root)
    # What was loaded stays: the collector need not look through it again and again.
    gc.collect()
    gc.freeze()

    def figures_now() -> Figures:
        return figures_of(runtime.state, runtime.load, read_clock(), stage, git, files)

    def tell() -> None:
        watching.look_at(figures_now)
        metrics = watching.metrics
        announce(store.root, EndpointInfo(endpoint, os.getpid(), epoch, __version__, tcp, metrics))
        _log.info("serving %s at operation %d", store.root, state.seq)

    beside = [quarantine.run, watcher.run, mirror.run, manifest.run, spool.run, search.run]
    beside.append(pushes.run)
    if rules.generated:
        if state.trace.fresh:
            # A crash came between a write and what is generated from it.
            generated.wake()
        beside.append(generated.run)
    try:
        anyio.run(_run, runtime, ways, lock, journal, beside, tell)
    except BaseExceptionGroup as group:
        if group.subgroup(JournalGone) is not None and lock.still_ours():
            _put_back(journal)
        raise
    if runtime.stopped_by:
        # Before the clients lose their connections, for that is when they look for it.
        mark_stopped(store.root, StoppedInfo(runtime.stopped_by, read_clock().wall_ms))
    pushes.finish()
    return 0


async def _run(
    runtime: Runtime,
    ways: Ways,
    lock: StoreLock,
    journal: Journal,
    beside: Sequence[Callable[[], Coroutine[object, object, None]]],
    tell: Callable[[], None],
) -> None:
    async with anyio.create_task_group() as tasks:
        await tasks.start(_leave_on_signal, runtime)
        # Not before a signal means a clean end: whoever has been told may send one at once.
        tell()
        tasks.start_soon(_watch_place, lock, journal)
        for task in beside:
            tasks.start_soon(task)
        await runtime.run(ways.serve)
        tasks.cancel_scope.cancel()


async def _watch_place(lock: StoreLock, journal: Journal) -> None:
    """End at once when the store was deleted, moved or taken over: what is written now is lost."""
    while True:
        await anyio.sleep(PLACE_WATCH_SECONDS)
        if not lock.still_ours():
            raise JournalFailed("the store's lock is gone: it was deleted, moved or replaced")
        journal.check_in_place()


def _put_back(journal: Journal) -> None:
    """Whoever starts the next coordinator finds what this one had."""
    try:
        _log.critical("%s", journal.put_back())
    except (OSError, JournalFailed) as error:
        _log.critical("state.db could not be put back; git has what it has: %s", error)


async def _leave_on_signal(
    runtime: Runtime, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """The first signal finishes what was accepted; the second ends at once, which is safe too."""
    leaving = False
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGQUIT) as signals:
        task_status.started()
        async for number in signals:
            _log.info("asked to leave by %s", number.name)
            if leaving:
                logging.shutdown()
                os._exit(128 + number)
            leaving = True
            runtime.leave()
