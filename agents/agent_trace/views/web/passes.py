"""How a browser proves itself: the link that is printed, the pass it is exchanged for, and the mark
that every form carries.

Pure but for the random numbers. Passes are signed, not stored, so there is no table to overflow;
they end with their time, or with the token that they are signed with.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Final

from agent_trace.listening import Token

__all__ = ["PASS_SECONDS", "Passes", "Ticket"]

PASS_SECONDS: Final = 12 * 3600
"""How long a browser gets in with one pass: a long day's work."""


class Ticket:
    """What the printed link holds: lets one browser in, once."""

    def __init__(self) -> None:
        self.text: Final = secrets.token_urlsafe(32)
        self._digest = hashlib.sha256(self.text.encode()).digest()
        self._used = False

    def use(self, given: str) -> bool:
        """Return whether this is the ticket, which then lets nobody else in."""
        digest = hashlib.sha256(given.encode("utf-8", "replace")).digest()
        fits = hmac.compare_digest(digest, self._digest) and not self._used
        self._used = self._used or fits
        return fits


@dataclass(frozen=True, slots=True)
class Passes:
    """Makes and checks passes and the marks of forms."""

    token: Token

    def issue(self, now_seconds: float) -> str:
        """Return a new pass."""
        body = f"{int(now_seconds) + PASS_SECONDS}.{secrets.token_urlsafe(16)}"
        return f"{body}.{self._sign('pass', body)}"

    def admits(self, given: str, now_seconds: float) -> bool:
        """Return whether this is a pass whose time is not over."""
        body, _, signature = given.rpartition(".")
        end = body.partition(".")[0]
        # Its time is looked at only when the signature has shown that it is one of ours.
        return (
            hmac.compare_digest(signature.encode(), self._sign("pass", body).encode())
            and int(end) > now_seconds
        )

    def mark(self, given: str) -> str:
        """Return what the forms of pages carry that were made for a pass."""
        return self._sign("form", given)

    def marked(self, mark: str, given: str) -> bool:
        """Return whether a form was made for this pass."""
        return hmac.compare_digest(mark.encode("utf-8", "replace"), self.mark(given).encode())

    def _sign(self, purpose: str, text: str) -> str:
        said = f"agent-trace web {purpose} {text}".encode("utf-8", "replace")
        return hmac.new(self.token.digest, said, hashlib.sha256).hexdigest()
