"""What a document says about the work: its digest, taken from the text alone.

Plans and notes are Markdown: headings, check boxes, front matter, and lines such as `Decision:
...`. A digest holds what of it an agent wants to know who was away. Pure and deterministic; one
pass over the lines, with patterns that can not backtrack far, so that no text makes it slow; each
item and each list is bounded, and what did not fit is counted.

The texts in a digest are as the document has them, cut and on one line: whoever shows them quotes
them (`quoting`).
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

__all__ = ["CheckBox", "Digest", "Line", "digest_of", "is_finished"]

SCANNED_BYTES_MAX: Final = 1 << 20
"""Bytes of a document that are looked at: all of it, unless the store allows larger ones."""

SCANNED_LINES_MAX: Final = 50_000
"""Lines that are looked at: some 0.1 s."""

LINE_LENGTH_MAX: Final = 1000
"""Characters of a line that are looked at."""

TEXT_LENGTH_MAX: Final = 160
"""Characters of one item."""

HEADING_LENGTH_MAX: Final = 60
"""Characters of the heading under which an item stands."""

OPEN_MAX: Final = 32
"""Open check boxes of one document; the first ones count as what is next."""

DONE_MAX: Final = 8
"""Checked boxes of one document: the last ones."""

LINES_MAX: Final = 8
"""Goals, decisions and the like, of each kind: the first goals and constraints, the last others."""

TAGS_MAX: Final = 8


class Line(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A line of a document that says something."""

    line: int
    """Counted from 1."""
    text: str


