"""Logs tell what happened and where, and nothing about people."""

import json
import logging
import sys
from typing import Any

from services.chassis.telemetry import JsonFormatter, describe


def logged(message: str, **record: Any) -> dict[str, Any]:
    """A log line, read back."""
    log_record = logging.LogRecord("raak.oven", logging.WARNING, "oven.py", 7, message, (), None)
    log_record.__dict__.update(record)
    line: dict[str, Any] = json.loads(JsonFormatter("oven").format(log_record))
    return line


def failure(text: str) -> ValueError:
    """An error that was really raised."""
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def test_a_log_line_is_one_json_object_with_its_fields_beside_it() -> None:
    line = logged("too hot", fields={"degrees": 300, "path": ["a", 1]})

    assert line["message"] == "too hot"
    assert (line["level"], line["process"], line["logger"]) == ("WARNING", "oven", "raak.oven")
    assert (line["degrees"], line["path"]) == (300, ["a", 1])
    assert line["time"].endswith("+00:00")


def test_an_exception_is_told_by_type_and_place_not_by_text() -> None:
    error = failure("ann@example.com")

    line = logged("failed", exc_info=(ValueError, error, error.__traceback__))

    assert line["exception"].startswith("ValueError at ")
    assert "test_telemetry.py:" in line["exception"]
    assert "ann@example.com" not in str(line)


def test_without_a_trace_a_line_has_no_trace_id() -> None:
    assert "trace_id" not in logged("quiet")


def test_describing_nothing_says_nothing() -> None:
    assert describe(None) == ""
    assert sys.exc_info() == (None, None, None)


def test_what_cannot_be_json_is_written_out() -> None:
    assert logged("odd", fields={"kind": JsonFormatter})["kind"].startswith("<class")
