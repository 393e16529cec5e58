"""Which container engine there is here, and how it and its Compose are called."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["BUILD_SECONDS_MAX", "ENGINES", "Engine", "EngineMissing", "find"]

ENGINES: Final = ("docker", "podman")

BUILD_SECONDS_MAX: Final = 900.0
"""How long one command may take: an image is built within it."""

DOCKER_MIN: Final = (25,)
"""The first Docker Engine that knows `start_interval` of a health check."""


class EngineMissing(Exception):
    """There is no engine that can be used; the message says what was looked for."""


@dataclass(frozen=True)
class Engine:
    """A container engine that answers, with its Compose."""

    name: str
    """With both versions, for people."""
    program: str
    compose: tuple[str, ...]

    def run(
        self, *arguments: str, stdin: bytes | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the engine.

        Raises:
            AssertionError: it failed, and `check` is true; with all that it said.
        """
        return run((self.program, *arguments), stdin=stdin, check=check)


def find(wanted: str | None) -> Engine:
    """Return the engine of that name; without one, the first that answers.

    Raises:
        EngineMissing: there is none.
    """
    reasons: list[str] = []
    for name in (wanted,) if wanted else ENGINES:
        try:
            return _docker() if name == "docker" else _podman()
        except EngineMissing as error:
            reasons.append(str(error))
    raise EngineMissing("; ".join(reasons))


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


def _docker() -> Engine:
    server = _said("docker", "version", "--format", "{{.Server.Version}}")
    if not server:
        raise EngineMissing("no Docker daemon answers to `docker version`")
    if tuple(map(int, re.findall(r"\d+", server)[:1])) < DOCKER_MIN:
        raise EngineMissing(f"Docker Engine is {server}, and docker-compose.yml needs 25")
    compose = _said("docker", "compose", "version", "--short")
    if not compose:
        raise EngineMissing("Docker has no `docker compose`")
    return Engine(f"Docker Engine {server}, Compose {compose}", "docker", ("docker", "compose"))


def _podman() -> Engine:
    version = _said("podman", "version", "--format", "{{.Client.Version}}")
    if not version:
        raise EngineMissing("there is no `podman`")
    # Beside this interpreter, if `pip install podman-compose` brought it there.
    beside = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    program = shutil.which("podman-compose", path=beside)
    if program is None:
        raise EngineMissing("there is no `podman-compose` for podman")
    said = _said(program, "version")
    compose = re.search(r"podman-compose version:? *(\S+)", said)
    return Engine(
        f"Podman {version}, podman-compose {compose[1] if compose else 'unknown'}",
        "podman",
        (program,),
    )


def _said(*command: str) -> str:
    """Return what a command says; nothing if it fails or is not there."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
