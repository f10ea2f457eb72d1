"""Edits of a JSON text that leave everything else as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bottle.manifest import edit

PRETTY = """{
  "version": 1,
  "bottles": {
    "web":   {
      "egress": [
        {"preset": "pypi"},
        { "host":"docs.rs" }
      ],
      "env": {},
      "mounts": []
    }
  }
}
"""


def test_a_list_of_lines_gets_a_line() -> None:
    made = edit.append(PRETTY, ("bottles", "web", "egress"), {"host": "crates.io"})
    assert made == PRETTY.replace('{ "host":"docs.rs" }', '{ "host":"docs.rs" },\n        {"host": "crates.io"}')


def test_an_empty_list_among_lines_is_filled_on_lines() -> None:
    made = edit.append(PRETTY, ("bottles", "web", "mounts"), 1)
    assert made == PRETTY.replace('"mounts": []', '"mounts": [\n        1\n      ]')


def test_an_object_gets_its_member_at_its_end() -> None:
    made = edit.put(PRETTY, ("bottles", "web"), "proxy_env", True)
    assert made == PRETTY.replace('"mounts": []', '"mounts": [],\n      "proxy_env": true')


def test_an_empty_object_is_filled() -> None:
    made = edit.put(PRETTY, ("bottles", "web", "env"), "CI", "1")
    assert made == PRETTY.replace('"env": {}', '"env": {\n        "CI": "1"\n      }')


def test_a_value_is_replaced_where_it_stands() -> None:
    assert edit.replace(PRETTY, ("version",), 2) == PRETTY.replace('"version": 1', '"version": 2')


def test_other_line_ends_and_tabs_are_kept_to() -> None:
    text = PRETTY.replace("  ", "\t").replace("\n", "\r\n")
    made = edit.append(text, ("bottles", "web", "mounts"), 1)
    assert "[\r\n\t\t\t\t1\r\n\t\t\t]" in made and made.replace("\r\n", "").count("\n") == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a":[1,2]}', '{"a":[1,2,3]}'),
        ('{"a":[1, 2]}', '{"a":[1, 2, 3]}'),
        ('{"a":[1]}', '{"a":[1, 3]}'),
        ('{"a":[]}', '{"a":[3]}'),
        ('{"a":[ ]}', '{"a":[3]}'),
        ('{\n "a": [\n ]\n}', '{\n "a": [\n  3\n ]\n}'),
        ('{\n "a": [1,\n  2\n\n ]\n}', '{\n "a": [1,\n  2,\n  3\n\n ]\n}'),
        ('{"a" : ["]", {"b": [9]}]}', '{"a" : ["]", {"b": [9]}, 3]}'),
    ],
)
def test_a_list_keeps_the_look_it_has(text: str, expected: str) -> None:
    assert edit.append(text, ("a",), 3) == expected


def test_a_key_is_written_as_its_neighbours_are() -> None:
    assert edit.put('{"a" : 1}', (), "b", 2) == '{"a" : 1, "b" : 2}'


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from("abc"), json_values, max_size=3), st.lists(json_values, max_size=3), json_values,
       st.sampled_from([None, 0, 1, 2, "\t"]))  # fmt: skip
def test_whatever_the_text_only_what_was_added_is_new(
    data: dict[str, Any], items: list[Any], new: Any, indent: int | str | None
) -> None:
    text = json.dumps({**data, "here": items}, indent=indent)
    made = edit.append(text, ("here",), new)
    assert json.loads(made) == {**data, "here": [*items, new]}
    made = edit.put(text, (), "added", new)
    assert json.loads(made) == {**data, "here": items, "added": new}
    assert list(json.loads(made)) == [*data, "here", "added"]
