"""The tables of records in docs/format.md, made from their definitions."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Final, get_args

import msgspec
from msgspec import inspect as types

from agent_trace_coordinator.core.records import (
    Annotation,
    BasedOn,
    Change,
    Kept,
    Record,
    RecordBody,
)

__all__ = ["BEGIN", "END", "with_records"]

BEGIN: Final = "<!-- records: made by make reference -->\n"
END: Final = "<!-- /records -->\n"

STRUCTURES: Final[tuple[type[msgspec.Struct], ...]] = (
    Record,
    *get_args(RecordBody),
    Change,
    Annotation,
    BasedOn,
    Kept,
)


def with_records(document: str) -> str:
    """Return the document with the tables between its marks as they are now."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{''.join(map(_table, STRUCTURES))}{END}{after}"


def _table(structure: type[msgspec.Struct]) -> str:
    info = types.type_info(structure)
    assert isinstance(info, types.StructType)
    about = _explained(structure)
    tag = f" `{info.tag}`" if info.tag else ""
    rows = "".join(
        f"| {each.name} | {_kind(each.type)} | {about.get(each.name, '')} |\n"
        for each in info.fields
    )
    head = f"**{structure.__name__}**{tag}: {_one_line(structure.__doc__ or '')}\n\n"
    return f"{head}| field | type | |\n| --- | --- | --- |\n{rows}\n"


def _explained(structure: type[msgspec.Struct]) -> dict[str, str]:
    """Return what stands in the source below each field."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(structure))).body
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for field, text in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            found[field.target.id] = _one_line(str(text.value.value))
    return found


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _kind(kind: types.Type) -> str:
    match kind:
        case types.IntType():
            return "integer"
        case types.BoolType():
            return "bool"
        case types.StrType():
            return "text"
        case types.BytesType():
            return "bytes"
        case types.NoneType():
            return "nil"
        case types.EnumType(cls=cls) | types.StructType(cls=cls):
            return str(cls.__name__)
        case types.VarTupleType(item_type=item):
            return f"array of {_kind(item)}"
        case types.UnionType(types=several) if len(several) > 2:
            return "one of the bodies below"
        case types.UnionType(types=several):
            return " or ".join(map(_kind, several))
        case _:
            raise NotImplementedError(f"no word for {kind}")
