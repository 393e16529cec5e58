"""What a document says about the work, read from its text alone."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from agent_trace_coordinator.core.digest import (
    DONE_MAX,
    LINES_MAX,
    OPEN_MAX,
    TEXT_LENGTH_MAX,
    CheckBox,
    Digest,
    Line,
    digest_of,
)

PLAN = b"""---
title: not this one
status: active
tags: [parser, "rust"]
---
# Ship the parser

Build a *fast* parser. Then rest.

## Goals
- Parse everything
- Be quick

## Phase 1: read
- [x] lexer

## Phase 2: write
- [ ] printer
  - [ ] colours
**Decision:** use tabs
> Blocker: the disk is full

## Next steps
1. write the printer

## Open questions
- why?
<!-- Decision: nobody sees this -->
```
- [ ] an example
```
Constraint: no network
"""


def test_a_plan_tells_its_goals_phase_next_step_check_boxes_and_notes() -> None:
    assert digest_of(PLAN) == Digest(
        title="Ship the parser",
        description="Build a *fast* parser.",
        tags=("parser", "rust"),
        status="active",
        phase="Phase 2: write",
        goals=(Line(11, "Parse everything"), Line(12, "Be quick")),
        next_steps=(Line(24, "write the printer"),),
        open=(
            CheckBox(18, "printer", "Phase 2: write"),
            CheckBox(19, "colours", "Phase 2: write"),
        ),
        open_count=2,
        done=(CheckBox(15, "lexer", "Phase 1: read"),),
        done_count=1,
        decisions=(Line(20, "use tabs"),),
        blockers=(Line(21, "the disk is full"),),
        questions=(Line(27, "why?"),),
        constraints=(Line(32, "no network"),),
    )


def test_front_matter_and_labels_count_before_what_is_only_guessed() -> None:
    found = digest_of(
        b"---\nobjective: win\nnext: jump\nphase: three\n---\nPhase: four\n\nNext: run\n- [ ] sit\n"
    )

    assert found.goals == (Line(1, "win"),)
    assert found.phase == "three"
    assert found.next_steps == (Line(1, "jump"), Line(8, "run"))
    assert found.open_count == 1


def test_without_a_word_about_the_next_step_it_is_the_first_open_check_box() -> None:
    assert digest_of(b"- [x] a\n- [ ] b\n- [ ] c\n").next_steps == (Line(2, "b"),)


def test_a_phase_that_is_marked_as_current_counts() -> None:
    assert digest_of(b"## Phase 1\n## Phase 2 (current)\n").phase == "Phase 2 (current)"
    assert digest_of(b"## Current phase\n\nTesting\n").phase == "Testing"
    assert digest_of(b"## Current phase: rest\n").phase == "rest"


def test_lists_and_texts_are_bounded_and_what_is_open_is_counted() -> None:
    many = b"".join(b"- [ ] open %d\n- [x] done %d\nDecision: d%d\n" % (n, n, n) for n in range(99))
    found = digest_of(many + b"Question: " + b"long " * 200)

    assert (found.open_count, len(found.open), found.open[0].text) == (99, OPEN_MAX, "open 0")
    assert (found.done_count, len(found.done), found.done[-1].text) == (99, DONE_MAX, "done 98")
    assert [each.text for each in found.decisions] == [f"d{n}" for n in range(99 - LINES_MAX, 99)]
    assert len(found.questions[0].text) <= TEXT_LENGTH_MAX


def test_a_text_with_too_many_lines_is_read_in_part_and_says_so() -> None:
    assert not digest_of(b"\n" * 60_000 + b"- [ ] far away\n").complete
    assert not digest_of(b"x" * (1 << 20) + b"\n- [ ] far away\n").complete


PIECES = st.lists(
    st.sampled_from(
        ["---\n", "- [ ] ", "- [x] ", "# ", "Decision: ", "next:", "```", "<!--", "-->", "> ", "\n"]
    )
    | st.text(max_size=20),
    max_size=60,
)


@given(PIECES.map("".join).map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary())
def test_any_text_has_a_digest_of_bounded_size(content: bytes) -> None:
    found = digest_of(content)

    assert found == digest_of(content)
    assert len(msgspec.msgpack.encode(found)) < 64 << 10