class CheckBox(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A line with a check box."""

    line: int
    text: str
    heading: str
    """The heading that it stands under; empty if there is none."""


class Digest(msgspec.Struct, frozen=True):
    """What one document says."""

    title: str = ""
    description: str = ""
    """Its first sentence, or what its front matter says."""
    tags: tuple[str, ...] = ()
    status: str = ""
    phase: str = ""
    """The phase that it says it is in; else the first heading of a phase with something open."""
    goals: tuple[Line, ...] = ()
    next_steps: tuple[Line, ...] = ()
    """What it calls the next step; where it says nothing, the first open check box."""
    open: tuple[CheckBox, ...] = ()
    open_count: int = 0
    done: tuple[CheckBox, ...] = ()
    done_count: int = 0
    decisions: tuple[Line, ...] = ()
    blockers: tuple[Line, ...] = ()
    questions: tuple[Line, ...] = ()
    constraints: tuple[Line, ...] = ()
    complete: bool = True
    """Whether the whole document was looked at."""


_HEADING: Final = re.compile(r" {0,3}(#{1,6})[ \t]+(\S.*)")
_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})")
_BOX: Final = re.compile(r"\s{0,40}(?:[-*+]|\d{1,9}[.)]) {1,4}\[([ xX])\](?:\s+(.*))?")
_ITEM: Final = re.compile(r"\s{0,40}(?:[-*+]|\d{1,9}[.)])\s+(\S.*)")
_QUOTE_MARKS: Final = re.compile(r"(?:\s{0,3}> ?){1,8}")
_BLANKS: Final = re.compile(r"\s+")
_KEY: Final = re.compile(r"([A-Za-z][A-Za-z0-9_-]{0,40}):(?:\s+(.*))?")

_KINDS: Final = {
    "goals": ("goal", "goals", "objective", "objectives", "purpose", "mission", "aim", "aims"),
    "phase": ("phase", "current phase", "current status", "stage"),
    "next_steps": (
        *("next", "next step", "next steps", "next action", "next actions", "next up", "up next"),
        *("resume here", "todo next"),
    ),
    "decisions": ("decision", "decisions", "decided", "decision log", "decisions made"),
    "blockers": ("blocker", "blockers", "blocked", "blocked by", "impediments"),
    "questions": ("question", "questions", "open question", "open questions"),
    "constraints": ("constraint", "constraints", "non-goal", "non-goals", "must not"),
}
_KIND_OF: Final = {word: kind for kind, words in _KINDS.items() for word in words}
_LABEL: Final = re.compile(
    r"[\s*_+-]{0,8}("
    + "|".join(sorted((re.escape(each) for each in (*_KIND_OF, "status")), key=len, reverse=True))
    + r")[*_]{0,3}\s{0,3}(?:\([^()]{0,60}\))?\s{0,3}:[*_]{0,3}\s{0,8}(\S.*)",
    re.IGNORECASE,
)
_PHASE_HEADING: Final = re.compile(r"(?:phase|milestone|stage|sprint|iteration)\b", re.IGNORECASE)
_NUMBERING: Final = re.compile(r"[\W\d_]{0,12}")
_SENTENCE_END: Final = re.compile(r"[.!?](?=\s|$)")
_FIRST_KINDS: Final = frozenset({"goals", "constraints", "next_steps"})
"""Of these the first ones count, of the others the last."""


_FINISHED: Final = ("done", "complete", "closed", "archived", "abandoned", "cancelled", "finished")


def is_finished(digest: Digest) -> bool:
    """Return whether a plan says that nothing is to be done any more."""
    return bool(digest.status) and digest.status.lower().startswith(_FINISHED)


def digest_of(content: bytes) -> Digest:
    """Return the digest of a document."""
    text = content[:SCANNED_BYTES_MAX].decode("utf-8", "replace")
    lines = text.split("\n", SCANNED_LINES_MAX)
    complete = len(content) <= SCANNED_BYTES_MAX and len(lines) <= SCANNED_LINES_MAX
    del lines[SCANNED_LINES_MAX:]
    reader = _Reader()
    start = reader.front_matter(lines)
    for number in range(start, len(lines)):
        line = lines[number]
        if line and not line.isspace():
            reader.take(number + 1, line[:LINE_LENGTH_MAX].rstrip())
        else:
            reader.end_paragraph()
    reader.end_paragraph()
    return reader.digest(complete)


def _one_line(text: str, length_max: int = TEXT_LENGTH_MAX) -> str:
    text = _BLANKS.sub(" ", text).strip()
    return text if len(text) <= length_max else text[: length_max - 3].rstrip() + "..."


class _Reader:
    def __init__(self) -> None:
        self.front: dict[str, str] = {}
        self.tags: list[str] = []
        self.title = ""
        self.status = ""
        self.phase = ""
        self.phases: list[str] = []
        """Headings of phases under which something is open, outermost first."""
        self.paragraph: list[str] = []
        self.description = ""
        self.headings: list[tuple[int, str]] = []
        self.kind = ""
        """What the lines under the present heading are."""
        self.fence = ""
        self.comment = False
        self.lines: dict[str, list[Line]] = {kind: [] for kind in _KINDS}
        self.open: list[CheckBox] = []
        self.open_count = 0
        self.done: list[CheckBox] = []
        self.done_count = 0

    def front_matter(self, lines: list[str]) -> int:
        """Read the block between two `---` lines at the top; return where the text begins."""
        if not lines or lines[0].rstrip() != "---":
            return 0
        try:
            end = next(at for at in range(1, min(len(lines), 200)) if lines[at].rstrip() == "---")
        except StopIteration:
            return 0
        key = ""
        for line in lines[1:end]:
            line = line[:LINE_LENGTH_MAX]
            found = _KEY.fullmatch(line.rstrip())
            if found:
                key = found[1].lower()
                value = (found[2] or "").strip().strip("\"'")
                if key == "tags":
                    self.tags += value.strip("[]").split(",")
                else:
                    self.front.setdefault(key, _one_line(value))
            elif key == "tags" and line.strip().startswith("-"):
                self.tags.append(line.strip()[1:])
        return end + 1

    def take(self, number: int, line: str) -> None:
        if self._is_code(line) or self._is_comment(line):
            return
        heading = _HEADING.match(line)
        if heading:
            self.end_paragraph()
            self._take_heading(len(heading[1]), _one_line(heading[2].rstrip("# \t")))
            return
        line = _QUOTE_MARKS.sub("", line, count=1) if line.lstrip().startswith(">") else line
        box = _BOX.fullmatch(line)
        if box:
            self.end_paragraph()
            self._take_box(number, box[1], _one_line(box[2] or ""))
            return
        label = _LABEL.match(line)
        if label:
            self.end_paragraph()
            self._take_label(number, label[1].lower(), _one_line(label[2].rstrip("*_ ")))
            return
        item = _ITEM.fullmatch(line)
        if self.kind and line[:1] not in "|" and (item or not self.paragraph):
            self._note(self.kind, number, _one_line(item[1] if item else line))
        if not item:
            if len(self.paragraph) < 20:
                self.paragraph.append(line)
        else:
            self.end_paragraph()

    def end_paragraph(self) -> None:
        """The paragraph that was read is complete."""
        if self.paragraph and not self.description:
            text = _one_line(" ".join(self.paragraph), 4 * TEXT_LENGTH_MAX)
            end = _SENTENCE_END.search(text)
            self.description = _one_line(text[: end.end()] if end else text)
        self.paragraph.clear()

    def _is_code(self, line: str) -> bool:
        found = _FENCE.match(line)
        if found:
            marker = found[1]
            if not self.fence:
                self.fence = marker
                self.end_paragraph()
            elif marker.startswith(self.fence) and not line.strip().strip(self.fence[0]):
                self.fence = ""
            return True
        return bool(self.fence)

    def _is_comment(self, line: str) -> bool:
        # What a reader of the document does not see says nothing here either.
        if self.comment:
            self.comment = "-->" not in line
            return True
        if line.lstrip().startswith("<!--"):
            self.comment = "-->" not in line
            return True
        return False

    def _take_heading(self, level: int, text: str) -> None:
        while self.headings and self.headings[-1][0] >= level:
            self.headings.pop()
        self.headings.append((level, text))
        if not self.title and level == 1:
            self.title = text
        name, colon, rest = text.partition(":")
        words = _BLANKS.sub(" ", name[_end(_NUMBERING, name) :].rstrip("*_ ").lower())
        # A section within a section of a kind is of that kind too, unless it says otherwise.
        above = self.headings[-2][1] if len(self.headings) > 1 else ""
        own = _KIND_OF.get(words, "")
        self.kind = own or (_KIND_OF.get(above.lower(), "") if above else "")
        if own and colon and rest.strip():
            self._note(own, 0, _one_line(rest))
        if own == "phase" and not rest.strip():
            return
        if own:
            return
        lowered = text.lower()
        if _PHASE_HEADING.match(text[_end(_NUMBERING, text) :]) and (
            "(current)" in lowered or "(in progress)" in lowered
        ):
            self.phase = self.phase or text

    def _take_box(self, number: int, mark: str, text: str) -> None:
        heading = self.headings[-1][1] if self.headings else ""
        box = CheckBox(number, text, _one_line(heading, HEADING_LENGTH_MAX))
        if mark != " ":
            self.done_count += 1
            self.done.append(box)
            if len(self.done) > DONE_MAX:
                del self.done[0]
            return
        self.open_count += 1
        if len(self.open) < OPEN_MAX:
            self.open.append(box)
        if self.kind and self.kind != "phase":
            self._note(self.kind, number, text)
        if not self.phases:
            self.phases = [
                each
                for _, each in self.headings
                if _PHASE_HEADING.match(each[_end(_NUMBERING, each) :])
            ]

    def _take_label(self, number: int, word: str, text: str) -> None:
        if word == "status":
            self.status = self.status or text
        else:
            self._note(_KIND_OF[word], number, text)

    def _note(self, kind: str, number: int, text: str) -> None:
        if not text:
            return
        if kind == "phase":
            self.phase = self.phase or text
            return
        lines = self.lines[kind]
        if len(lines) >= LINES_MAX:
            if kind in _FIRST_KINDS:
                return
            del lines[0]
        lines.append(Line(number, text))

    def digest(self, complete: bool) -> Digest:
        front = self.front
        goals = tuple(self.lines["goals"])
        said = front.get("objective") or front.get("goal") or ""
        if said:
            goals = (Line(1, said), *goals[: LINES_MAX - 1])
        steps = tuple(self.lines["next_steps"])
        said = front.get("next") or front.get("next_step") or front.get("next-step") or ""
        if said:
            steps = (Line(1, said), *steps[: LINES_MAX - 1])
        if not steps and self.open:
            steps = (Line(self.open[0].line, self.open[0].text),)
        return Digest(
            title=self.title or front.get("title", ""),
            description=front.get("description") or self.description,
            tags=tuple(
                _one_line(each.strip().strip("\"'"), HEADING_LENGTH_MAX)
                for each in self.tags[:TAGS_MAX]
                if each.strip()
            ),
            status=front.get("status") or self.status,
            phase=front.get("phase") or self.phase or (self.phases[0] if self.phases else ""),
            goals=goals,
            next_steps=steps,
            open=tuple(self.open),
            open_count=self.open_count,
            done=tuple(self.done),
            done_count=self.done_count,
            decisions=tuple(self.lines["decisions"]),
            blockers=tuple(self.lines["blockers"]),
            questions=tuple(self.lines["questions"]),
            constraints=tuple(self.lines["constraints"]),
            complete=complete,
        )


def _end(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.match(text)
    return found.end() if found else 0
