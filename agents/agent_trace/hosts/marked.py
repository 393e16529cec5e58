"""A block of our own in somebody's instructions for agents, between two marks."""

from __future__ import annotations

from typing import Final

__all__ = ["BLOCK", "MalformedMarks", "has_block", "with_block", "without_block"]

_BEGIN: Final = "<!-- agent-trace: begin -->"
_END: Final = "<!-- agent-trace: end -->"

BLOCK: Final = f"""{_BEGIN}
## Shared documents

Plans, notes and decisions of this project live in agent-trace, a store that other agents and
people write to at the same time. At the start, and after every compaction, call the tool
`get_resume_context`: it says where the work stands. Write with the agent-trace tools rather than
to the files, so that nobody's change is lost; a refusal says what to do instead. Without the tools,
the command `agent-trace` does the same; see `agent-trace --help`.
{_END}
"""


class MalformedMarks(ValueError):
    """One mark is there without the other; the message names the line."""


def _check(text: str) -> None:
    begins, ends = text.count(_BEGIN), text.count(_END)
    if (begins, ends) in ((0, 0), (1, 1)) and text.find(_BEGIN) <= text.find(_END):
        return
    mark = _BEGIN if begins else _END
    line = text.count("\n", 0, text.find(mark)) + 1
    raise MalformedMarks(
        f"line {line}: the marks of agent-trace's block are not one pair, {_BEGIN} before {_END}; "
        "remove what is left of the block by hand"
    )


def has_block(text: str) -> bool:
    """Return whether the block is there as it should be; raises `MalformedMarks`."""
    _check(text)
    return BLOCK.strip() in text.replace("\r\n", "\n")


def with_block(text: str) -> str:
    """Return the text with the block at its end, or where an older one was."""
    _check(text)
    newline = "\r\n" if "\r\n" in text else "\n"
    block = BLOCK.replace("\n", newline)
    if _BEGIN in text:
        start, end = text.index(_BEGIN), text.index(_END) + len(_END)
        return text[:start] + block.strip() + text[end:]
    if not text:
        return block
    gap = newline if text.endswith("\n") else newline * 2
    return f"{text}{gap}{block}"


def without_block(text: str) -> str:
    """Return the text without the block and the blank line that it brought."""
    _check(text)
    if _BEGIN not in text:
        return text
    start, end = text.index(_BEGIN), text.index(_END) + len(_END)
    before, after = text[:start], text[end:]
    after = after.removeprefix("\r\n") if after.startswith("\r\n") else after.removeprefix("\n")
    if before.endswith("\r\n\r\n"):
        before = before[:-2]
    elif before.endswith("\n\n"):
        before = before[:-1]
    return before + after
