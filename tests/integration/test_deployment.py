"""The services of docker-compose.yml and the unit of systemd, as far as they run without either.

The suite needs no container engine: `make image-test` builds the image and starts the containers.
What is held here: the file says nothing that its schema does not know, every command and every
health check of it is run as a real process with the same arguments and environment, with the
volumes' and the ports' places exchanged, and together they do what they are for.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.request import urlopen

import anyio
import httpx2
import msgspec
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from agent_trace import connect_sync
from agent_trace.keys import join
from support.mcp import called

pytestmark = pytest.mark.integration

ROOT: Final = Path(__file__).resolve().parents[2]
UNIT: Final = ROOT / "docs/systemd/agent-trace@.service"
BIN: Final = Path(sys.executable).parent

Duration = Annotated[str, msgspec.Meta(pattern=r"^\d+s$")]


class Build(msgspec.Struct, forbid_unknown_fields=True):
    context: Literal["."]
    args: list[Literal["PYTHON_IMAGE"]]


class Healthcheck(msgspec.Struct, forbid_unknown_fields=True):
    test: list[str]
    interval: Duration
    timeout: Duration
    retries: int
    start_period: Duration = "0s"
    start_interval: Duration = "5s"


class Dependency(msgspec.Struct, forbid_unknown_fields=True):
    condition: Literal["service_healthy", "service_started"]


class Container(msgspec.Struct, forbid_unknown_fields=True):
    """What Compose's specification has for a service, as far as we use it."""

    image: Literal["agent-trace:local"]
    init: bool
    restart: Literal["unless-stopped"]
    user: Annotated[str, msgspec.Meta(pattern=r"^\d+:\d+$")]
    read_only: bool
    cap_drop: list[str]
    security_opt: list[str]
    tmpfs: list[str]
    mem_limit: str
    pids_limit: int
    command: list[str]
    volumes: list[str]
    ports: list[str]
    healthcheck: Healthcheck
    build: Build | None = None
    entrypoint: list[str] = msgspec.field(default_factory=lambda: ["agent-trace"])
    environment: dict[str, str] = {}
    depends_on: dict[str, Dependency] = {}
    stop_grace_period: Duration = "10s"


