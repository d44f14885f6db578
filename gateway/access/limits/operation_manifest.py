"""Manifests: JSON that the build of a client writes, with all documents the client sends.

- Apollo's: `{"format": "apollo-persisted-query-manifest", "version": 1, "operations": […]}`
- Relay's and graphql-codegen's: an object of texts by hash
- ours: `{"documents": ["query …", {"document": "query …", "id": "…", "source": "…"}]}`
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gateway.access.limits.registered_operations import (
    RegisteredOperation,
    hash_document,
    read_operation_id,
)
from services.chassis.errors import RaakError

ACCEPTED = (
    "Accepted are Apollo's persisted query manifest, an object of documents by hash as Relay and "
    'graphql-codegen write it, and {"documents": ["query …"]}.'
)
APOLLO_FORMAT = "apollo-persisted-query-manifest"
APOLLO_VERSION = 1

OPERATION_NAME = re.compile(r"\b(?:query|mutation|subscription)\s+([A-Za-z_]\w*)", re.ASCII)
ID_PREFIX = 12
"""Characters of an id that a message shows."""
LONGEST_SOURCE = 200


@dataclass(frozen=True, slots=True)
class OperationProblem:
    """What is wrong with a document, by the line in its text."""

    source: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}: {self.message}"

    def as_json(self) -> dict[str, Any]:
        return {"source": self.source, "line": self.line, "message": self.message}


class InvalidOperations(RaakError, code="NOT_PUBLISHABLE"):
    """Documents that could not be answered; none of those that came with them is published."""

    def __init__(self, problems: Sequence[OperationProblem]) -> None:
        self.problems = problems
        lines = "\n".join(map(str, problems))
        count = f"{len(problems)} problems" if len(problems) > 1 else "1 problem"
        super().__init__(f"{count}:\n{lines}", hint="Fix them and publish again; nothing was.")

    def as_json(self) -> dict[str, Any]:
        return RaakError.as_json(self) | {"problems": [each.as_json() for each in self.problems]}


@dataclass(frozen=True, slots=True)
class OperationDraft:
    """A document that is to be registered."""

    text: str
    source: str
    """Where it came from, as it is registered."""
    id: str | None = None
    path: str = ""
    """Of its file, where its source is only the end of that."""

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        if self.id is None:
            return self.path or self.source
        name = OPERATION_NAME.search(self.text)
        called = f"{name[1]}, " if name else ""
        return f"{self.source} ({called}id {self.id[:ID_PREFIX]})"

    def problem(self, message: str, line: int = 1) -> OperationProblem:
        return OperationProblem(self.place, line, message)


Entry = OperationDraft | OperationProblem


def read_manifest(value: Any, source: str) -> tuple[list[OperationDraft], list[OperationProblem]]:
    """The documents of a manifest, from its JSON, and what is wrong with it."""
    entries = list(_read_entries(value, source)) or [
        OperationProblem(source, 1, f"It holds no document. {ACCEPTED}")
    ]
    drafts = [entry for entry in entries if isinstance(entry, OperationDraft)]
    problems = [entry for entry in entries if isinstance(entry, OperationProblem)]
    return drafts, [*problems, *_find_repeated_ids(drafts)]


def _read_entries(value: Any, source: str) -> Iterator[Entry]:
    if not isinstance(value, dict):
        yield OperationProblem(source, 1, f"It is no JSON object. {ACCEPTED}")
    elif "format" in value or isinstance(value.get("operations"), list):
        yield from _read_apollo(value, source)
    elif isinstance(value.get("documents"), list):
        for number, each in enumerate(value["documents"]):
            yield _read_own(each, f"{source}, documents[{number}]")
    else:
        for name, text in value.items():
            yield _read_entry(text, name, source, f"{source} (id {name[:ID_PREFIX]})")


def _read_apollo(value: Mapping[str, Any], source: str) -> Iterator[Entry]:
    form, operations = (value.get("format"), value.get("version")), value.get("operations")
    if form != (APOLLO_FORMAT, APOLLO_VERSION):
        expected = f"`format` {APOLLO_FORMAT!r} and `version` {APOLLO_VERSION}"
        yield OperationProblem(
            source, 1, f"It has {form[0]!r:.40} and {form[1]!r:.40}, not {expected}. {ACCEPTED}"
        )
    elif not isinstance(operations, list):
        yield OperationProblem(source, 1, "`operations` is no list.")
    else:
        for number, each in enumerate(operations):
            place = f"{source}, operations[{number}]"
            if not isinstance(each, dict):
                yield OperationProblem(place, 1, "It is no object with `id` and `body`.")
            elif each.get("id") is None:
                yield OperationProblem(place, 1, "`id` is missing.")
            else:
                yield _read_entry(each.get("body"), each["id"], source, place)


def _read_own(value: Any, place: str) -> Entry:
    document = value if isinstance(value, dict) else {"document": value}
    source = document.get("source", place)
    if not (isinstance(source, str) and source.isprintable() and len(source) <= LONGEST_SOURCE):
        return OperationProblem(
            place, 1, f"`source` must be a line of up to {LONGEST_SOURCE} characters."
        )
    return _read_entry(document.get("document"), document.get("id"), source, place)


def _read_entry(text: Any, id: Any, source: str, place: str) -> Entry:
    if text is None:
        return OperationProblem(place, 1, "The text of the document is missing.")
    if not isinstance(text, str):
        return OperationProblem(place, 1, f"The document is {text!r:.40}, not a text.")
    name = read_operation_id(id)
    if name is None and id is not None:
        message = "must be up to 256 characters of ASCII without spaces"
        return OperationProblem(place, 1, f"The id {id!r:.40} {message}.")
    return OperationDraft(text, source, name)


def _find_repeated_ids(drafts: Sequence[OperationDraft]) -> Iterator[OperationProblem]:
    times = Counter(draft.id for draft in drafts if draft.id is not None)
    for draft in drafts:
        if draft.id is not None and times[draft.id] > 1:
            yield draft.problem(f"The id {draft.id!r} stands {times[draft.id]} times here.")


def merge_drafts(
    drafts: Iterable[OperationDraft], problems: Iterable[OperationProblem], at: datetime
) -> list[RegisteredOperation]:
    """Each text once, with all ids it came by; raises InvalidOperations for problems, and where
    one id or hash names two texts.
    """
    found, by_text = list(problems), dict[str, list[OperationDraft]]()
    owners: dict[str, OperationDraft] = {}
    for draft in drafts:
        by_text.setdefault(draft.text, []).append(draft)
        for name in (hash_document(draft.text), draft.id):
            if name is not None and owners.setdefault(name, draft).text != draft.text:
                message = f"{name!r} names another document, too: {owners[name].place}."
                found.append(draft.problem(message))
    if found:
        raise InvalidOperations(list(dict.fromkeys(found)))
    return [
        RegisteredOperation(text, same[0].source, at, _ids(text, same))
        for text, same in by_text.items()
    ]


def _ids(text: str, drafts: Iterable[OperationDraft]) -> tuple[str, ...]:
    ids = {draft.id for draft in drafts if draft.id is not None}
    return tuple(sorted(ids - {hash_document(text)}))
