"""Credentials that must not get into a history that is kept for ever: their shapes.

Only shapes that name their provider, and private keys, are refused, so that a finding is nearly
always right. What merely looks random, and is called a password or a token in its line, is a
suspicion: the writer is told, and the write is done. A pattern runs only in a text with a word as
long as a credential, and only where one of its literal beginnings occurs.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

__all__ = [
    "SECRET_RULES",
    "Finding",
    "SecretRule",
    "find_secret",
    "find_suspicion",
    "may_hold_secret",
    "suspicion_notice",
]


@dataclass(slots=True, frozen=True)
class SecretRule:
    """One kind of credential."""

    name: str
    beginnings: tuple[bytes, ...]
    """Literals of which one occurs in every match."""
    pattern: re.Pattern[bytes]


@dataclass(slots=True, frozen=True)
class Finding:
    """A credential in a text. It does not hold the credential: this goes into messages."""

    rule: str
    line: int
    """From 1."""


def _rule(name: str, beginnings: str, pattern: str) -> SecretRule:
    # Not in the middle of a longer word: a hash or an identifier may contain anything.
    guarded = rf"(?<![A-Za-z0-9_])(?:{pattern})"
    literals = tuple(literal.encode("ascii") for literal in beginnings.split())
    return SecretRule(name, literals, re.compile(guarded.encode("ascii")))


SECRET_RULES: Final = (
    _rule("aws-access-key", "AKIA ASIA", r"(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])"),
    _rule("github-token", "ghp_ gho_ ghu_ ghs_ ghr_", r"gh[pousr]_[A-Za-z0-9]{36,255}"),
    _rule("github-fine-grained-token", "github_pat_", r"github_pat_[A-Za-z0-9_]{60,255}"),
    _rule("gitlab-token", "glpat-", r"glpat-[A-Za-z0-9_-]{20,}"),
    _rule("slack-token", "xox", r"xox[abeoprs]-[A-Za-z0-9-]{20,}"),
    _rule(
        "slack-webhook",
        "hooks.slack.com/services/",
        r"hooks\.slack\.com/services/T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{16,}",
    ),
    _rule("stripe-key", "sk_live_ rk_live_", r"[sr]k_live_[A-Za-z0-9]{20,}"),
    _rule("google-api-key", "AIza", r"AIza[0-9A-Za-z_-]{35}"),
    _rule("google-oauth-secret", "GOCSPX-", r"GOCSPX-[A-Za-z0-9_-]{28}"),
    _rule("model-provider-key", "sk-", r"sk-(?=[A-Za-z_-]{0,200}+[0-9])[A-Za-z0-9_-]{40,}"),
    _rule("hugging-face-token", "hf_", r"hf_[A-Za-z0-9]{34,}"),
    _rule("npm-token", "npm_", r"npm_[A-Za-z0-9]{36}"),
    _rule("pypi-token", "pypi-AgE", r"pypi-AgE[A-Za-z0-9_-]{50,}"),
    _rule("sendgrid-key", "SG.", r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    _rule("digitalocean-token", "dop_v1_ doo_v1_ dor_v1_", r"do[opr]_v1_[a-f0-9]{64}"),
    _rule("azure-storage-key", "AccountKey=", r"AccountKey=[A-Za-z0-9+/]{86}=="),
    _rule("age-key", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    _rule(
        "private-key",
        "PRIVATE",
        r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----",
    ),
)
"""The table; `docs/permissions.md` lists its names."""


_WORD_LENGTH: Final = 16
"""Every credential has a word of at least so many characters, or one of the literals below."""

_WORD: Final = b"a" * _WORD_LENGTH
_SHAPE: Final = bytes(
    ord("a") if byte < 128 and (chr(byte).isalnum() or chr(byte) in "_-") else ord(" ")
    for byte in range(256)
)
_WITHOUT_LONG_WORD: Final = (b"PRIVATE KEY", b"AccountKey=")


def _has_long_word(content: bytes) -> bool:
    return _WORD in content.translate(_SHAPE)


def may_hold_secret(content: bytes) -> bool:
    """Return whether it is worth while to look for a credential, or what may be one, in a text.

    Every write passes here. Looking for each rule's literals costs four times as much as looking
    for a long word, and most prose has none.
    """
    return _has_long_word(content) or any(map(content.__contains__, _WITHOUT_LONG_WORD))


def find_secret(content: bytes, before: bytes = b"") -> Finding | None:
    """Return the first credential in `content` that is not in `before` already.

    What a user let in once does not have to be confirmed again with every later change.
    """
    first: tuple[int, str] | None = None
    for rule in SECRET_RULES:
        if not any(literal in content for literal in rule.beginnings):
            continue
        found = list(rule.pattern.finditer(content))
        if not found:
            continue
        # The line that opens a private key is the same for all keys, so a second key next to one
        # that was confirmed is told from it by number.
        known = Counter(match[0] for match in rule.pattern.finditer(before))
        there = Counter(match[0] for match in found)
        for match in found:
            if there[match[0]] > known[match[0]]:
                if first is None or match.start() < first[0]:
                    first = match.start(), rule.name
                break
    if first is None:
        return None
    return Finding(first[1], content.count(b"\n", 0, first[0]) + 1)


# A value of a setting, as configuration files, shells and programs write one.
_VALUE: Final = re.compile(rb"""[:=][ \t]{0,4}["'`]?([A-Za-z0-9+/_.~=-]{20,200})""")

_CALLED_SECRET: Final = re.compile(
    rb"secret|token|passw|api.?key|access.?key|private.?key|credential|bearer|auth(?!or)",
    re.IGNORECASE,
)

_NAME_BYTES: Final = 60
"""How far in front of a value its name may begin."""

_ENTROPY_MIN: Final = 3.2
"""Bits for each character: what repeats itself has 2 and less, 40 random hexadecimal digits
3.3 and more, random letters and digits 3.8 and more at these lengths."""


def find_suspicion(content: bytes, before: bytes = b"") -> int:
    """Return the first line, from 1, on which something called a secret has a value that looks
    random and is not a value in `before` already; 0 if there is none."""
    if not _has_long_word(content):
        return 0
    known = frozenset(_VALUE.findall(before))
    for match in _VALUE.finditer(content):
        value = match[1]
        if value in known:
            continue
        start = max(content.rfind(b"\n", 0, match.start()) + 1, match.start() - _NAME_BYTES)
        if (
            _CALLED_SECRET.search(content, start, match.start())
            and re.search(rb"[0-9]", value)
            and re.search(rb"[A-Za-z]", value)
            and _entropy(value) >= _ENTROPY_MIN
        ):
            return content.count(b"\n", 0, match.start()) + 1
    return 0


def suspicion_notice(path: str, line: int) -> str:
    """Return what is said about a suspicion."""
    return (
        f"line {line} of {path} looks like a credential; if it is one, revoke it and take it out: "
        "history keeps it for ever"
    )


def _entropy(value: bytes) -> float:
    """Return Shannon's entropy of a text's characters, in bits for each."""
    size = len(value)
    return sum(-count / size * math.log2(count / size) for count in Counter(value).values())
