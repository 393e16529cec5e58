"""A scripted coordinator behind a real socket, in a thread of its own for callers that block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import anyio
import anyio.from_thread

from agent_trace.testing import Script
from agent_trace_protocol import (
    AgentTraceError,
    Open,
    Opened,
    Refused,
    Reply,
    ReplyEnvelope,
    Request,
    decode_request,
    decode_request_envelope,
    encode,
    session_id_of,
)
from support.router import RouterPeer

__all__ = ["serving"]


def _reply(
    script: Script, opened: Callable[[Open], None] | None, key: bytes, request: Request
) -> Reply | None:
    if isinstance(request, Open):
        if opened is not None:
            opened(request)
        return Opened(session_id_of(key), 1, 1, "x", 60.0, 240.0, 1000, 1)
    try:
        return script(request)
    except AgentTraceError as error:
        return Refused(error.to_info())


@contextmanager
def serving(
    path: Path,
    script: Script,
    *,
    opened: Callable[[Open], None] | None = None,
    leaves_at: type[Request] | None = None,
) -> Generator[str, None, None]:
    """Serve at a unix socket and yield its address; `opened` is told of each opening.

    A request of the kind `leaves_at` is not answered: the coordinator is gone instead.
    """
    started = threading.Event()
    stopping: list[Callable[[], None]] = []

    async def serve() -> None:
        peer = RouterPeer(path)
        scope = anyio.CancelScope()
        async with anyio.from_thread.BlockingPortal() as portal:
            stopping.append(lambda: portal.call(scope.cancel))
            started.set()
            with scope:
                while True:
                    head, body = await peer.receive()
                    envelope = decode_request_envelope(head)
                    request = decode_request(body)
                    if leaves_at is not None and isinstance(request, leaves_at):
                        peer.close()
                        await anyio.sleep_forever()
                    reply = _reply(script, opened, envelope.key, request)
                    if reply is not None:
                        peer.send(encode(ReplyEnvelope(1, envelope.number, 1, 1)), encode(reply))
        peer.close()

    thread = threading.Thread(target=anyio.run, args=(serve,))
    thread.start()
    assert started.wait(5)
    try:
        yield f"ipc://{path}"
    finally:
        stopping[0]()
        thread.join(5)
