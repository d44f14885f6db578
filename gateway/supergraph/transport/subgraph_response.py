"""What a subgraph answers: a GraphQL response, or the error that says why there is none."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, TypeAlias

import orjson

from services.chassis.errors import RaakError

JSON: TypeAlias = dict[str, Any]

ORJSON_DEPTH = 254
"""How deep orjson writes; it reads deeper."""
MAX_DEPTH = 100
"""How deep an answer may be nested: what is gathered from several must still be written."""

HINT_POSSIBLY_EXECUTED = (
    "Check whether it was done before you send it again; with the same `messageId` or "
    "`idempotencyKey` sending it again is harmless."
)


class SubgraphError(RaakError):
    """A subgraph gave no usable answer. Says nothing of addresses or inner causes."""

    status = 503
    was_sent = True
    """Whether it may have got the request, and acted on it."""
    _is_marked = False

    def mark_as_possibly_executed(self) -> Self:
        """The error of a request that may not be sent twice: it says that this may have been done,
        unless the subgraph cannot have got it.
        """
        if self.was_sent and not self._is_marked:
            self._is_marked = True
            self.problem = f"{self.problem.removesuffix('.')}; it may have been done all the same."
            self.hint = HINT_POSSIBLY_EXECUTED
        return self


class SubgraphUnavailable(SubgraphError):
    """It can't be reached, or broke off."""

    code: ClassVar[str] = "SUBGRAPH_UNAVAILABLE"

    def __init__(self, subgraph: str, *, was_sent: bool = True, hint: str | None = None) -> None:
        super().__init__(
            f"The service {subgraph!r} is not available.",
            hint=hint or f"Try again shortly; only what {subgraph!r} answers is missing.",
        )
        self.was_sent = was_sent


class SubgraphTimeout(SubgraphError):
    """It did not answer within its deadline."""

    code: ClassVar[str] = "SUBGRAPH_TIMEOUT"
    status = 504

    def __init__(self, subgraph: str, *, was_sent: bool = True) -> None:
        super().__init__(
            f"The service {subgraph!r} did not answer in time."
            if was_sent
            else f"There was no time left to ask the service {subgraph!r}.",
            hint="Try again, or ask for less at once.",
        )
        self.was_sent = was_sent


class SubgraphInvalidResponse(SubgraphError):
    """What it answered is not a GraphQL response."""

    code: ClassVar[str] = "SUBGRAPH_INVALID_RESPONSE"
    status = 502

    def __init__(self, subgraph: str, reason: str) -> None:
        super().__init__(
            f"The service {subgraph!r} gave an answer that can't be used: {reason}.",
            hint=f"Tell whoever runs {subgraph!r}: its log says more.",
        )


class SubgraphResponseTooLarge(SubgraphInvalidResponse):
    """What it answered is larger than we take."""

    def __init__(self, subgraph: str, max_bytes: int) -> None:
        super().__init__(subgraph, f"it is larger than {max_bytes} bytes")


@dataclass(slots=True)
class SubgraphResponse:
    """A subgraph's HTTP response."""

    status: int
    body: bytes
    _content: JSON | str | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def content(self) -> JSON | str:
        """The GraphQL response in the body, or why there is none. Read once."""
        if self._content is None:
            self._content = _parse(self.body)
        return self._content

    def parse(self, subgraph: str) -> JSON:
        """The GraphQL response: an object with `data`, `errors` or both.

        Raises:
            SubgraphUnavailable: It has another body, and a status of 500 or more.
            SubgraphInvalidResponse: It has another body.
        """
        content = self.content
        if not isinstance(content, str):
            return content
        if self.status >= 500:
            raise SubgraphUnavailable(subgraph)
        raise SubgraphInvalidResponse(subgraph, content)


def _parse(body: bytes) -> JSON | str:
    """The GraphQL response in a body, or why there is none."""
    if not body:
        return "it is empty"
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "it is not JSON"
    if not isinstance(answer, dict):
        return "it is not an object"
    data, errors = answer.get("data"), answer.get("errors")
    if data is not None and not isinstance(data, dict):
        return "its data is not an object"
    if errors is not None and not isinstance(errors, list):
        return "its errors are not a list"
    if data is None and errors is None:
        return "it has neither data nor errors"
    return "it is nested too deeply" if _is_deep(body, answer) else answer


def _is_deep(body: bytes, answer: JSON) -> bool:
    """Whether an answer is nested deeper than MAX_DEPTH. Most have not even as many brackets;
    the others are written from within so many lists that orjson refuses what is too deep.
    """
    if body.count(b"{") + body.count(b"[") <= MAX_DEPTH:
        return False
    wrapped: Any = answer
    for _ in range(ORJSON_DEPTH - MAX_DEPTH):
        wrapped = [wrapped]
    try:
        orjson.dumps(wrapped)
    except orjson.JSONEncodeError:
        return True
    return False
