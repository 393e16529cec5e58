"""What models pay for: the size of definitions and instructions, their order, their hints."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent_trace.gateway.server import INSTRUCTIONS, TOOLS
from agent_trace.gateway.tools import Profile, Toolbox

DESTROYING = {"delete_file", "discard_draft"}


def model_visible(definition: Any) -> int:
    """Return the bytes of a definition that hosts put before their model."""
    shown = {
        "name": definition.name,
        "description": definition.description,
        "inputSchema": definition.input_schema,
    }
    return len(json.dumps(shown, separators=(",", ":"), ensure_ascii=False).encode())


def names(profile: Profile) -> list[str]:
    return [definition.name for definition in Toolbox(TOOLS, profile).definitions()]


def test_the_default_profile_has_at_most_10_tools_in_8000_bytes() -> None:
    definitions = Toolbox(TOOLS, Profile.DEFAULT).definitions(handles=True)
    assert len(definitions) <= 10
    assert sum(map(model_visible, definitions)) <= 8000


@pytest.mark.parametrize("handles", [False, True])
def test_no_definition_of_any_profile_has_more_than_800_bytes(handles: bool) -> None:
    sizes = {
        definition.name: model_visible(definition)
        for definition in Toolbox(TOOLS, Profile.FULL).definitions(handles=handles)
    }
    assert {name: size for name, size in sizes.items() if size > 800} == {}


def test_each_profile_holds_the_smaller_one_in_the_same_order() -> None:
    full, default, minimal = map(names, (Profile.FULL, Profile.DEFAULT, Profile.MINIMAL))
    assert [name for name in full if name in default] == default
    assert [name for name in default if name in minimal] == minimal
    assert minimal == [
        "get_resume_context",
        "list_documents",
        "read_file",
        "write_file",
        "edit_file",
        "accept_draft",
    ]


def test_the_default_profile_has_the_tools_that_everybody_expects() -> None:
    assert names(Profile.DEFAULT) == [
        "get_resume_context",
        "list_documents",
        "read_file",
        "get_permissions",
        "search_documents",
        "write_file",
        "edit_file",
        "append_file",
        "accept_draft",
        "add_document",
    ]


def test_every_tool_says_whether_it_changes_or_destroys_something() -> None:
    for definition in Toolbox(TOOLS, Profile.FULL).definitions():
        hints = definition.annotations
        assert hints is not None
        assert hints.read_only_hint is not None
        assert hints.open_world_hint is False
        if not hints.read_only_hint:
            assert hints.destructive_hint is (definition.name in DESTROYING)
            assert hints.idempotent_hint is not None


def test_schemas_are_flat_objects_that_every_host_can_read() -> None:
    for definition in Toolbox(TOOLS, Profile.FULL).definitions():
        schema = definition.input_schema
        assert schema["type"] == "object"
        assert schema["additionalProperties"] is False
        assert not {"$ref", "$defs", "anyOf", "title"} & schema.keys()
        for name, described in schema["properties"].items():
            kinds = {"string", "integer", "number", "boolean"}
            assert described["type"] in kinds, (definition.name, name)
            assert not {"anyOf", "$ref", "title", "default"} & described.keys()
        assert definition.output_schema is not None
        assert definition.output_schema["type"] == "object"
        assert "$ref" not in json.dumps(definition.output_schema)


def test_the_instructions_fit_and_begin_with_what_to_call_first() -> None:
    assert len(INSTRUCTIONS.encode()) < 1500
    assert INSTRUCTIONS.startswith("Call get_resume_context first")
