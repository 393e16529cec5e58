"""Tokens in a file: what a line may say, when it counts, and what a broken file does."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from agent_trace import InvalidRequest, Unavailable
from agent_trace.gateway.http import TOKEN_VARIABLE
from agent_trace.gateway.tokens import Tokens

FIRST, SECOND, THIRD = ("x" * 42 + each for each in "123")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.touch(0o600)
    return file


def found(file: Path) -> Tokens:
    return Tokens.find(str(file), TOKEN_VARIABLE)


def agents(tokens: Tokens, *given: str) -> list[str | None]:
    """Return as whom each of these may ask; None: not at all."""
    grants = [tokens.grant_of(f"Bearer {token}") for token in given]
    return [None if grant is None else grant.agent for grant in grants]


def test_a_file_is_made_for_its_owner_only_and_used_again(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    first = found(file)
    assert file.stat().st_mode & 0o777 == 0o600
    made = file.read_text().strip()
    assert len(made) == 43
    # It is in the file, so nobody needs to be shown it.
    assert (first.shown, first.lasting) == ("", True)
    again = found(file)
    assert again.grant_of(f"Bearer {made}") == again.grant_of(f"bearer  {made}") is not None
    for wrong in (f"Bearer {made[:-1]}", f"Basic {made}", made, "Bearer", ""):
        assert again.grant_of(wrong) is None


def test_a_line_says_whose_a_token_is_and_how_long_it_is_good(file: Path) -> None:
    hashed = hashlib.sha256(THIRD.encode()).hexdigest()
    file.write_text(
        f"# of the lab\n\n{FIRST}  # everybody's\n"
        f"{SECOND} agent=planner until=2026-12-31\nsha256:{hashed} until=2026-12-31T10:00:00Z\n"
    )
    now = [1_798_711_199.0]  # 2026-12-31 09:59:59 UTC
    tokens = Tokens(file=file, clock=lambda: now[0])
    assert agents(tokens, FIRST, SECOND, THIRD, hashed) == ["", "planner", "", None]
    now[0] += 1
    assert agents(tokens, FIRST, SECOND, THIRD) == ["", "planner", None]
    now[0] += 14 * 3600 - 1
    assert agents(tokens, SECOND) == ["planner"]
    now[0] += 1
    assert agents(tokens, FIRST, SECOND) == ["", None]


def test_a_file_counts_as_it_is_now(file: Path) -> None:
    file.write_text(f"{FIRST}\n")
    tokens = found(file)
    file.write_text(f"{FIRST}\n{SECOND}\n")
    assert agents(tokens, FIRST, SECOND) == ["", ""]
    other = file.with_name("new")
    other.touch(0o600)
    other.write_text(f"{SECOND}\n")
    other.replace(file)
    assert agents(tokens, FIRST, SECOND) == [None, ""]
    file.write_text("# nobody\n")
    assert agents(tokens, FIRST, SECOND) == [None, None]
    assert not tokens.good(hashlib.sha256(SECOND.encode()).digest())


@pytest.mark.parametrize("how", ["gone", "open to others", "broken"])
def test_while_the_file_can_not_be_read_nobody_comes_in_and_nobody_is_thrown_out(
    file: Path, how: str
) -> None:
    file.write_text(f"{FIRST}\n")
    tokens = found(file)
    match how:
        case "gone":
            file.rename(file.with_name("aside"))
        case "open to others":
            file.chmod(0o640)
        case _:
            file.write_text("short\n")
    for _ in range(2):
        with pytest.raises(Unavailable):
            agents(tokens, FIRST)
    assert tokens.good(hashlib.sha256(FIRST.encode()).digest())
    file.unlink(missing_ok=True)
    file.touch(0o600)
    file.write_text(f"{FIRST}\n")
    assert agents(tokens, FIRST) == [""]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("secret", r"the token in .*, line 2 has 6 characters; it needs 32 or more"),
        (f"{SECOND} secret", r"line 2: after the token stand agent=NAME and until=DATE only"),
        (f"{SECOND} agent=No", r"line 2: 'No' is not a name"),
        (f"{SECOND} until=tomorrow", r"line 2: until=tomorrow is neither a day"),
        ("sha256:abc", r"line 2: sha256: is followed by the 64 digits of a hash"),
    ],
)
def test_a_line_that_is_none_is_named_without_a_word_of_a_token(
    file: Path, line: str, message: str
) -> None:
    file.write_text(f"{FIRST}\n{line}\n")
    with pytest.raises(InvalidRequest, match=message) as caught:
        found(file)
    assert SECOND not in caught.value.message
    assert "secret" not in caught.value.message


def test_a_file_without_a_token_or_open_to_others_is_refused_at_the_start(file: Path) -> None:
    with pytest.raises(InvalidRequest, match="holds no token"):
        found(file)
    file.write_text(f"{FIRST}\n")
    file.chmod(0o644)
    with pytest.raises(InvalidRequest, match=f"first: chmod 600 {file}"):
        found(file)


def test_a_token_of_the_environment_must_be_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "short")
    with pytest.raises(InvalidRequest, match="it needs 32 or more"):
        Tokens.find(None, TOKEN_VARIABLE)
    monkeypatch.setenv(TOKEN_VARIABLE, FIRST)
    tokens = Tokens.find(None, TOKEN_VARIABLE)
    assert (tokens.shown, tokens.lasting, agents(tokens, FIRST)) == ("", True, [""])
    monkeypatch.delenv(TOKEN_VARIABLE)
    made = Tokens.find(None, TOKEN_VARIABLE)
    assert (made.lasting, agents(made, made.shown)) == (False, [""])
