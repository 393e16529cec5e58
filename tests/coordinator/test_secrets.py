"""Credentials are recognised by their shapes, and ordinary text is left alone.

The corpus is generated, so that nothing in the tree looks like a credential to anybody's scanner.
"""

from __future__ import annotations

import random
import string
from pathlib import Path
from typing import Final

import pytest

from agent_trace_coordinator.core.records import Changed, Violated
from agent_trace_coordinator.core.secrets import (
    SECRET_RULES,
    find_secret,
    find_suspicion,
    may_hold_secret,
)
from agent_trace_protocol import Actor, Append, Committed, ErrorCode, Put, Transact
from support.core import Desk

_ALNUM: Final = string.ascii_letters + string.digits
_UPPER: Final = string.ascii_uppercase + string.digits
_HEX: Final = "0123456789abcdef"


def draw(seed: int, alphabet: str, length: int) -> str:
    # The digit makes it look like a key and not like a long word.
    return "".join(random.Random(seed).choices(alphabet, k=length - 1)) + "7"


def samples(seed: int) -> dict[str, str]:
    """Return one credential of each kind, different for each seed."""

    def word(length: int, alphabet: str = _ALNUM) -> str:
        return draw(seed, alphabet, length)

    return {
        "aws-access-key": "AK" + "IA" + word(16, _UPPER),
        "github-token": "gh" + "p_" + word(36),
        "github-fine-grained-token": "github" + "_pat_" + word(82),
        "gitlab-token": "gl" + "pat-" + word(20),
        "slack-token": "xo" + "xb-" + word(40, string.digits),
        "slack-webhook": f"hooks.slack.com/{'services'}/T{word(8, _UPPER)}/B{word(8, _UPPER)}/"
        + word(24),
        "stripe-key": "sk" + "_live_" + word(24),
        "google-api-key": "AI" + "za" + word(35),
        "google-oauth-secret": "GOC" + "SPX-" + word(28),
        "model-provider-key": "s" + "k-" + word(48),
        "hugging-face-token": "h" + "f_" + word(34),
        "npm-token": "np" + "m_" + word(36),
        "pypi-token": "py" + "pi-AgE" + word(60),
        "sendgrid-key": "S" + "G." + word(22) + "." + word(43),
        "digitalocean-token": "do" + "p_v1_" + word(64, _HEX),
        "azure-storage-key": "Account" + "Key=" + word(86) + "==",
        "age-key": "AGE-SECRET" + "-KEY-1" + word(58, _UPPER),
        "private-key": "-----BEGIN " + "RSA PRIVATE " + "KEY-----",
    }


@pytest.mark.parametrize("rule", [rule.name for rule in SECRET_RULES])
def test_every_rule_finds_its_credential_on_its_line(rule: str) -> None:
    for seed in range(20):
        text = f"# Notes\n\nkey: '{samples(seed)[rule]}'\nmore\n".encode()
        found = find_secret(text)
        assert found is not None and (found.rule, found.line) == (rule, 3), text


def test_the_first_credential_of_a_text_is_named() -> None:
    some = samples(1)
    text = f"a\n{some['npm-token']}\n{some['aws-access-key']}\n".encode()
    found = find_secret(text)
    assert found is not None and (found.rule, found.line) == ("npm-token", 2)


@pytest.mark.parametrize(
    "text",
    [
        "see task-7 and risk-averse-people-do-not-write-such-long-hyphenated-words-very-often",
        "sk-learn, ask-me-anything, xoxo, AIza is the prefix of keys, ghp_ too, npm_config_cache",
        "commit 0123456789abcdef0123456789abcdef01234567 made AKIA a word of its own",
        "-----BEGIN CERTIFICATE-----\n-----BEGIN PUBLIC KEY-----",
        "the table lists SG., hf_ and dop_v1_ as beginnings; ASIA is a continent, AKIABLE a word",
    ],
)
def test_ordinary_text_holds_no_credential(text: str) -> None:
    assert find_secret(text.encode()) is None


def test_no_file_of_this_tree_looks_like_a_credential() -> None:
    root = Path(__file__).resolve().parents[2]
    for folder in ("protocol", "agents", "coordinator", "tests", "docs"):
        for path in (root / folder).rglob("*"):
            if path.suffix in {".py", ".md", ".json"}:
                assert find_secret(path.read_bytes()) is None, path


