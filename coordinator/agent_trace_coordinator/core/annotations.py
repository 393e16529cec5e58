"""Tags and descriptions: what stands beside a document, whatever its content is.

An annotation belongs to the document, not to its path or content: it follows moves, and is there
again when a deleted document is restored.
"""

from __future__ import annotations

from agent_trace_protocol import Annotate, InvalidRequest, check_description, parse_tag
from agent_trace_protocol.limits import DESCRIPTION_LENGTH_MAX, TAGS_MAX

from .quoting import quoted
from .records import Annotation
from .state import DocumentState

__all__ = ["annotation_after"]


def annotation_after(
    document: DocumentState, before: Annotation | None, operation: Annotate
) -> tuple[Annotation, str]:
    """Return what stands beside a document after an operation, and what that changed, on a line.

    Raises:
        InvalidRequest: a tag or the description is none, there are too many, or nothing changes.
    """
    tags = set(() if before is None else before.tags)
    description = "" if before is None else before.description
    added = {parse_tag(tag) for tag in operation.add}
    removed = {parse_tag(tag) for tag in operation.remove}
    if both := added & removed:
        raise InvalidRequest(f"the tag {min(both)} can not be added and removed at once")
    if missing := removed - tags:
        raise InvalidRequest(f"{document.path} has no tag {min(missing)}")
    after = (tags | added) - removed
    if len(after) > TAGS_MAX:
        raise InvalidRequest(
            f"{document.path} would have {len(after)} tags; at most {TAGS_MAX}: remove some"
        )
    told = description if operation.description is None else operation.description
    if (after, told) == (tags, description):
        raise InvalidRequest(f"{document.path} has these tags and this description already")
    made = Annotation(
        document.id, document.revision + 1, tuple(sorted(after)), check_description(told)
    )
    words = [f"+{tag}" for tag in sorted(after - tags)] + [f"-{tag}" for tag in sorted(removed)]
    if told != description:
        words.append(
            f"described as {quoted(told, DESCRIPTION_LENGTH_MAX)}" if told else "no description"
        )
    return made, " ".join(words)
