"""What production asks of settings: no secret has a default there."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from services.chassis.database_address import DatabaseAddress
from services.chassis.errors import RaakError

PASSWORD_ALTERNATIVES = frozenset({"passfile", "service", "sslcert"})
"""Parameters of a PostgreSQL address that take the place of a password."""


class NotForProduction(RaakError, code="NOT_FOR_PRODUCTION"):
    """A process in production mode has settings that suit development only."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        lines = "".join(f"\n  {one}" for one in problems)
        super().__init__(
            f"In production (RAAK_MODE) nothing secret has a default, and there is:{lines}\n",
            hint="Set these; docs/operations.md says what each of them is.",
        )


def check_file(variable: str, file: Path | None, what: str) -> Iterator[str]:
    if file is None:
        yield f"{variable} is not set: name {what}."
    elif not file.is_file():
        yield f"{variable} is {str(file)!r}, which is no file: name {what}."


def check_database_address(address: DatabaseAddress, default: str) -> Iterator[str]:
    variable = address.variable
    if address.is_on_server_of(DatabaseAddress.parse(default)) and not address.password:
        yield f"{variable} is still the development one: give the server's, with its password."
    elif not (address.password or PASSWORD_ALTERNATIVES & address.parameters.keys()):
        yield f"{variable} has no password (nor {' or '.join(sorted(PASSWORD_ALTERNATIVES))})."


def check_nats_url(variable: str, urls: str, default: str) -> Iterator[str]:
    if urls == default:
        yield f"{variable} is still the development one: give the server's, with its credentials."
    elif not all(urlsplit(url.strip()).username for url in urls.split(",")):
        yield f"{variable} has no user and password, or token."


MIN_SECRET_LENGTH = 32
"""In characters: fewer could be guessed."""


def check_secret(variable: str, value: str) -> Iterator[str]:
    if not value:
        yield f"{variable} is not set: give {MIN_SECRET_LENGTH} random characters or more."
    elif len(value) < MIN_SECRET_LENGTH:
        size = len(value)
        yield f"{variable} has {size} characters: give {MIN_SECRET_LENGTH} random ones or more."
