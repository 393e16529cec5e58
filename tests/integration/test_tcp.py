"""TCP with real sockets: who gets in, as what, and how a revoked key is of no use at once."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq
from click.testing import CliRunner

import agent_trace
from agent_trace import keys
from agent_trace.cli.main import cli
from agent_trace.errors import KeyMissing, KeyRefused, KeysNotChanged
from agent_trace_coordinator.server.curve import make_key_pair
from agent_trace_coordinator.storage.keys import KeyRing, ServerKeys
from agent_trace_coordinator.storage.store import create_store
from agent_trace_protocol import (
    Actor,
    AgentName,
    Committed,
    Done,
    ErrorCode,
    Events,
    InvalidRequest,
    ListDocuments,
    Opened,
    Page,
    Ping,
    Put,
    Refused,
    Reply,
    Request,
    SessionList,
    Sessions,
    Status,
    StatusReport,
    Stop,
    Transact,
)
from agent_trace_protocol.keys import JoinInfo, KeyInfo, decode_join, encode_join
from support.coordinator import Coordinator, Peer, running

pytestmark = pytest.mark.integration

ANY_PORT = "tcp://127.0.0.1:0"


@pytest.fixture(autouse=True)
def own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keys are kept in a home of the test's own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Coordinator]:
    with listening(tmp_path / "store") as coordinator:
        yield coordinator


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Coordinator]:
    """One coordinator for the tests that leave it as it was, but for their names' keys."""
    with listening(tmp_path_factory.mktemp("shared") / "store") as coordinator:
        yield coordinator


@contextmanager
def listening(root: Path) -> Generator[Coordinator]:
    root.mkdir()
    create_store(root)
    public, secret = make_key_pair()
    assert ring_of(root).make_server_keys(ServerKeys(public, secret))
    with running(root, "--listen", ANY_PORT) as coordinator:
        yield coordinator


def ring_of(root: Path) -> KeyRing:
    return KeyRing(root / ".agent-trace/keys")


def key_for(served: Coordinator, name: str, role: Actor = Actor.AGENT) -> JoinInfo:
    """Add a key as `agent-trace keys add` does, without a process of its own."""
    ring = ring_of(served.root)
    server = ring.server_keys()
    assert server is not None
    public, secret = make_key_pair()
    ring.add(KeyInfo(name, role, public, 1))
    return JoinInfo(served.info.tcp, server.public, secret, name, role)


def peer(
    join: JoinInfo, *, name: str = "", actor: Actor | None = None, key: bytes | None = None
) -> Peer:
    return Peer(
        join.address, name or join.name, actor or join.role, key=key or os.urandom(16), join=join
    )


def code(reply: Reply) -> ErrorCode:
    assert isinstance(reply, Refused), reply
    return reply.error.code


def gets_nothing(peer: Peer, request: Request) -> bool:
    """Whether a connection that never comes about stays without an answer."""
    peer.send(request)
    return not peer.socket.poll(300)


# ---- who gets in -------------------------------------------------------------------------------


def test_a_known_key_opens_a_session_and_writes(served: Coordinator) -> None:
    with peer(key_for(served, "planner")) as planner:
        planner.opened().do(Put("plan.md", b"over TCP\n"))
        listed = planner.ask(Sessions())
        assert isinstance(listed, SessionList)
        assert [each.transport for each in listed.sessions] == ["tcp"]
    # The local way is there as before, and needs no key.
    with Peer(served.endpoint, "local") as local:
        local.opened().do(Put("other.md", b"locally\n"))


