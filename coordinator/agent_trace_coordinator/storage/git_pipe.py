"""A conversation with a child process over its pipes in which neither side can block the other.

Both directions are polled: what the child says is read while it is still being written to, so full
pipes never deadlock, whatever the sizes. A child that is silent for too long, or gone, is killed
and reaped, and the caller gets `GitFailed` with the last words of its standard error.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
from collections.abc import Callable
from typing import Final

from agent_trace_coordinator.errors import GitFailed

__all__ = ["Pipe", "kill_group"]

READ_BYTES: Final = 64 * 1024
"""Bytes taken from the child at once: the size of a pipe."""

STDERR_BYTES_MAX: Final = 4 * 1024
"""Bytes of standard error that are kept, the last ones: enough for git's `fatal:` line."""

PIPE_BYTES: Final = 1024 * 1024
"""Size asked for the child's standard input: it then works on while we are busy with the next
batch. The default for unprivileged processes allows it; where it does not, 64 KiB work too."""


def kill_group(process_id: int) -> None:
    """Kill a child and the children it may have; each of ours leads a process group.

    Numbers that mean everybody or ourselves are passed over: they may come from a damaged file.
    """
    if process_id <= 1 or process_id == os.getpgrp():
        return
    try:
        os.killpg(process_id, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # It is gone, or it never got as far as leading a group and dies with its pipes.
        pass


class Pipe:
    """Owns a child process and its three pipes until `finish` or `kill`."""

    def __init__(self, process: subprocess.Popen[bytes], name: str, silence_seconds: float) -> None:
        """`silence_seconds` is how long the child may do nothing at all while we wait for it."""
        assert process.stdin and process.stdout and process.stderr
        self.process_id = process.pid
        self._process = process
        self._name = name
        self._silence_ms = int(silence_seconds * 1000)
        self._stdin = process.stdin.fileno()
        self._stdout = process.stdout.fileno()
        self._stderr = process.stderr.fileno()
        self._received = bytearray()
        self._complaint = bytearray()
        self._ended = False
        self._complaining = True
        self._poll = select.poll()
        for descriptor in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(descriptor, False)
        self._poll.register(self._stdout, select.POLLIN)
        self._poll.register(self._stderr, select.POLLIN)
        try:
            fcntl.fcntl(self._stdin, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        except (OSError, AttributeError):
            # A small optimisation that some systems do not know or do not grant.
            pass

    @property
    def is_running(self) -> bool:
        """Whether the child has not been reaped; it may have died."""
        return self._process.returncode is None

    def ask(self, data: bytes, lines: int) -> list[bytes]:
        """Write `data`, and return the next `lines` lines of the answer without their ends."""
        received = self._received
        self._pump(data, lambda: received.count(b"\n") >= lines)
        answers = bytes(received).split(b"\n", lines)
        self._received[:] = answers.pop()
        return answers

    def read_exactly(self, size: int) -> bytes:
        """Return the next `size` bytes of the answer."""
        received = self._received
        self._pump(b"", lambda: len(received) >= size)
        taken = bytes(received[:size])
        del received[:size]
        return taken

    def finish(self, data: bytes = b"") -> bytes:
        """Write `data`, close the child's input, wait for its end, and return the rest it said.

        Raises:
            GitFailed: it did not end with status 0.
        """
        self._pump(data, lambda: True)
        stdin = self._process.stdin
        assert stdin
        stdin.close()
        self._pump(b"", lambda: self._ended)
        return bytes(self._received)

    def kill(self) -> None:
        """End the child now, and reap it. Doing it twice is harmless."""
        if self._process.returncode is None:
            kill_group(self._process.pid)
            # Between fork and setsid there is no group yet.
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _pump(self, data: bytes, enough: Callable[[], bool]) -> None:
        """Write all of `data` and read until `enough`, in whichever order the child allows."""
        view = memoryview(data)
        writing = False
        while view or not enough():
            if bool(view) is not writing:
                writing = not writing
                if writing:
                    self._poll.register(self._stdin, select.POLLOUT)
                else:
                    self._poll.unregister(self._stdin)
            events = self._poll.poll(self._silence_ms)
            if not events:
                raise self._failed(
                    f"was silent for {self._silence_ms / 1000:g} seconds", gone=False
                )
            # Its complaint is read before its end is noticed, so that the error can quote it.
            for descriptor, _ in sorted(events, key=lambda event: event[0] != self._stderr):
                if descriptor == self._stdin:
                    view = self._write(view)
                elif descriptor == self._stderr:
                    self._read_complaint()
                else:
                    self._read()
        if writing:
            self._poll.unregister(self._stdin)

    def _write(self, view: memoryview) -> memoryview:
        try:
            return view[os.write(self._stdin, view) :]
        except BlockingIOError:
            return view
        except BrokenPipeError:
            raise self._failed("closed its input", gone=True) from None

    def _read(self) -> None:
        chunk = os.read(self._stdout, READ_BYTES)
        if chunk:
            self._received += chunk
            return
        stdin = self._process.stdin
        if stdin is not None and stdin.closed and self._wait() == 0:
            self._ended = True
            self.kill()
            return
        raise self._failed("ended", gone=True)

    def _read_complaint(self) -> None:
        try:
            chunk = os.read(self._stderr, READ_BYTES)
        except BlockingIOError:
            return
        if not chunk and self._complaining:
            self._complaining = False
            self._poll.unregister(self._stderr)
        self._complaint += chunk
        del self._complaint[:-STDERR_BYTES_MAX]

    def _wait(self) -> int | None:
        try:
            return self._process.wait(self._silence_ms / 1000)
        except subprocess.TimeoutExpired:
            return None

    def _failed(self, what: str, *, gone: bool) -> GitFailed:
        """Kill and reap the child, and return the error that says how it ended."""
        status = self._wait() if gone else None
        size = -1
        while size != len(self._complaint):
            size = len(self._complaint)
            self._read_complaint()
        self.kill()
        said = bytes(self._complaint).decode("utf-8", "replace").strip()
        if status is not None:
            what += f" with status {status}"
        return GitFailed(f"git {self._name} {what}" + (f": {said}" if said else ""))
