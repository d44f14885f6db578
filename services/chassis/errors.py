"""The one error family of the platform. Imports nothing but the standard library."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, ClassVar


class RaakError(Exception):
    """A failure a caller can act on: what is wrong, then what to do about it.

    `code` is the stable, machine-readable name clients may match on; it reaches them as
    `extensions.code` in GraphQL, with `status` over plain HTTP. Anything that is not a
    `RaakError` is a bug, and is masked before it leaves the service.
    """

    code: ClassVar[str] = "INTERNAL"
    status: ClassVar[int] = 400

    def __init_subclass__(cls, *, code: str | None = None, status: int | None = None) -> None:
        """Declare an error: `class UnknownKey(RaakError, code="UNKNOWN_KEY", status=404)`."""
        cls.code = code or cls.code
        cls.status = status or cls.status

    def __init__(self, problem: str, *, hint: str) -> None:
        super().__init__(f"{problem} {hint}")
        self.problem = problem
        self.hint = hint

    def as_json(self) -> dict[str, Any]:
        return {"code": self.code, "problem": self.problem, "hint": self.hint}


class Unavailable(RaakError, code="UNAVAILABLE", status=503):
    """Something this process needs does not answer now, and may again shortly."""


class UnknownCustomer(RaakError, code="UNKNOWN_CUSTOMER", status=404):
    """There is no customer with this id or identity."""


class InvalidCustomerRef(RaakError, code="INVALID_CUSTOMER_REF"):
    """A reference by both `id` and `identity`, by neither, or by one that can name nobody."""


class UnknownOperation(RaakError, code="UNKNOWN_OPERATION"):
    """A document has no operation of the requested name, or several and no name was sent."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that suggests the nearest name, or else lists the known names."""
    names = sorted(known)
    close = get_close_matches(name.lower(), names, n=1)
    if close:
        return f"Did you mean `{close[0]}`?"
    if not names:
        return "There are none yet."
    more = ", …" if len(names) > 12 else ""
    return f"Known: {', '.join(names[:12])}{more}."
