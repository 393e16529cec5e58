"""The token of a service of one: from a file, from the environment, or made for the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent_trace import InvalidRequest
from agent_trace.listening import Token

VARIABLE = "AGENT_TRACE_SOME_TOKEN"


def test_a_token_file_is_made_for_its_owner_only_and_used_again(tmp_path: Path) -> None:
    file = tmp_path / "token"
    first = Token.find(str(file), VARIABLE)
    assert file.stat().st_mode & 0o777 == 0o600
    made = file.read_text().strip()
    assert len(made) == 43
    # It is in the file, so nobody needs to be shown it.
    assert first.shown == ""
    assert Token.find(str(file), VARIABLE) == first
    assert first.proves(f"Bearer {made}") and first.proves(f"bearer  {made}")
    assert not first.proves(f"Bearer {made[:-1]}") and not first.proves(f"Basic {made}")


def test_a_token_that_is_short_or_open_to_others_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "short")
    with pytest.raises(InvalidRequest, match="it needs 32 or more"):
        Token.find(None, VARIABLE)
    loose = tmp_path / "token"
    loose.write_text("x" * 43)
    loose.chmod(0o644)
    with pytest.raises(InvalidRequest, match=f"first: chmod 600 {loose}"):
        Token.find(str(loose), VARIABLE)
