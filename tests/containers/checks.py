"""What is to be true of the services when they are deployed as docs/operations.md says.

Each check is one promise; they run in this order, on one project, and later ones build on what
earlier ones wrote. A check that does not hold raises `AssertionError`; what one returns is shown.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio

from agent_trace import connect_sync
from agent_trace.keys import join

from .site import ADDRESS, PORTS, SERVICES, Site, Writer, port_is_free, soon

__all__ = ["CHECKS"]

STOP_GRACE_SECONDS: Final = 45.0
"""As docker-compose.yml has it; the coordinator says 30."""

LINES: Final = 50
"""Acknowledged lines of each writer before and after something is done to the coordinator."""

ASK: Final = """
from http.client import HTTPConnection
gateway = HTTPConnection("gateway", 8137, timeout=10)
gateway.request("GET", "/mcp", headers=dict(Host="{host}", Authorization="Bearer {token}"))
print(gateway.getresponse().status)
"""

METRICS: Final = """
from urllib.request import urlopen
print(urlopen("http://coordinator:9464/metrics", timeout=10).read().decode())
"""


def is_built(site: Site) -> str:
    site.compose("build")
    site.built.append(site.image())
    said = site.engine.run("image", "inspect", "agent-trace:local", "--format", "{{.Size}}").stdout
    user = site.engine.run(
        "image", "inspect", "agent-trace:local", "--format", "{{.Config.User}}"
    ).stdout
    assert user.strip() == "10001:10001", user
    return f"{int(said) / 1e6:.0f} MB"


def becomes_healthy(site: Site) -> str:
    start = time.monotonic()
    site.compose("up", "--detach")
    site.all_healthy()
    return f"after {time.monotonic() - start:.0f} s"


def has_no_rights(site: Site) -> str:
    for service in SERVICES:
        status = site.inside(service, "cat", "/proc/1/status")
        found = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert found["Uid"].split() == ["10001"] * 4, found["Uid"]
        assert found["Gid"].split() == ["10001"] * 4, found["Gid"]
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(found[name], 16) == 0, f"{name}: {found[name]}"
        assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
        script = "for at in / /opt /usr/bin /var /etc; do touch $at/x && echo $at; done; true"
        said = site.inside(service, "sh", "-c", script)
        assert not said, f"{service} can write to {said}"
        site.inside(service, "sh", "-c", "cp /usr/bin/true /tmp/ && ! /tmp/true; rm /tmp/true")
    return ""


def owns_its_volumes(site: Site) -> str:
    for service, places in {
        "coordinator": {"/store": "750", "/store/.agent-trace": "700"},
        "gateway": {"/store": "750", "/tokens": "750", "/tokens/mcp": "600"},
        "web": {"/tokens/web": "600"},
    }.items():
        said = site.inside(service, "stat", "--format", "%n %u:%g %a", *places).splitlines()
        assert said == [f"{place} 10001:10001 {mode}" for place, mode in places.items()], said
    # What is put down for a while may be large, and is not in memory.
    site.inside("coordinator", "sh", "-c", "touch /var/tmp/x && rm /var/tmp/x")
    kind = site.inside("coordinator", "stat", "--file-system", "--format", "%T", "/var/tmp")
    assert kind.strip() != "tmpfs", kind
    return ""


def publishes_to_this_machine_only(site: Site) -> str:
    for service in SERVICES:
        found = site.inspected(service)["NetworkSettings"]["Ports"]
        bound = {
            (each["HostIp"], int(each["HostPort"])) for at in found.values() for each in at or ()
        }
        assert bound == {("127.0.0.1", PORTS[service])}, bound
    assert port_is_free(9464), "the metrics are published"
    return ""


def takes_mcp_with_the_token(site: Site) -> str:
    said = anyio.run(site.write_by_mcp, site.token("gateway"), "plan.md", "# Plan\n")
    assert "plan.md" in said, said
    assert "plan.md@1" in site.inside("coordinator", "agent-trace", "log")
    try:
        anyio.run(site.write_by_mcp, "no-such-token", "plan.md", "# Other\n")
    except Exception:
        pass
    else:
        raise AssertionError("anybody may write")
    assert site.inside("coordinator", "agent-trace", "read", "plan.md") == "# Plan\n"
    return ""


def shows_pages_with_the_token(site: Site) -> str:
    status, _, _ = site.page("/")
    assert status == 401, status
    token = site.token("web")
    status, _, page = site.page("/document?path=plan.md", Authorization=f"Bearer {token}")
    assert status == 200 and "Plan" in page, status
    # The link that its log has, which works once.
    said = site.compose("logs", "web")
    links = re.findall(r"http://localhost:8138(/enter\?ticket=\S+)", said)
    assert links, said
    status, headers, _ = site.page(links[-1])
    assert status == 200, status
    cookie = headers["set-cookie"].partition(";")[0]
    status, _, page = site.page("/", Cookie=cookie)
    assert status == 200 and "plan.md" in page, status
    status, _, _ = site.page(links[-1])
    assert status == 403, status
    return ""


def takes_agents_with_keys(site: Site) -> str:
    for name in ("planner", "worker"):
        join(site.new_key(name, ADDRESS))
    writers = _two_that_write()
    for each in writers:
        each.finish()
        assert not each.errors, each.errors
    _hold(site, writers)
    return f"{sum(len(each.acknowledged) for each in writers)} lines of two"


def takes_agents_in_containers(site: Site) -> str:
    run = ("run", "--rm", "-T", "--no-deps")
    site.compose(*run, "gateway", "write", "beside.md", "--text", "1\n", "--agent", "helper")
    address = "tcp://coordinator:7117"
    script = f"""
        agent-trace keys join - && export AGENT_TRACE_STORE={address} AGENT_TRACE_AGENT=inner
        agent-trace append beside.md --text 2
    """
    key = site.new_key("inner", address).encode()
    site.compose(*run, "--entrypoint", "sh", "gateway", "-c", script, stdin=key)
    log = site.inside("coordinator", "agent-trace", "log", "beside.md")
    assert ["inner", "helper"] == re.findall(r"inner|helper", log), log
    token = site.token("gateway")
    for host in ("gateway:8137", "elsewhere:8137"):
        status = site.inside("web", "python", "-c", ASK.format(host=host, token=token)).strip()
        # It is no request of MCP; what counts is whether the name is one of the gateway.
        assert (status == "421") == (host == "elsewhere:8137"), f"{host}: {status}"
    return ""


def tells_its_numbers_inside_only(site: Site) -> str:
    for service in ("gateway", "web"):
        said = site.inside(service, "python", "-c", METRICS)
        assert 'agent_trace_operations_total{action="append",actor="agent"}' in said
    return ""


def is_found_whole_from_every_container(site: Site) -> str:
    for service in SERVICES:
        said = site.inside(service, "agent-trace", "doctor", check=False)
        assert "nothing is wrong" in said, f"{service}: {said}"
    return ""


def _two_that_write() -> list[Writer]:
    writers = [Writer(name) for name in ("planner", "worker")]
    for each in writers:
        each.start()
    for each in writers:
        each.wait_for(LINES)
    return writers


def comes_back_from_a_kill(site: Site) -> str:
    before = site.status()
    writers = _two_that_write()
    # As the kernel would, short of memory: by the engine's own `kill` nothing is started again.
    start = time.monotonic()
    site.inside("coordinator", "sh", "-c", f"kill -9 {before['pid']}", check=False)
    for each in writers:
        each.wait_for(LINES)
    back = time.monotonic() - start
    for each in writers:
        each.finish()
    site.all_healthy()
    after = site.status()
    assert after["epoch"] == before["epoch"] + 1, (before["epoch"], after["epoch"])
    _hold(site, writers)
    assert anyio.run(site.write_by_mcp, site.token("gateway"), "plan.md", "# Plan\n\n- [ ] on\n")
    errors = sum(len(each.errors) for each in writers)
    return f"both went on within {back:.1f} s, {errors} errors on the way"


def leaves_in_order(site: Site) -> str:
    writers = _two_that_write()
    start = time.monotonic()
    site.compose("stop")
    took = time.monotonic() - start
    assert took < STOP_GRACE_SECONDS, took
    states = {service: site.inspected(service)["State"] for service in SERVICES}
    codes = {service: state["ExitCode"] for service, state in states.items()}
    # Neither killed nor failed, and the store is as whoever leaves in order leaves it.
    assert set(codes.values()) == {0}, codes
    site.compose("up", "--detach")
    for each in writers:
        each.wait_for(LINES)
        each.finish()
    site.all_healthy()
    _hold(site, writers)
    return f"within {took:.1f} s"


def keeps_everything_when_upgraded(site: Site) -> str:
    before = site.status()
    documents = site.inside("coordinator", "agent-trace", "ls")
    tokens = [site.token(service) for service in ("gateway", "web")]
    for name in ("agents/agent_trace", "coordinator/agent_trace_coordinator"):
        file = Path(site.tree, name, "__init__.py")
        text = file.read_text(encoding="utf-8")
        changed = re.sub(r'(?m)^__version__ = "(.*)"$', r'__version__ = "\1.post1"', text)
        assert changed != text
        file.write_text(changed, encoding="utf-8")
    site.compose("up", "--detach", "--build")
    site.built.append(site.image())
    site.all_healthy()
    after = site.status()
    assert after["version"] == f"{before['version']}.post1", after["version"]
    assert len({site.inspected(service)["Image"] for service in SERVICES}) == 1
    assert site.inside("coordinator", "agent-trace", "ls") == documents
    assert [site.token(service) for service in ("gateway", "web")] == tokens
    with connect_sync(ADDRESS, agent="planner", call_seconds_max=60) as agent:
        agent.append("notes/planner.md", "with the key of before\n")
    return f"from {before['version']} to {after['version']}"


def is_backed_up_and_comes_back(site: Site) -> str:
    site.inside("coordinator", "agent-trace", "backup", "/var/tmp/notes.backup")
    kept = site.directory / "notes.backup"
    site.compose("cp", "coordinator:/var/tmp/notes.backup", str(kept))
    site.inside("coordinator", "rm", "/var/tmp/notes.backup")
    documents = site.inside("coordinator", "agent-trace", "ls")
    tip = site.inside("coordinator", "agent-trace", "log", "--limit", "1")
    # As on another machine: no volume, no key, nothing.
    site.down()
    script = "cat > /var/tmp/b && agent-trace restore-backup /var/tmp/b /store && rm /var/tmp/b"
    site.compose(
        *("run", "--rm", "-T", "--entrypoint", "sh", "coordinator", "-c", script),
        stdin=kept.read_bytes(),
    )
    site.compose("up", "--detach")
    site.all_healthy()
    assert site.inside("coordinator", "agent-trace", "ls") == documents
    assert tip.split()[0] in site.inside("coordinator", "agent-trace", "log")
    with connect_sync(ADDRESS, agent="planner", call_seconds_max=60) as agent:
        agent.append("notes/planner.md", "to the copy\n")
    return ""


def is_repaired(site: Site) -> str:
    documents = site.inside("coordinator", "agent-trace", "ls")
    site.compose("stop")
    run = ("run", "--rm", "-T", "--entrypoint")
    script = "rm /store/.agent-trace/state.db && ! agent-trace doctor"
    site.compose(*run, "sh", "coordinator", "-c", script)
    site.compose(*run, "agent-trace", "coordinator", "repair", "--yes")
    site.compose(*run, "agent-trace", "coordinator", "doctor")
    site.compose("up", "--detach")
    site.all_healthy()
    assert site.inside("coordinator", "agent-trace", "ls") == documents
    return ""


def _hold(site: Site, writers: list[Writer]) -> None:
    """Everything acknowledged is there, once, in its order."""
    soon("answers", site.answers)
    for each in writers:
        lines = site.inside("coordinator", "agent-trace", "read", each.path).splitlines()
        own = [line for line in lines if line in set(each.acknowledged)]
        assert own == each.acknowledged, f"{each.name}: {len(own)} of {len(each.acknowledged)}"
    assert "nothing is wrong" in site.inside("coordinator", "agent-trace", "doctor", check=False)


CHECKS: Final[dict[str, Callable[[Site], str]]] = {
    "the image is built from the Dockerfile": is_built,
    "`up`: all three health checks turn green": becomes_healthy,
    "user 10001, no capabilities, nothing writable but the volumes and /tmp": has_no_rights,
    "the volumes are the user's own": owns_its_volumes,
    "ports are published to this machine only": publishes_to_this_machine_only,
    "MCP over HTTP with the token, not without; `exec coordinator agent-trace log` shows it": (
        takes_mcp_with_the_token
    ),
    "the web view with the token, and by the link in its log, once": shows_pages_with_the_token,
    "two agents outside write by TCP with keys": takes_agents_with_keys,
    "agents in containers: by the socket, by TCP with a key, by MCP": takes_agents_in_containers,
    "metrics are there for the other containers, and not outside": tells_its_numbers_inside_only,
    "`doctor` in every container": is_found_whole_from_every_container,
    "the coordinator is killed while two write: it comes back, nothing is lost": (
        comes_back_from_a_kill
    ),
    "`stop` while two write ends all with 0; `up` keeps everything": leaves_in_order,
    "`up --build` of a newer version keeps everything": keeps_everything_when_upgraded,
    "a backup is taken out, and restored into empty volumes": is_backed_up_and_comes_back,
    "`repair` makes the journal again": is_repaired,
}
