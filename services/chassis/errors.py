"""The one error family of the platform. Imports nothing but the standard library."""

from typing import Any, ClassVar


class RaakError(Exception):
    """A failure a caller can act on: what is wrong, then what to do about it.

    `code` is the stable, machine-readable name clients may match on; it reaches them as
    `extensions.code` in GraphQL, with `status` over plain HTTP. Anything that is not a
    `RaakError` is a bug, and is masked before it leaves the service.
    """

    code: ClassVar[str] = "INTERNAL"
    status: ClassVar[int] = 400

    def __init__(self, problem: str, *, hint: str) -> None:
        super().__init__(f"{problem} {hint}")
        self.problem = problem
        self.hint = hint

    def as_json(self) -> dict[str, Any]:
        """The error as plain HTTP surfaces answer it."""
        return {"code": self.code, "problem": self.problem, "hint": self.hint}


class Unavailable(RaakError):
    """Something this process needs does not answer now, and may again shortly."""

    code = "UNAVAILABLE"
    status = 503
