"""What is in a body, whatever its sender calls it."""

import pytest

from services.chassis.bodies import FORM, json_in

JSON = b'{"event": "looked"}'
ENCODED = b"%7B%22event%22%3A%20%22looked%22%7D"


@pytest.mark.parametrize("content_type", ["", "application/json", "text/plain", FORM])
def test_json_is_json_under_any_label(content_type: str) -> None:
    assert json_in(JSON, content_type) == JSON


@pytest.mark.parametrize(
    "form",
    [
        b"data=" + ENCODED,
        b"other=1&data=" + ENCODED,
        b"payload=" + ENCODED,
        ENCODED,
        ENCODED + b"=",
    ],
)
@pytest.mark.parametrize("content_type", [FORM, f"{FORM}; charset=UTF-8", FORM.title()])
def test_json_is_found_in_a_form(form: bytes, content_type: str) -> None:
    assert json_in(form, content_type) == JSON


def test_a_form_of_many_fields_is_left_as_it_is() -> None:
    many = b"a=1&" * 100_000

    assert json_in(many, FORM) is many
    assert json_in(b"", FORM) == b""
