"""JSON with comments, changed in place: what is not ours stays, byte for byte."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_trace.hosts.jsonc import DEPTH_MAX, Document, Json, MalformedJson

TEXT = st.text(max_size=6)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
JSON: st.SearchStrategy[Json] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=3)
INDENTS = st.sampled_from([None, 0, 1, 2, 4, "\t"])
KEY = "agent-trace"


@settings(max_examples=60)
@given(JSON, INDENTS)
def test_what_json_writes_is_read_the_same(value: Json, indent: int | str | None) -> None:
    text = json.dumps(value, indent=indent)
    assert repr(Document(text).value) == repr(json.loads(text))


@settings(max_examples=60)
@given(OBJECTS, JSON, INDENTS, st.lists(TEXT, min_size=1, max_size=3))
def test_a_value_is_put_in_and_everything_else_stays(
    value: dict[str, Json], added: Json, indent: int | str | None, path: list[str]
) -> None:
    document = Document(json.dumps(value, indent=indent))
    try:
        changed = document.set(path, added)
    except MalformedJson:
        # What is on the way is no object, so nothing else than a refusal is right.
        found: Json = value
        for key in path[:-1]:
            if not isinstance(found, dict):
                break
            found = found.get(key, {})
        assert not isinstance(found, dict)
        return
    expected = json.loads(json.dumps(value))
    inner = expected
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    inner[path[-1]] = json.loads(json.dumps(added))
    assert repr(json.loads(changed.text)) == repr(expected)
    assert changed.set(path, added).text == changed.text


@settings(max_examples=60)
@given(OBJECTS, JSON, INDENTS)
def test_what_was_added_is_cut_out_again(
    value: dict[str, Json], added: Json, indent: int | str | None
) -> None:
    value.pop(KEY, None)
    text = json.dumps(value, indent=indent)
    again = Document(text).set([KEY], added).remove([KEY]).text
    # An object without anything in it may have been written on several lines.
    assert again == text or (not value and json.loads(again) == {})


WITH_COMMENTS = """\
// mine
{
    /* servers */
    "mcpServers": {
        "other": { "command": "x", "args": ["-y", /* why */ "z"], }, // do not touch
        // "disabled": {},
    },
    "url": "http://example.org", // no comment: the slashes before
}
// the end
"""


def test_comments_and_trailing_commas_survive_a_change_and_its_removal() -> None:
    changed = Document(WITH_COMMENTS).set(("mcpServers", KEY), {"command": "c"})
    assert changed.text == WITH_COMMENTS.replace(
        "// do not touch\n",
        '// do not touch\n        "agent-trace": {\n            "command": "c"\n        },\n',
    )
    assert changed.remove(("mcpServers", KEY)).text == WITH_COMMENTS


@pytest.mark.parametrize("text", ["", "  \n", "\ufeff", "{}", "{ }", "{\n}\n", "{ // c\n}\n"])
def test_an_empty_file_becomes_an_object(text: str) -> None:
    changed = Document(text).set(("a", "b"), [1])
    bare = re.sub(r"//.*", "", changed.text.removeprefix("\ufeff"))
    assert json.loads(bare) == {"a": {"b": [1]}}
    assert changed.text.startswith("\ufeff") == text.startswith("\ufeff")
    assert ("// c" in text) == ("// c" in changed.text)


def test_lines_end_as_they_did() -> None:
    text = '{\r\n  "a": 1\r\n}\r\n'
    changed = Document(text).set(("b",), {"c": 2})
    assert changed.text == '{\r\n  "a": 1,\r\n  "b": {\r\n    "c": 2\r\n  }\r\n}\r\n'
    assert changed.remove(("b",)).text == text


def test_items_of_arrays_are_added_and_cut_out_anywhere() -> None:
    text = '{\n  "a": [\n    1, // one\n    2\n  ]\n}\n'
    changed = Document(text).append(("a",), 3)
    assert changed.get(("a",)) == [1, 2, 3]
    assert changed.remove(("a", 2)).text == text
    assert changed.remove(("a", 0)).get(("a",)) == [2, 3]
    assert changed.remove(("a", 1)).get(("a",)) == [1, 3]
    assert Document(text).append(("new",), 1).get(("new",)) == [1]


def test_of_two_members_with_one_key_the_one_that_counts_is_changed() -> None:
    changed = Document('{"a": 1, "a": 2}').set(("a",), 3)
    assert changed.text == '{"a": 1, "a": 3}'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{\n  bare: 1\n}", "line 2, column 3: a key in quotes is expected"),
        ('{"a": 1 "b": 2}', "line 1, column 9: a comma or } is expected"),
        ('{"a" 1}', "line 1, column 6: a colon is expected"),
        ("{\n\n", "line 3, column 1: a key in quotes is expected"),
        ('{"a": "no end\n"}', "line 1, column 7: a text does not end on its line"),
        ('{"a": "\\x"}', "line 1, column 7: a text holds an unknown escape"),
        ('{"a": 01}', "line 1, column 7: a number is expected"),
        ('{"a": nil}', "line 1, column 7: a value is expected"),
        ("{} {}", "line 1, column 4: something follows the value"),
        ("{ /* no end", "line 1, column 3: a key in quotes is expected"),
        ("[,]", "line 1, column 2: a value is expected"),
        ("[" * (DEPTH_MAX + 2), f"line 1, column {DEPTH_MAX + 2}: it is nested too deeply"),
    ],
)  # fmt: skip
def test_what_can_not_be_read_is_refused_by_line_and_column(text: str, message: str) -> None:
    with pytest.raises(MalformedJson) as caught:
        Document(text)
    assert str(caught.value) == message


def test_a_value_of_the_wrong_kind_on_the_way_is_refused_by_line() -> None:
    document = Document('{\n  "mcpServers": []\n}')
    with pytest.raises(MalformedJson, match="^line 2: mcpServers is not an object$"):
        document.set(("mcpServers", KEY), 1)
    with pytest.raises(MalformedJson, match="^line 1: it is not an object$"):
        Document("[]").set((KEY,), 1)
    with pytest.raises(MalformedJson, match="^line 1: a is not an array$"):
        Document('{"a": {}}').append(("a",), 1)
