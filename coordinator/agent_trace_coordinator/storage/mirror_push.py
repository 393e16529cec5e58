"""Pushing the history to plain git remotes: what a remote may be, and one push.

A remote's address is the only text of a user that git ever gets from us. It is checked against a
narrow form, it reaches git by the environment and not as an argument, and the transports are a list
of three. Nothing is ever forced: what a remote has and we do not stays there.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from agent_trace_coordinator.errors import GitFailed, StoreInvalid

from .escaping import ForeignCommit
from .git_process import ANSWER_SECONDS, BRANCH, GitRunner, ObjectReader
from .git_recovery import read_ref
from .trailers import parse_trailers

__all__ = ["check_address", "operation_of", "push"]

PUSH_SECONDS: Final = 300.0
"""How long a push may go without a word."""

ADDRESS_LENGTH_MAX: Final = 1000

_HOST: Final = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?"
_ADDRESS: Final = re.compile(
    rf"file:///(?P<file>[^\x00-\x20\x7f]+)"
    rf"|ssh://(?:[A-Za-z0-9_][A-Za-z0-9._-]*@)?{_HOST}/[^\x00-\x20\x7f]+"
    rf"|https://{_HOST}/[^\x00-\x20\x7f]+",
    re.ASCII,
)

_REF: Final = f"refs/heads/{BRANCH}"

_SETTINGS: Final = {
    "protocol.file.allow": "always",
    "protocol.ssh.allow": "always",
    "protocol.https.allow": "always",
    # A redirect could lead to where nobody agreed to.
    "http.followRedirects": "false",
}

# How a person's keys are found, whose certificates are believed, and what is between here and the
# network; nothing of it is kept.
_INHERITED: Final = (
    *("HOME", "SSH_AUTH_SOCK"),
    *("GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"),
)


def check_address(address: str) -> str:
    """Return the address of a remote.

    Raises:
        StoreInvalid: it is not of a form that is accepted; the message says which are.
    """
    # Printable, for it is shown: what reorders a line could pass for another address.
    seen = len(address) <= ADDRESS_LENGTH_MAX and address.isprintable()
    if not seen or _ADDRESS.fullmatch(address) is None:
        if re.match(r"[a-z]+://[^/@]*:[^/@]*@", address):
            raise StoreInvalid(
                "an address with a password in it is not kept; let ssh, or a netrc file for https, "
                "know the password"
            )
        raise StoreInvalid(
            f"{ascii(address[:100])} can not be a mirror; an address is file:///path, "
            "ssh://user@host/path or https://host/path, without blanks"
        )
    return address


def push(repo: Path, address: str) -> str:
    """Push the branch as it is now; return the commit that the remote has then.

    Raises:
        GitFailed: the remote can not be reached, or has what we have not; the message says what
            helps.
    """
    check_address(address)
    tip = read_ref(repo, _REF)
    if not tip:
        return ""
    extra = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    extra["GIT_SSH_COMMAND"] = "ssh -o BatchMode=yes -o ConnectTimeout=20"
    runner = GitRunner(
        repo, guarded=False, settings=_SETTINGS | {"remote.mirror.url": address}, extra=extra
    )
    try:
        # The commit, not the branch, which moves on meanwhile.
        runner.run(("push", "--quiet", "--no-verify", "mirror", f"{tip}:{_REF}"), PUSH_SECONDS)
    except GitFailed as error:
        if "[rejected]" in error.message or "[remote rejected]" in error.message:
            raise GitFailed(
                f"its branch {BRANCH} has commits that this store has not, or may not be pushed "
                "to; nothing was overwritten. Give the mirror an empty repository of its own"
            ) from error
        raise
    return tip


def operation_of(repo: Path, commit: str) -> int:
    """Return the operation that a commit of ours is; 0 if it is none."""
    with ObjectReader(GitRunner(repo, guarded=False), ANSWER_SECONDS) as objects:
        found = objects.read(commit)
    if found is None:
        return 0
    try:
        return parse_trailers(found[1].partition(b"\n\n")[2].decode("utf-8")).record.seq
    except (ForeignCommit, UnicodeDecodeError):
        return 0