def test_without_a_known_key_nobody_is_answered(served: Coordinator) -> None:
    good = key_for(served, "planner")
    public, secret = (each.decode() for each in zmq.curve_keypair())
    strange = JoinInfo(good.address, good.server, secret, "planner", Actor.AGENT)
    wrong_server = JoinInfo(good.address, public, good.secret, "planner", Actor.AGENT)
    for join in (strange, wrong_server):
        with peer(join) as client:
            assert gets_nothing(client, Ping())
    # In the clear, with another mechanism, and as plain bytes that are no ZMTP.
    with Peer(good.address, "planner") as clear:
        assert gets_nothing(clear, Ping())
    with zmq.Context() as context:
        plain: zmq.Socket[bytes] = context.socket(zmq.SocketType.DEALER)
        plain.set(zmq.SocketOption.LINGER, 0)
        plain.set(zmq.SocketOption.PLAIN_USERNAME, b"planner")
        plain.set(zmq.SocketOption.PLAIN_PASSWORD, b"secret")
        plain.connect(good.address)
        plain.send(b"hello")
        assert not plain.poll(300)
        plain.close(0)
    with peer(good) as planner:
        planner.opened()


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_the_library_says_at_once_that_its_key_is_not_known(served: Coordinator) -> None:
    made = keys.add_key("planner", store=served.root)
    keys.join(made.join)
    async with agent_trace.connect(made.address, agent="planner") as agent:
        await agent.write("plan.md", "one\n")
    keys.revoke_key("planner", store=served.root)
    with pytest.raises(KeyRefused, match="does not know this key"):
        async with agent_trace.connect(made.address, agent="planner"):
            pass
    with pytest.raises(KeyMissing, match=r"there is one for planner \(agent\)"):
        async with agent_trace.connect(made.address, agent="coder"):
            pass
    with pytest.raises(KeyMissing, match="agent-trace keys join"):
        async with agent_trace.connect("tcp://127.0.0.1:9", agent="coder"):
            pass


# ---- as what -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "name", "actor"),
    [
        (Actor.AGENT, "", Actor.USER),
        (Actor.AGENT, "coder", Actor.AGENT),
        (Actor.AGENT, "coder", Actor.READER),
        (Actor.READER, "", Actor.AGENT),
        (Actor.READER, "", Actor.USER),
        (Actor.USER, "coder", Actor.USER),
    ],
)
def test_a_key_opens_only_its_name_and_at_most_its_role(
    shared: Coordinator, role: Actor, name: str, actor: Actor
) -> None:
    own = f"holder-{role}-{name}-{actor}"
    with peer(key_for(shared, own, role), name=name, actor=actor) as client:
        reply = client.open(takeover=True)
        assert code(reply) is ErrorCode.PERMISSION_DENIED
        assert code(client.ask(Status())) is ErrorCode.SESSION_UNKNOWN


def test_a_key_may_do_less_than_its_role(shared: Coordinator) -> None:
    join = key_for(shared, "ann", Actor.USER)
    for actor in (Actor.READER, Actor.AGENT, Actor.USER):
        with peer(join, actor=actor) as client:
            client.opened()


def test_a_readers_key_writes_nothing_and_an_agents_does_not_administer(
    served: Coordinator,
) -> None:
    with peer(key_for(served, "eve", Actor.READER)) as eve:
        eve.opened()
        refused = eve.ask(Transact((Put("plan.md", b"mine\n"),)))
        assert code(refused) is ErrorCode.PERMISSION_DENIED
        listed = eve.ask(ListDocuments())
        assert isinstance(listed, Page) and listed.documents == ()
    with peer(key_for(served, "planner")) as planner:
        planner.opened()
        assert code(planner.ask(Stop())) is ErrorCode.PERMISSION_DENIED


def test_a_session_belongs_to_the_key_that_opened_it(served: Coordinator) -> None:
    secret = os.urandom(16)
    first, second = key_for(served, "planner"), key_for(served, "coder")
    with peer(first, key=secret) as planner, peer(second, key=secret) as coder:
        planner.opened()
        # The session's own secret has become known: it is of no use by another key,
        assert code(coder.ask(Transact((Put("plan.md", b"x"),)))) is ErrorCode.PERMISSION_DENIED
        assert code(coder.open()) is ErrorCode.PERMISSION_DENIED
        # nor by the local way, where nobody proves who they are.
        with Peer(served.endpoint, "planner", key=secret) as local:
            assert code(local.open()) is ErrorCode.PERMISSION_DENIED
        assert isinstance(planner.ask(Transact((Put("plan.md", b"x"),))), Committed)
    # And a local session is not gone on with over TCP.
    local_secret = os.urandom(16)
    with Peer(served.endpoint, "coder", key=local_secret) as local:
        local.opened()
        with peer(second, key=local_secret) as coder:
            assert code(coder.open()) is ErrorCode.PERMISSION_DENIED