class Compose(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    services: dict[str, Container]
    volumes: dict[str, None]
    shared: object = msgspec.field(name="x-service")
    rhythm: object = msgspec.field(name="x-rhythm")


def composed() -> Compose:
    return msgspec.yaml.decode((ROOT / "docker-compose.yml").read_bytes(), type=Compose)


def image_environment() -> dict[str, str]:
    """Return the variables that the image sets, but for PATH, and its entry point's name."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    (line,) = re.findall(r"(?m)^ENV ((?:.*\\\n)*.*)$", text)
    pairs = (each.partition("=") for each in shlex.split(line.replace("\\\n", " ")))
    return {name: value for name, _, value in pairs if name != "PATH"}


# ---- what the files say ----------------------------------------------------------------------


def test_no_service_has_more_rights_than_it_needs() -> None:
    compose = composed()
    assert set(compose.services) == {"coordinator", "gateway", "web"}
    for name, each in compose.services.items():
        assert each.user == "10001:10001" and each.read_only, name
        assert each.cap_drop == ["ALL"] and each.security_opt == ["no-new-privileges:true"], name
        # Nothing is published beyond the machine itself.
        assert all(port.startswith("127.0.0.1:") for port in each.ports), name
        assert {volume.partition(":")[0] for volume in each.volumes} <= set(compose.volumes), name
        assert each.environment["AGENT_TRACE_NO_START"] == "1"
        if name != "coordinator":
            assert each.depends_on["coordinator"].condition == "service_healthy"
    assert [name for name, each in compose.services.items() if each.build] == ["coordinator"]
    grace = int(compose.services["coordinator"].stop_grace_period.removesuffix("s"))
    assert grace > 30, "the coordinator may take 30 s to leave"


def test_the_image_is_made_of_what_is_there_and_runs_as_nobody() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY ")]
    own = [name for names in copied for name in names if not name.startswith(("--", "/"))]
    assert own and all((ROOT / name).exists() and f"!{name}" in ignored for name in own)
    assert re.findall(r"(?m)^USER (.*)$", text) == ["10001:10001"]
    assert re.findall(r"(?m)^ENTRYPOINT (.*)$", text) == ['["agent-trace"]']


# ---- the services, as processes --------------------------------------------------------------


def free_ports(numbers: list[str]) -> dict[str, str]:
    """Return a port that is free now for each number."""
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in numbers]
        return {
            number: str(each.getsockname()[1]) for number, each in zip(numbers, taken, strict=True)
        }


class Services:
    """The services of the file, each a process, with other volumes and ports."""

    def __init__(self, base: Path) -> None:
        self.compose = composed()
        self.store, self.tokens = base / "store", base / "tokens"
        for each in (self.store, self.tokens):
            each.mkdir()
        self.ports = free_ports(["7117", "8137", "8138", "9464"])

    def here(self, text: str) -> str:
        """Return a text of the file with the places that volumes and ports have here."""
        text = re.sub(r"(?<![\w.])/store\b", str(self.store), text)
        text = re.sub(r"(?<![\w.])/tokens\b", str(self.tokens), text)
        return re.sub("|".join(self.ports), lambda found: self.ports[found[0]], text)

    def environment(self, service: Container) -> Mapping[str, str]:
        given = {**image_environment(), **service.environment}
        # As the tests' own environment has it: documents of the coordinator would come between.
        given["AGENT_TRACE_GENERATED"] = "0"
        path = f"{BIN}{os.pathsep}/usr/bin{os.pathsep}/bin"
        return {"PATH": path, **{name: self.here(value) for name, value in given.items()}}

    @contextmanager
    def running(self, name: str, sign: str) -> Generator[subprocess.Popen[str]]:
        """Run a service until the block ends; it is there when it has said `sign`."""
        service = self.compose.services[name]
        command = [self.here(each) for each in (*service.entrypoint, *service.command)]
        process = subprocess.Popen(
            command,
            cwd=self.store,
            env=self.environment(service),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        try:
            said: list[str] = []
            for line in process.stderr:
                said.append(line)
                if sign in line:
                    break
            else:
                raise AssertionError(f"{name} ended: {''.join(said)}")
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            grace = int(service.stop_grace_period.removesuffix("s"))
            process.communicate(timeout=grace)
            assert process.returncode == 0, name

    def is_healthy(self, name: str) -> bool:
        service = self.compose.services[name]
        kind, *command = (self.here(each) for each in service.healthcheck.test)
        assert kind == "CMD"
        done = subprocess.run(
            command,
            cwd=self.store,
            env=self.environment(service),
            capture_output=True,
            timeout=int(service.healthcheck.timeout.removesuffix("s")),
            check=False,
        )
        return done.returncode == 0

    def token(self, name: str) -> str:
        return (self.tokens / name).read_text(encoding="ascii").strip()


def test_the_services_do_together_what_they_are_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # A short path, as in the container: a socket's may have no more than a hundred bytes.
    with tempfile.TemporaryDirectory(prefix="at-") as base, ExitStack() as stack:
        services = Services(Path(base).resolve())
        assert not services.is_healthy("coordinator")
        coordinator = stack.enter_context(services.running("coordinator", "serving"))
        assert services.is_healthy("coordinator")
        for name, sign in (("gateway", "serving MCP at"), ("web", "open http://localhost:")):
            assert not services.is_healthy(name)
            stack.enter_context(services.running(name, sign))
            assert services.is_healthy(name)
        used(services, monkeypatch, tmp_path)
        # A clean end: what was accepted is finished, and nobody starts another one.
        coordinator.send_signal(signal.SIGTERM)
        assert coordinator.wait(timeout=45) == 0
        assert not services.is_healthy("coordinator")


async def write_by_mcp(url: str, token: str, path: str, content: str) -> None:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        assert path in await called(client, "write_file", path=path, content=content)


def used(services: Services, monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    """Use every way in: MCP over HTTP, TCP with a key, the web view, the metrics."""
    ports = services.ports
    url = f"http://127.0.0.1:{ports['8137']}/mcp"
    anyio.run(write_by_mcp, url, services.token("mcp"), "plan.md", "# Plan\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(config))
    address = f"tcp://127.0.0.1:{ports['7117']}"
    service = services.compose.services["coordinator"]
    added = subprocess.run(
        ["agent-trace", "keys", "add", "planner", "--address", address, "--json"],
        cwd=services.store,
        env=services.environment(service),
        capture_output=True,
        check=True,
    )
    join(json.loads(added.stdout)["join"])
    with connect_sync(address, agent="planner") as agent:
        assert agent.append("plan.md", "- [ ] from far\n").revision == 2
    web = http.client.HTTPConnection("127.0.0.1", int(ports["8138"]), timeout=10)
    web.request(
        "GET",
        "/document?path=plan.md",
        headers={"Authorization": f"Bearer {services.token('web')}"},
    )
    answer = web.getresponse()
    page = answer.read().decode()
    web.close()
    assert answer.status == 200 and "from far" in page
    with urlopen(f"http://127.0.0.1:{ports['9464']}/metrics", timeout=10) as metrics:
        assert b'agent_trace_operations_total{action="append",actor="agent"} 1.0' in metrics.read()


# ---- systemd ---------------------------------------------------------------------------------


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze here")
    text = UNIT.read_text(encoding="utf-8")
    here = text.replace("/usr/local/bin/agent-trace", str(BIN / "agent-trace"))
    unit = tmp_path / "agent-trace@srv-notes.service"

    def verify(text: str) -> str:
        unit.write_text(text, encoding="utf-8")
        return subprocess.run(
            [analyze, "verify", "--man=no", "--recursive-errors=no", str(unit)],
            capture_output=True,
            text=True,
            check=False,
        ).stderr

    assert verify(here) == ""
    # It would have said so.
    assert "ProtectSystme" in verify(here.replace("ProtectSystem", "ProtectSystme"))


def test_the_unit_starts_what_there_is() -> None:
    (line,) = re.findall(r"(?m)^ExecStart=(.*)$", UNIT.read_text(encoding="utf-8"))
    program, command, *options = line.replace("%f", "/srv/notes").split()
    assert program.endswith("/agent-trace")
    done = subprocess.run(
        [BIN / "agent-trace", command, *options], capture_output=True, text=True, check=False
    )
    # It is understood to the end; only the store is not there.
    assert (done.returncode, "/srv/notes" in done.stderr) == (1, True)
