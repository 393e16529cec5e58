"""The trailers of records that changed documents, and the way back.

They hold everything of the record, the digests of the contents included: the journal's records can
be made again, and proven by their hash chain, even where a content itself is damaged or gone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from agent_trace_coordinator.core.records import Annotation, BasedOn, Change, Changed
from agent_trace_protocol import Action, DocumentType

from .policy_trailers import TrailerFields

__all__ = ["parse_based_on", "parse_changed", "render_based_on", "render_changed"]

_DOCUMENT: Final = re.compile(r"([0-9]+) ([a-z]+) ([0-9]+) ([a-z]+) (.+)", re.ASCII)
_CONTENT: Final = re.compile(
    r"([0-9]+) ([0-9]+) ([0-9]+) ([0-9a-f]{64}|-) \+([0-9]+) -([0-9]+)", re.ASCII
)
_MOVED_FROM: Final = re.compile(r"([0-9]+) (.+)", re.ASCII)
_OF_CHANGES: Final = ("Document", "Content", "Moved-From", "Summary", "Tags", "Description")
_TAGS: Final = re.compile(r"([0-9]+)((?: [a-z0-9._:/-]+)*)", re.ASCII)
_DESCRIPTION: Final = re.compile(r"([0-9]+) (.+)", re.ASCII)
_SUMMARY: Final = re.compile(r"([0-9]+) (.+)", re.ASCII)
_BASED_ON: Final = re.compile(r"([0-9]+)@([0-9]+) (.+)", re.ASCII)
_ACCEPTS: Final = re.compile(r"draft-([0-9]{1,18})", re.ASCII)
_APPLIES: Final = re.compile(r"violation-([0-9]{1,18})", re.ASCII)


def render_changed(body: Changed, escape: Callable[[str], str]) -> Iterator[str]:
    """Yield the trailers of a record, less its message; `escape` makes one line of any text."""
    annotations = iter(body.annotations)
    for change in body.changes:
        yield (
            f"Document: {change.document} {change.type.value} {change.revision} "
            f"{change.action.value} {escape(change.path)}\n"
            f"Content: {change.document} {change.content_key} {change.size} "
            f"{change.digest.hex() or '-'} +{change.added} -{change.removed}\n"
        )
        if change.previous_path:
            yield f"Moved-From: {change.document} {escape(change.previous_path)}\n"
        if change.summary:
            yield f"Summary: {change.document} {escape(change.summary)}\n"
        if change.action is Action.ANNOTATE:
            annotation = next(annotations)
            yield f"Tags: {' '.join((str(change.document), *annotation.tags))}\n"
            if annotation.description:
                yield f"Description: {change.document} {escape(annotation.description)}\n"
    if body.draft:
        yield f"Accepts: draft-{body.draft}\n"
    if body.override:
        yield f"Override: {escape(body.override)}\n"
    if body.violation:
        yield f"Applies: violation-{body.violation}\n"
    if body.source:
        yield f"Source: {escape(body.source)}\n"
    yield from render_based_on(body.based_on, escape)


def render_based_on(reads: tuple[BasedOn, ...], escape: Callable[[str], str]) -> Iterator[str]:
    """Yield the trailers of what a session had read."""
    for read in reads:
        yield f"Based-On: {read.document}@{read.revision} {escape(read.path)}\n"


def parse_based_on(fields: TrailerFields, unescape: Callable[[str], str]) -> tuple[BasedOn, ...]:
    """Return what a session had read; raises `ValueError` if the trailers are not ours."""
    reads: list[BasedOn] = []
    for _, value in fields.take_all("Based-On"):
        match = _BASED_ON.fullmatch(value)
        if match is None:
            raise ValueError("a trailer Based-On is not readable")
        reads.append(BasedOn(int(match[1]), int(match[2]), unescape(match[3])))
    return tuple(reads)


def parse_changed(fields: TrailerFields, message: str, unescape: Callable[[str], str]) -> Changed:
    """Return the record's body; raises `ValueError` if the trailers are not what is rendered."""
    accepts = fields.take_match("Accepts", _ACCEPTS)[1] if "Accepts" in fields else 0
    applies = fields.take_match("Applies", _APPLIES)[1] if "Applies" in fields else 0
    parsed = list(_changes(fields.take_all(*_OF_CHANGES), unescape))
    return Changed(
        changes=tuple(change for change, _ in parsed),
        message=message,
        draft=int(accepts),
        override=fields.take_text("Override"),
        violation=int(applies),
        source=fields.take_text("Source"),
        based_on=parse_based_on(fields, unescape),
        annotations=tuple(annotation for _, annotation in parsed if annotation is not None),
    )


def _changes(
    lines: list[tuple[str, str]], unescape: Callable[[str], str]
) -> Iterator[tuple[Change, Annotation | None]]:
    """Yield the changes: for each a `Document`, a `Content`, after a move a `Moved-From`, a
    `Summary` if there is one, and for an annotation `Tags`, and `Description` if it has one."""
    lines.reverse()
    while lines:
        document = _next(lines, "Document", _DOCUMENT)
        content = _next(lines, "Content", _CONTENT)
        moved = None
        if lines and lines[-1][0] == "Moved-From":
            moved = _next(lines, "Moved-From", _MOVED_FROM)
        summary = None
        if lines and lines[-1][0] == "Summary":
            summary = _next(lines, "Summary", _SUMMARY)
        annotation = None
        if document[4] == Action.ANNOTATE:
            annotation = _annotation(lines, int(document[1]), int(document[3]), unescape)
        if any(each is not None and each[1] != document[1] for each in (content, moved, summary)):
            raise ValueError("the trailers of two documents are mixed up")
        change = Change(
            document=int(document[1]),
            action=Action(document[4]),
            path=unescape(document[5]),
            previous_path="" if moved is None else unescape(moved[2]),
            type=DocumentType(document[2]),
            revision=int(document[3]),
            content_key=int(content[2]),
            digest=b"" if content[4] == "-" else bytes.fromhex(content[4]),
            size=int(content[3]),
            added=int(content[5]),
            removed=int(content[6]),
            summary="" if summary is None else unescape(summary[2]),
        )
        yield change, annotation


def _annotation(
    lines: list[tuple[str, str]], document: int, revision: int, unescape: Callable[[str], str]
) -> Annotation:
    tags = _next(lines, "Tags", _TAGS)
    described = None
    if lines and lines[-1][0] == "Description":
        described = _next(lines, "Description", _DESCRIPTION)
    if any(each is not None and int(each[1]) != document for each in (tags, described)):
        raise ValueError("the trailers of two documents are mixed up")
    return Annotation(
        document,
        revision,
        tuple(tags[2].split()),
        "" if described is None else unescape(described[2]),
    )


def _next(lines: list[tuple[str, str]], key: str, pattern: re.Pattern[str]) -> re.Match[str]:
    match = pattern.fullmatch(lines[-1][1]) if lines and lines[-1][0] == key else None
    if match is None:
        raise ValueError(f"a trailer {key} is missing or not readable")
    lines.pop()
    return match
