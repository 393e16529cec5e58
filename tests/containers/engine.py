"""Whether there is a container engine here, and how its commands are run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Engine", "EngineMissing", "find", "run"]

BUILD_SECONDS_MAX: Final = 900.0
"""How long one command may take: an image is built within it."""

DOCKER_MIN: Final = 25
"""The first Docker Engine that knows `start_interval` of a health check."""


class EngineMissing(Exception):
    """There is no engine that can be used; the message says what was looked for."""


@dataclass(frozen=True)
class Engine:
    """A container engine that answers, with its Compose."""

    name: str
    """With both versions, for people."""

    def run(
        self, *arguments: str, stdin: bytes | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the engine.

        Raises:
            AssertionError: it failed, and `check` is true; with all that it said.
        """
        return run(("docker", *arguments), stdin=stdin, check=check)


def find() -> Engine:
    """Return the engine.

    Raises:
        EngineMissing: there is none.
    """
    server = _said("docker", "version", "--format", "{{.Server.Version}}")
    if not server:
        raise EngineMissing("no Docker Engine answers to `docker version`")
    if int(server.partition(".")[0]) < DOCKER_MIN:
        raise EngineMissing(f"Docker Engine is {server}; docker-compose.yml needs {DOCKER_MIN}")
    compose = _said("docker", "compose", "version", "--short")
    if not compose:
        raise EngineMissing("there is no `docker compose`")
    return Engine(f"Docker Engine {server}, Compose {compose}")


def run(
    command: tuple[str, ...],
    *,
    stdin: bytes | None = None,
    check: bool = True,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command and return what it said.

    Raises:
        AssertionError: it failed, and `check` is true; with all that it said.
    """
    done = subprocess.run(
        command,
        input=stdin or b"",
        capture_output=True,
        timeout=BUILD_SECONDS_MAX,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        check=False,
    )
    out, err = (each.decode("utf-8", "replace") for each in (done.stdout, done.stderr))
    assert not check or not done.returncode, f"{' '.join(command)} [{done.returncode}]\n{out}{err}"
    return subprocess.CompletedProcess(command, done.returncode, out, err)


def _said(*command: str) -> str:
    """Return what a command says; nothing if it fails or is not there."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