def test_a_session_goes_on_by_its_key_after_a_restart(served: Coordinator) -> None:
    join = key_for(served, "planner")
    secret = os.urandom(16)
    with peer(join, key=secret) as planner:
        planner.opened().do(Put("plan.md", b"one\n"))
    served.end()
    served.arguments = ("--listen", join.address)
    served.start()
    with Peer(served.endpoint, "planner", key=secret) as local:
        assert code(local.open()) is ErrorCode.PERMISSION_DENIED
    with peer(join, key=secret) as planner:
        reply = planner.open()
        assert isinstance(reply, Opened)
        planner.number = reply.next_number
        planner.do(Put("plan.md", b"two\n", 1))


# ---- revoked -----------------------------------------------------------------------------------


def test_a_revoked_key_ends_a_session_that_stands(served: Coordinator) -> None:
    with (
        peer(key_for(served, "planner")) as planner,
        Peer(served.endpoint, "ann", Actor.USER) as ann,
    ):
        planner.opened().do(Put("plan.md", b"one\n"))
        ann.opened()
        # It waits for events, and must not be told of what comes after.
        status = planner.ask(Status())
        assert isinstance(status, StatusReport)
        planner.number += 1
        planner.send(Events(since=status.seq, wait_seconds=60.0))
        # Messages of a connection are taken in their order: when this is answered, it waits.
        assert isinstance(planner.ask(Ping()), Done)
        ring_of(served.root).revoke(AgentName("planner"))
        ann.do(Put("secret.md", b"after\n"))
        refused = planner.ask(Transact((Put("plan.md", b"two\n"),)))
        assert code(refused) is ErrorCode.SESSION_SUPERSEDED
        assert isinstance(refused, Refused) and "revoked" in refused.error.message
        assert code(planner.open()) is ErrorCode.SESSION_SUPERSEDED
        # The session itself is over, on record, and its name is free.
        ended = _wait_ended(ann, "planner")
        assert ended == "its key was revoked"
        with Peer(served.endpoint, "planner") as successor:
            successor.opened()
        # A new connection does not come about; a new key of the same name is another one.
        planner.connect()
        assert gets_nothing(planner, Ping())
        with peer(key_for(served, "planner")) as again:
            assert isinstance(again.open(takeover=True), Opened)


def _wait_ended(ann: Peer, name: str) -> str:
    """Return why the session of `name` has ended, once it has: within two ticks."""
    for _ in range(10_000):
        listed = ann.ask(Sessions(name=name, ended=True))
        assert isinstance(listed, SessionList)
        for each in listed.sessions:
            if each.name == name and each.reason:
                return each.reason
    raise AssertionError("the session has not ended")


# ---- starting ----------------------------------------------------------------------------------


def serve_fails(root: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "agent_trace_coordinator", "serve", "--store", str(root)]
    done = subprocess.run([*command, *arguments], capture_output=True, timeout=20, check=False)
    assert done.returncode == 1
    return done.stderr.decode()


