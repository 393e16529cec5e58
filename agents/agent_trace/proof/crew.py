"""The agents' processes: started, killed, brought back, and always ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from agent_trace.launch import read_endpoint

from .worker import Step, read_steps

__all__ = ["Crew", "kill_coordinator"]


@dataclass
class Crew:
    """The agents' processes and what they were told."""

    store: Path
    notes: Path
    """A directory for the files in which the agents write their acknowledgements down."""
    names: list[str]
    arguments: tuple[str, ...]
    """What every agent is started with besides its name: how long it works, and at what."""
    processes: dict[str, subprocess.Popen[bytes]] = field(
        default_factory=dict[str, "subprocess.Popen[bytes]"]
    )
    lives: dict[str, int] = field(default_factory=dict[str, int])

    def start(self, name: str) -> None:
        """Start an agent, for the first time or again."""
        self.lives[name] = self.lives.get(name, 0) + 1
        command = [sys.executable, "-P", "-m", "agent_trace.proof.worker"]
        command += ["--store", str(self.store), "--agent", name]
        command += ["--acknowledged", str(self._file_of(name)), *self.arguments]
        self.processes[name] = subprocess.Popen(command)

    def kill(self, name: str) -> None:
        """End an agent with SIGKILL."""
        self.processes[name].kill()
        self.processes[name].wait()

    def failed(self) -> str:
        """Return which agent ended with an error, in words; empty if none did."""
        for name, process in self.processes.items():
            if process.poll() not in (None, 0, -signal.SIGKILL):
                return f"agent {name} ended with code {process.returncode}"
        return ""

    def _file_of(self, name: str) -> Path:
        return self.notes / f"{name}.jsonl"

    def steps_of(self, name: str) -> list[Step]:
        """Return what an agent was told is done, in its order."""
        return read_steps(self._file_of(name))

    def steps(self) -> list[Step]:
        """Return what all agents were told is done."""
        return [step for name in self.names for step in self.steps_of(name)]

    def count(self) -> int:
        """Return how many acknowledgements there are so far."""
        files = filter(Path.exists, map(self._file_of, self.names))
        return sum(file.read_bytes().count(b"\n") for file in files)

    def end(self) -> None:
        """End all agents that are left."""
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()


def kill_coordinator(store: Path) -> int:
    """End the coordinator with SIGKILL; return its process id, 0 if none runs."""
    info = read_endpoint(store)
    if info is None:
        return 0
    try:
        os.kill(info.pid, signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return info.pid
