"""Unified diffs: what git makes of them is what they were made from."""

from __future__ import annotations

import subprocess
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent_trace_coordinator.core.diffs import difference, ranges_added

MANY = 1 << 20

TEXTS = st.text("ab\n\r", max_size=40).map(str.encode)


def test_a_diff_reads_like_git_s() -> None:
    before = "".join(f"{number}\n" for number in range(1, 21)).encode()
    after = before.replace(b"5\n", b"five\n", 1).replace(b"20\n", b"20\nend")
    told = difference(before, after, MANY)
    assert told.text == (
        "@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n"
        "@@ -18,3 +18,4 @@\n 18\n 19\n 20\n+end\n\\ No newline at end of file\n"
    )
    assert (told.added, told.removed, told.left_out) == (2, 1, 0)


def test_changes_whose_surroundings_touch_are_shown_together() -> None:
    before = b"a\nb\nc\nd\ne\nf\ng\n"
    told = difference(before, before.replace(b"a", b"A").replace(b"g", b"G"), MANY)
    assert told.text.count("@@") == 2


def test_equal_texts_have_no_diff() -> None:
    assert difference(b"a\n", b"a\n", MANY).text == ""


def test_a_diff_that_does_not_fit_is_cut_between_lines_and_counted() -> None:
    told = difference(b"", b"line\n" * 100, 60)
    assert told.text.endswith("line\n") and len(told.text) <= 60
    assert told.added == 100 and told.left_out == 101 - told.text.count("\n")


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(before=TEXTS, after=TEXTS)
def test_git_makes_the_one_text_of_the_other_by_the_diff(
    tmp_path: Path, before: bytes, after: bytes
) -> None:
    told = difference(before, after, MANY)
    directory = tmp_path
    (directory / "a").write_bytes(before)
    if told.text:
        subprocess.run(
            ["git", "-C", str(directory), "apply", "--unidiff-zero", "-"],
            input=f"--- a/a\n+++ b/a\n{told.text}".encode(),
            check=True,
        )
    assert (directory / "a").read_bytes() == after


@given(before=TEXTS, after=TEXTS)
def test_the_lines_that_were_added_are_those_that_the_diff_adds(
    before: bytes, after: bytes
) -> None:
    lines = after.decode().split("\n")
    added = [
        lines[line - 1]
        for first, last in ranges_added(before, after)
        for line in range(first, last + 1)
    ]
    shown = difference(before, after, MANY).text.split("\n")
    assert added == [line[1:] for line in shown if line.startswith("+")]
