"""The protocol document says what the code does: its tables, limits and vectors are compared.

`pytest tests/protocol/test_document.py --regenerate` rewrites the document's vectors.
"""

from __future__ import annotations

import enum
import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from msgspec import inspect

from agent_trace_protocol import (
    Action,
    Actor,
    Basis,
    BlameRange,
    ConflictInfo,
    DocumentInfo,
    DocumentType,
    DraftInfo,
    DraftText,
    Durability,
    ErrorCode,
    ErrorInfo,
    GrantInfo,
    LeaseInfo,
    LeaseRefusal,
    LeftOut,
    LogEntry,
    MirrorInfo,
    Operation,
    PermissionEntry,
    Permit,
    RecapPart,
    RefusedText,
    Reply,
    ReplyEnvelope,
    Request,
    RequestEnvelope,
    SearchHit,
    SectionMode,
    SessionInfo,
    SessionKind,
    SessionState,
    SnapshotDocument,
    StatementInfo,
    TouchInfo,
    Trace,
    TraceFile,
    TraceRange,
    ViolationInfo,
    WaiterInfo,
    WriteResult,
    encode,
    error_from_info,
    limits,
    session_id_of,
)
from support.messages import SAMPLES

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"
BEGIN, END = "<!-- vectors: begin -->\n", "<!-- vectors: end -->\n"

STRUCTURES: tuple[type[msgspec.Struct], ...] = (
    RequestEnvelope,
    ReplyEnvelope,
    *get_args(Request),
    *get_args(Operation),
    *get_args(Reply),
    WriteResult,
    DocumentInfo,
    LogEntry,
    SessionInfo,
    LeaseInfo,
    WaiterInfo,
    PermissionEntry,
    MirrorInfo,
    GrantInfo,
    DraftInfo,
    DraftText,
    ViolationInfo,
    RefusedText,
    BlameRange,
    TouchInfo,
    SnapshotDocument,
    Trace,
    TraceFile,
    TraceRange,
    SearchHit,
    StatementInfo,
    ErrorInfo,
    ConflictInfo,
    LeaseRefusal,
    LeftOut,
    Basis,
    RecapPart,
)

ENUMERATIONS: tuple[type[enum.StrEnum], ...] = (
    Actor,
    DocumentType,
    SessionKind,
    SessionState,
    Action,
    Durability,
    SectionMode,
    Permit,
)

Value = list["Value"] | bytes | str | float | bool | None
"""What MessagePack decodes to, without maps."""

HOW_MESSAGES_ARE_MADE = {"KIB", "MIB", "REASON_LENGTH_MAX"}
"""Constants of `limits` that nobody sees on the wire."""


def document() -> str:
    return DOCUMENT.read_text(encoding="utf-8")


def section(heading: str) -> str:
    """Return the text under a heading line, down to the next heading of any level."""
    match = re.search(
        rf"^{re.escape(heading)}\n(.*?)(?=^##|\Z)", document(), re.MULTILINE | re.DOTALL
    )
    assert match, f"the document has no heading {heading!r}"
    return match.group(1)


def rows(text: str) -> list[list[str]]:
    """Return the cells of a Markdown table, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def type_in_words(info: inspect.Type) -> str:
    match info:
        case inspect.StructType(cls=cls) | inspect.EnumType(cls=cls):
            return cls.__name__
        case inspect.UnionType(types=types):
            if all(isinstance(each, inspect.StructType) for each in types):
                return "operation"
            return " or ".join(type_in_words(each) for each in types)
        case inspect.VarTupleType(item_type=item):
            return f"array of {type_in_words(item)}"
        case inspect.IntType():
            return "count"
        case inspect.FloatType():
            return "seconds"
        case inspect.BoolType():
            return "bool"
        case inspect.StrType():
            return "text"
        case inspect.BytesType():
            return "bytes"
        case inspect.NoneType():
            return "nil"
        case _:
            raise NotImplementedError(f"no word for {info}")


def default_in_words(field: inspect.Field) -> str:
    if field.required:
        return ""
    match field.default:
        case None:
            return "nil"
        case bool():
            return str(field.default).lower()
        case str():
            return f"`{str(field.default)}`" if field.default else '`""`'
        case _:
            return str(field.default)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_table_of_every_structure_is_its_definition(structure: type[msgspec.Struct]) -> None:
    info = inspect.type_info(structure)
    assert isinstance(info, inspect.StructType)
    heading = f"#### {structure.__name__}" + (f" `{info.tag}`" if info.tag else "")
    assert [row[:3] for row in rows(section(heading))] == [
        [field.name, type_in_words(field.type), default_in_words(field)] for field in info.fields
    ]


def test_the_document_describes_nothing_that_does_not_exist() -> None:
    headings = re.findall(r"^#### (\w+)", document(), re.MULTILINE)
    assert headings == [structure.__name__ for structure in STRUCTURES]


def test_the_table_of_enumerations_is_their_definition() -> None:
    assert rows(section("## Enumerations")) == [
        [each.__name__, ", ".join(f"`{value}`" for value in each)] for each in ENUMERATIONS
    ]


def test_the_table_of_errors_has_every_code_and_whether_it_is_retryable() -> None:
    table = {row[0].strip("`"): row[2] for row in rows(section("## Errors"))}
    assert table == {
        code.value: "yes" if error_from_info(ErrorInfo(code, "")).retryable else "no"
        for code in ErrorCode
    }


def test_the_table_of_limits_is_their_definition() -> None:
    table = {row[0]: int(row[1]) for row in rows(section("## Limits"))}
    constants: dict[str, Any] = {
        name: value for name, value in vars(limits).items() if name.isupper()
    }
    assert table == {
        name: value for name, value in constants.items() if name not in HOW_MESSAGES_ARE_MADE
    }


def test_the_example_of_a_session_id_is_right() -> None:
    match = re.search(r"`([0-9a-f]{32})` has the id `([a-z2-7]{26})`", document())
    assert match
    assert session_id_of(bytes.fromhex(match.group(1))) == match.group(2)


def test_the_vectors_are_the_golden_frames(regenerate: bool) -> None:
    text = document()
    head, _, rest = text.partition(BEGIN)
    shown, _, tail = rest.partition(END)
    expected = vectors()
    if regenerate:
        DOCUMENT.write_text(head + BEGIN + expected + END + tail, encoding="utf-8")
    else:
        assert shown == expected


def vectors() -> str:
    # That these bytes are those of the golden files is what `test_golden` holds.
    parts: list[str] = []
    for sample in SAMPLES:
        data = encode(sample.message)
        parts.append(
            f"**{sample.name}**, {sample.kind}\n\n"
            f"```\n{notation(msgspec.msgpack.decode(data))}\n{data.hex()}\n```\n"
        )
    return "\n".join(parts)


def notation(value: Value) -> str:
    """Return a decoded message in CBOR's diagnostic notation (RFC 8949, section 8)."""
    if isinstance(value, list):
        return f"[{', '.join(notation(each) for each in value)}]"
    if isinstance(value, bytes):
        return f"h'{value.hex()}'"
    return msgspec.json.encode(value).decode()
