"""Mirrors by https and ssh: git's own server behind TLS and a password, and a way that ssh takes.

There is no ssh server here, so a program in the place of `ssh` does what one would do: run the
command that it is given.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from agent_trace_coordinator.repair.mirrors import add_mirror, mirror_states, push_all
from agent_trace_coordinator.storage.store import Store
from agent_trace_protocol import Append, Durability, Put
from crash.repository import commit_ids, run_git
from support.coordinator import Peer, running

pytestmark = pytest.mark.integration

PASSWORD = "not-to-be-seen"

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="no openssl to make a certificate with"
)


class GitOverHttp(BaseHTTPRequestHandler):
    """`git http-backend` as a server runs it, for those who know the password."""

    root: Path
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        known = base64.b64encode(f"mia:{PASSWORD}".encode()).decode()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Basic {known}":
            self._answer("401 Unauthorized", [("WWW-Authenticate", 'Basic realm="git"')], b"")
            return
        path, _, query = self.path.partition("?")
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "REMOTE_USER": "mia",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "HTTP_GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(
            ["git", "http-backend"], input=body, env=environment, capture_output=True, check=True
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        headers = [
            (name, value.strip())
            for name, _, value in (line.partition(":") for line in head.decode().split("\r\n"))
        ]
        status = next((value for name, value in headers if name == "Status"), "200 OK")
        self._answer(status, [each for each in headers if each[0] != "Status"], content)

    do_POST = do_GET

    def _answer(self, status: str, headers: list[tuple[str, str]], content: bytes) -> None:
        code, _, reason = status.partition(" ")
        self.send_response(int(code), reason)
        for name, value in (*headers, ("Content-Length", str(len(content)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""


@contextmanager
def serving(root: Path, certificate: Path) -> Generator[int]:
    """Serve the repositories below a directory by https; yield the port."""

    class Handler(GitOverHttp):
        pass

    Handler.root = root
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """An empty repository, at the mirror's place."""
    path = tmp_path / "remote" / "mirror.git"
    run_git("init", "-q", "--bare", str(path))
    return path


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for this machine with its key, that nobody knows yet."""
    path = tmp_path / "server.pem"
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    subject = ["-nodes", "-subj", "/CN=mirror", "-addext", "subjectAltName=IP:127.0.0.1"]
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [*new, *subject, "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    path.write_bytes(key.read_bytes() + certificate.read_bytes())
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    root = tmp_path / "store"
    with running(root) as coordinator, Peer(coordinator.endpoint).opened() as peer:
        peer.do(Put("a.md", b"one\n"))
        peer.do(Append("a.md", b"two\n"), durability=Durability.GIT)
    return Store(root)


@needs_openssl
def test_a_mirror_by_https_knows_the_password_from_netrc_and_nobody_sees_it(
    store: Store,
    tmp_path: Path,
    bare: Path,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    with serving(bare.parent, certificate) as port:
        add_mirror(store, f"https://127.0.0.1:{port}/mirror.git")
        (unknown,) = push_all(store, now=True)
        assert "certificate" in unknown.failure
        monkeypatch.setenv("GIT_SSL_CAINFO", str(certificate))
        (unauthorised,) = push_all(store, now=True)
        # It asks nobody: there is no terminal, and a prompt would hang.
        assert "could not read Username" in unauthorised.failure
        netrc = home / ".netrc"
        netrc.write_text(f"machine 127.0.0.1 login mia password {PASSWORD}\n", encoding="ascii")
        netrc.chmod(0o600)
        (done,) = push_all(store, now=True)
        assert done.failure == ""
    assert commit_ids(bare) == commit_ids(store.repo)
    for file in store.directory.rglob("*"):
        assert not file.is_file() or PASSWORD.encode() not in file.read_bytes()


def test_a_mirror_by_ssh_is_asked_without_a_prompt(
    store: Store, tmp_path: Path, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    git = shutil.which("git")
    assert git is not None
    (programs / "git").symlink_to(git)
    ssh = programs / "ssh"
    ssh.write_text(
        "#!/bin/sh\n"
        f'for each; do printf "%s\\n" "$each"; done >> {tmp_path}/asked\n'
        'for command; do :; done\nexec sh -c "$command"\n',
        encoding="ascii",
    )
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    add_mirror(store, f"ssh://mia@mirror.example:2222{bare}")
    (done,) = push_all(store, now=True)
    assert done.failure == ""
    assert commit_ids(bare) == commit_ids(store.repo)
    asked = (tmp_path / "asked").read_text(encoding="ascii").split("\n")
    assert "BatchMode=yes" in asked
    assert ["-p", "2222", "mia@mirror.example", f"git-receive-pack '{bare}'"] == asked[-5:-1]


@pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh")
def test_a_mirror_by_ssh_that_is_away_says_why(store: Store) -> None:
    # Port 1 of this machine: nobody listens.
    add_mirror(store, "ssh://mia@127.0.0.1:1/mirror.git")
    (failed,) = push_all(store, now=True)
    assert "Connection refused" in failed.failure
    assert mirror_states(store) == [failed]
    assert json.loads((store.run / "mirrors.json").read_bytes())[0]["failures"] == 1