def test_a_credential_is_refused_with_its_rule_and_line_and_kept_only_in_quarantine() -> None:
    desk = Desk()
    agent = desk.member()
    secret = samples(3)["github-token"]
    error = agent.fail(Put("a.md", f"one\n{secret}\n".encode()))
    assert error.code is ErrorCode.PERMISSION_DENIED
    assert "line 2 of a.md" in error.message and "github-token" in error.message
    assert secret not in error.message
    record = desk.entries[-1]
    assert isinstance(record.record.body, Violated)
    assert secret.encode() not in record.encoded
    assert desk.state.document_at("a.md") is None


def test_a_user_lets_a_credential_in_once_and_later_changes_need_no_confirmation() -> None:
    desk = Desk()
    user, agent = desk.member("ann", Actor.USER), desk.member()
    secret = samples(4)["npm-token"].encode()
    assert user.fail(Put("a.md", secret)).code is ErrorCode.PERMISSION_DENIED
    user.do(Put("a.md", secret), confirm=True)
    body = desk.entries[-1].record.body
    assert isinstance(body, Changed) and body.override == "secret-npm-token"
    agent.do(Append("a.md", b"more\n"))
    other = samples(5)["npm-token"].encode()
    assert agent.fail(Append("a.md", other)).code is ErrorCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("line", "alphabet", "length"),
    [
        ("api_key = {}", _ALNUM, 32),
        ("DB_PASSWORD={}", _ALNUM, 24),
        ('  "client_secret": "{}",', _ALNUM, 40),
        ("Authorization: Bearer token: {}", _ALNUM, 64),
        ("access-key: {}", _HEX, 40),
    ],
)
def test_what_is_called_a_secret_and_looks_random_is_suspected(
    line: str, alphabet: str, length: int
) -> None:
    for seed in range(20):
        text = f"# Set-up\n\n{line.format(draw(seed, alphabet, length))}\n".encode()
        assert find_suspicion(text) == 3
        assert find_suspicion(text, text) == 0


@pytest.mark.parametrize(
    "text",
    [
        "password = <your password here, from the vault>",
        "token: see https://example.org/docs/authentication/tokens/rotation",
        "secret = the-name-of-the-secret-in-the-vault",
        "commit: 9fceb02d0ae598e95dc970b74767f19372d61af8",
        "digest = sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
        "api_key = os.environ['SERVICE_API_KEY_FOR_PRODUCTION']",
        "The token was 1234567890123456789012345 characters long.",
        "author: ann.the.first@example.org-2024-10-10-10-10",
        "auth: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1",
    ],
)
def test_ordinary_settings_are_not_suspected(text: str) -> None:
    assert find_suspicion(text.encode()) == 0


def test_nothing_is_found_in_a_text_of_which_it_is_said_that_it_holds_nothing() -> None:
    # Every text that passes here is not looked through at all.
    for seed in range(20):
        for secret in samples(seed).values():
            assert may_hold_secret(f"key: {secret}\n".encode())
        assert may_hold_secret(f"token = {draw(seed, _ALNUM, 20)}1a\n".encode())
    assert not may_hold_secret(b"- [ ] ordinary prose has words of ordinary length\n" * 40)


def test_a_key_beside_one_that_was_confirmed_is_told_from_it_by_number() -> None:
    key = samples(1)["private-key"].encode()
    assert find_secret(key + b"\n" + key, key + b"\n") is not None
    assert find_secret(key + b"\nmore\n", key + b"\n") is None


def test_a_suspicion_is_told_to_the_writer_once_and_the_write_is_done() -> None:
    desk = Desk()
    agent = desk.member()
    text = f"password = {draw(1, _ALNUM, 24)}\n".encode()
    reply = agent.ask(Transact((Put("a.md", text),)))
    assert isinstance(reply, Committed)
    (notice,) = reply.notices
    assert "line 1 of a.md looks like a credential" in notice and text.decode() not in notice
    later = agent.ask(Transact((Append("a.md", b"more\n"),)))
    assert isinstance(later, Committed) and later.notices == ()