def test_it_listens_only_with_keys_and_on_loopback_unless_told(tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.mkdir()
    create_store(root)
    assert "agent-trace keys init" in serve_fails(root, "--listen", ANY_PORT)
    keys.make_keys(root)
    assert "--listen-any" in serve_fails(root, "--listen", "tcp://0.0.0.0:0")
    assert "--listen-any" in serve_fails(root, "--listen", "tcp://[::]:0")
    assert "in numbers" in serve_fails(root, "--listen", "tcp://example.invalid:7117")
    assert "is no address" in serve_fails(root, "--listen", "ipc:///tmp/x")
    (root / ".agent-trace/keys/server.json").chmod(0o640)
    assert "can be used by others" in serve_fails(root, "--listen", ANY_PORT)
    (root / ".agent-trace/keys/server.json").chmod(0o600)
    with running(root, "--listen", "tcp://0.0.0.0:0", "--listen-any") as served:
        with pytest.raises(KeysNotChanged, match="--address"):
            keys.add_key("planner", store=root)
        here = served.info.tcp.replace("0.0.0.0", "127.0.0.1")
        join = decode_join(keys.add_key("planner", store=root, address=here).join)
        with peer(join) as planner:
            planner.opened()


def test_the_settings_say_where_to_listen(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with running(root) as served:
        assert served.info.tcp == ""
    config = root / ".agent-trace/config.toml"
    config.write_text(config.read_text() + f'\nlisten = "{ANY_PORT}"\n')
    public, secret = make_key_pair()
    ring_of(root).make_server_keys(ServerKeys(public, secret))
    with running(root) as served:
        assert served.info.tcp.startswith("tcp://127.0.0.1:")
        with peer(key_for(served, "planner")) as planner:
            planner.opened()


@pytest.mark.parametrize("damage", [b"{", b'{"keys": [{"name": 1}]}', b"\xff\xfe"])
def test_a_damaged_list_lets_nobody_in(served: Coordinator, damage: bytes) -> None:
    join = key_for(served, "planner")
    with peer(join) as planner:
        planner.opened()
        path = served.root / ".agent-trace/keys/clients.json"
        path.write_bytes(damage)
        assert code(planner.ask(Ping())) is ErrorCode.SESSION_SUPERSEDED
        with pytest.raises(KeysNotChanged, match="damaged"):
            keys.add_key("coder", store=served.root)
        assert path.read_bytes() == damage


# ---- the command line --------------------------------------------------------------------------


def invoke(*arguments: str, input: str | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, list(arguments), input=input)
    return result.exit_code, result.stdout, result.stderr


def test_keys_are_made_listed_joined_used_and_revoked_by_commands(
    served: Coordinator, own_configuration: Path
) -> None:
    store = ("--store", str(served.root))
    status, line, said = invoke(*store, "keys", "add", "planner")
    assert (status, line.count("\n")) == (0, 1)
    assert "agent-trace keys join" in said
    status, joined, _ = invoke("keys", "join", "-", input=line)
    address = served.info.tcp
    assert status == 0 and f"--store {address} --agent planner" in joined
    for path in (own_configuration / "agent-trace/keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for path in (served.root / ".agent-trace/keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    remote = ("--store", address, "--agent", "planner")
    assert invoke(*remote, "write", "plan.md", input="# Plan\n")[0] == 0
    assert invoke(*remote, "read", "plan.md")[1] == "# Plan\n"
    # Nothing of the secret is kept where the store is, or listed.
    secret = decode_join(line).secret
    status, listed, _ = invoke(*store, "keys", "ls", "--json")
    assert json.loads(listed)["name"] == "planner" and secret not in listed
    kept = (served.root / ".agent-trace/keys").iterdir()
    assert not any(secret.encode() in path.read_bytes() for path in kept)
    status, _, said = invoke(*store, "keys", "add", "planner")
    assert status == 1 and "has a key already" in said
    assert invoke(*store, "keys", "revoke", "planner")[0] == 0
    status, _, said = invoke(*remote, "read", "plan.md")
    assert status == 1 and "does not know this key" in said
    status, _, said = invoke(*store, "keys", "revoke", "planner")
    assert status == 1 and "no key for planner" in said
    status, _, said = invoke("--store", address, "keys", "ls")
    assert status == 1 and "where the store is" in said


def test_a_join_string_with_a_slip_is_noticed(shared: Coordinator) -> None:
    line = encode_join(key_for(shared, "slipper"))
    for slip in (line[:-4], line[4:], line[:20] + "A" + line[21:] + "A", "", "at1:", "at1:é"):
        with pytest.raises(InvalidRequest, match="no join string"):
            keys.join(slip)


def test_a_joined_key_that_others_can_read_is_not_used(shared: Coordinator) -> None:
    done = keys.join(encode_join(key_for(shared, "reckless")))
    done.path.chmod(0o644)
    with pytest.raises(KeyMissing, match="can be used by others"):
        keys.find_key(done.address, "reckless")
