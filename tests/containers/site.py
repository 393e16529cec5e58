"""A copy of the tree, deployed by its own docker-compose.yml, and the ways to it from outside."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from agent_trace import AgentTraceError, connect_sync
from support.mcp import called

from .engine import Engine, run

__all__ = ["ADDRESS", "PORTS", "SERVICES", "Site", "Writer", "port_is_free", "soon"]

ROOT: Final = Path(__file__).resolve().parents[2]
TREE: Final = ("Dockerfile", ".dockerignore", "docker-compose.yml", "pyproject.toml", "README.md")
FOLDERS: Final = ("protocol", "agents", "coordinator")

SERVICES: Final = ("coordinator", "gateway", "web")
PORTS: Final = {"coordinator": 7117, "gateway": 8137, "web": 8138}
IMAGE: Final = "agent-trace:local"
ADDRESS: Final = "tcp://127.0.0.1:7117"

HEALTHY_SECONDS_MAX: Final = 90.0
POLL_SECONDS: Final = 0.25


def soon(what: str, holds: Callable[[], bool], seconds: float = HEALTHY_SECONDS_MAX) -> float:
    """Wait until something holds, and return how many seconds that took.

    Raises:
        AssertionError: it does not come to hold.
    """
    start = time.monotonic()
    while not holds():
        assert time.monotonic() - start < seconds, f"{what}: not within {seconds:.0f} s"
        time.sleep(POLL_SECONDS)
    return time.monotonic() - start


@dataclass
class Site:
    """The services of one project, built from a copy of the tree."""

    engine: Engine
    directory: Path
    python_image: str
    """To build on; the Dockerfile's own if empty."""
    project: str = "agent-trace-image-test"

    built: list[str] = field(default_factory=list[str])
    """The ids of the images that were built."""

    @property
    def tree(self) -> Path:
        return self.directory / "tree"

    def copy_tree(self) -> None:
        """Copy what an image is made of, so that a newer version of it can be made too."""
        self.tree.mkdir()
        for name in (*TREE, "LICENSE"):
            shutil.copyfile(ROOT / name, self.tree / name)
        for name in FOLDERS:
            shutil.copytree(
                ROOT / name, self.tree / name, ignore=shutil.ignore_patterns("__pycache__")
            )

    def compose(self, *arguments: str, stdin: bytes | None = None, check: bool = True) -> str:
        """Run a command of Compose on the project and return its standard output.

        Raises:
            AssertionError: it failed, and `check` is true.
        """
        given = {"PYTHON_IMAGE": self.python_image} if self.python_image else {}
        command = ("docker", "compose", "-p", self.project, *arguments)
        return run(command, stdin=stdin, check=check, cwd=self.tree, environment=given).stdout

    def inside(self, service: str, *command: str, check: bool = True) -> str:
        """Run a command in a service's container, as the documentation does."""
        return self.compose("exec", "-T", service, *command, check=check)

    def container(self, service: str) -> str:
        """Return the id of a service's container.

        Raises:
            AssertionError: there is not exactly one.
        """
        labels = ("com.docker.compose.project", "com.docker.compose.service")
        filters = (f"label={labels[0]}={self.project}", f"label={labels[1]}={service}")
        given = [part for each in filters for part in ("--filter", each)]
        found = self.engine.run("ps", "--all", "--quiet", *given).stdout.split()
        assert len(found) == 1, f"{service}: {found}"
        return found[0]

    def inspected(self, service: str) -> dict[str, Any]:
        """Return what the engine knows of a service's container."""
        said = self.engine.run("container", "inspect", self.container(service)).stdout
        return dict(json.loads(said)[0])

    def health(self, service: str) -> str:
        return str(self.inspected(service)["State"]["Health"]["Status"])

    def status(self) -> dict[str, Any]:
        """Return `agent-trace status --json` of the coordinator's container."""
        said = self.inside("coordinator", "agent-trace", "status", "--no-start", "--json")
        return dict(json.loads(said))

    def answers(self) -> bool:
        """Return whether the coordinator answers in its container."""
        command = ("agent-trace", "status", "--no-start", "--json")
        return '"epoch"' in self.inside("coordinator", *command, check=False)

    def all_healthy(self) -> float:
        """Wait until all health checks are green; return the seconds."""
        return soon("healthy", lambda: all(self.health(each) == "healthy" for each in SERVICES))

    def image(self) -> str:
        """Return the id of the image that the services run; empty if there is none."""
        given = ("image", "inspect", IMAGE, "--format", "{{.Id}}")
        return self.engine.run(*given, check=False).stdout.strip()

    def new_key(self, name: str, address: str) -> str:
        """Return what an agent joins by, made by `keys add` in the coordinator's container."""
        command = ("agent-trace", "keys", "add", name, "--address", address, "--json")
        return str(json.loads(self.inside("coordinator", *command))["join"])

    def token(self, service: str) -> str:
        name = {"gateway": "mcp", "web": "web"}[service]
        return self.inside(service, "cat", f"/tokens/{name}").strip()

    def page(self, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
        """Ask the web view, and return status, headers by lower-case name, and text."""
        with closing(http.client.HTTPConnection("127.0.0.1", PORTS["web"], timeout=10)) as web:
            web.request("GET", path, headers=headers)
            answer = web.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, found, answer.read().decode()

    async def write_by_mcp(self, token: str, path: str, content: str) -> str:
        """Write a document as an agent's host would, by MCP over HTTP."""
        headers = {"Authorization": f"Bearer {token}"}
        url = f"http://127.0.0.1:{PORTS['gateway']}/mcp"
        async with (
            httpx2.AsyncClient(headers=headers, timeout=30) as http,
            Client(streamable_http_client(url, http_client=http)) as client,
        ):
            return str(await called(client, "write_file", path=path, content=content))

    def down(self) -> None:
        """Take everything away, volumes included."""
        self.compose("down", "--volumes", check=False)

    def forget_images(self, before: str) -> None:
        """Remove the images that were built; the one that was there before has its name again."""
        for each in {*self.built} - {before}:
            self.engine.run("image", "rm", "--force", each, check=False)
        if before:
            self.engine.run("image", "tag", before, IMAGE)


def port_is_free(port: int) -> bool:
    """Return whether nobody listens at a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


class Writer(threading.Thread):
    """An agent outside that appends lines to a document of its own, until it is told to end.

    It keeps what was acknowledged. An error ends its session, not its work: it comes again.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.path = f"notes/{name}.md"
        self.acknowledged: list[str] = []
        self.errors: list[str] = []
        self._enough = threading.Event()

    def run(self) -> None:
        while not self._enough.is_set():
            try:
                with connect_sync(ADDRESS, agent=self.name, call_seconds_max=60) as agent:
                    while not self._enough.is_set():
                        self._write(agent.append)
            except (AgentTraceError, OSError) as error:
                self.errors.append(f"{type(error).__name__}: {error}")
                self._enough.wait(POLL_SECONDS)

    def _write(self, append: Callable[[str, str], object]) -> None:
        line = f"{self.name} {os.urandom(6).hex()}"
        append(self.path, f"{line}\n")
        self.acknowledged.append(line)

    def wait_for(self, more: int) -> None:
        """Wait until so many more lines were acknowledged."""
        wanted = len(self.acknowledged) + more
        soon(f"{self.name} writes", lambda: len(self.acknowledged) >= wanted)

    def finish(self) -> None:
        self._enough.set()
        self.join(timeout=HEALTHY_SECONDS_MAX)
        assert not self.is_alive(), f"{self.name} hangs"
