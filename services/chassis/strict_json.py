"""JSON all of which can be taken as it stands, from whoever can mend it."""

import json
from collections import Counter
from typing import Any

import orjson

from services.chassis.errors import RaakError


class InvalidJson(RaakError, code="INVALID_JSON"):
    """A text is not JSON, or names something twice in one object."""

    def __init__(self, problem: str, line: int = 1) -> None:
        super().__init__(problem, hint="Send one JSON value in UTF-8.")
        self.line = line


def parse_strict_json(text: bytes) -> Any:
    """A JSON value; raises InvalidJson."""
    try:
        decoded = text.decode("utf-8-sig")
        orjson.loads(decoded)  # it refuses NaN and half a surrogate pair
        return json.loads(decoded, object_pairs_hook=_unique_pairs)
    except UnicodeDecodeError as error:
        raise InvalidJson(f"Byte {error.start} is not UTF-8.") from None
    except json.JSONDecodeError as error:
        problem = f"It is not JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        raise InvalidJson(problem, error.lineno) from None
    except RecursionError:  # orjson reads more levels
        raise InvalidJson("It nests too deeply.") from None


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        repeated = [name for name, times in Counter(n for n, _ in pairs).items() if times > 1]
        raise InvalidJson(f"In one object {', '.join(map(repr, repeated))} stands more than once.")
    return found
