"""JSON that somebody can mend: what is wrong with it, and where."""

import pytest

from services.chassis.strict_json import InvalidJson, parse_strict_json


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a": {"b": 1}, "c": {"b": [1.5, null]}}', {"a": {"b": 1}, "c": {"b": [1.5, None]}}),
        (b'\xef\xbb\xbf{"a": "\xc3\xa9"}', {"a": "é"}),
    ],
)
def test_json_is_read_also_with_a_mark_of_its_encoding(text: bytes, value: object) -> None:
    assert parse_strict_json(text) == value


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (b"", 1, "line 1, column 1"),
        (b'{\n"a": 1,\n}', 2, "line 2, column 7"),
        (b'{"a": 1} {"b": 1}', 1, "column 10"),
        (b'{"a": "\xe9"}', 1, "Byte 7 is not UTF-8"),
        (b'[{"a": 1, "b": 2, "a": 1}]', 1, "'a' stands more than once"),
        (b"[\nNaN]", 2, "line 2, column 1"),
        (b'["\\ud800"]', 1, "no low surrogate"),
        (b"[" * 1_020 + b"]" * 1_020, 1, "nests too deeply"),
        (b"[" * 100_000, 1, "depth limit exceeded"),
        (b"9" * 5_000, 1, "infinity"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: bytes, line: int, words: str) -> None:
    with pytest.raises(InvalidJson, match=words) as refusal:
        parse_strict_json(text)

    assert refusal.value.line == line
