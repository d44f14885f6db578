"""What a process must be told before it serves in production: no secret has a default there."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from services.chassis.errors import RaakError

OTHER_CREDENTIALS = frozenset({"passfile", "sslcert"})
"""Parameters of a PostgreSQL address that take the place of a password."""


class NotForProduction(RaakError):
    """The settings of a process are good enough to develop with, and no more."""

    code = "NOT_FOR_PRODUCTION"

    def __init__(self, lacking: Sequence[str]) -> None:
        self.lacking = tuple(lacking)
        listed = "".join(f"\n  {one}" for one in lacking)
        super().__init__(
            f"In production (RAAK_MODE) nothing secret has a default, and there is:{listed}\n",
            hint="Set these; docs/operations.md says what each of them is.",
        )


def unset_file(variable: str, file: Path | None, what: str) -> Iterator[str]:
    """What is wrong with a setting that names a file."""
    if file is None:
        yield f"{variable} is not set: name {what}."
    elif not file.is_file():
        yield f"{variable} is {str(file)!r}, where no file can be seen: name {what}."


def open_database(variable: str, url: str, default: str) -> Iterator[str]:
    """What is wrong with the address of a PostgreSQL server."""
    address = urlsplit(url)
    if url == default:
        yield f"{variable} is still the development one: give the server's, with its password."
    elif not (address.password or OTHER_CREDENTIALS & parse_qs(address.query).keys()):
        yield f"{variable} has no password (nor {' or '.join(sorted(OTHER_CREDENTIALS))})."


def open_bus(variable: str, urls: str, default: str) -> Iterator[str]:
    """What is wrong with the addresses of NATS servers."""
    if urls == default:
        yield f"{variable} is still the development one: give the server's, with its credentials."
    elif not all(urlsplit(url.strip()).username for url in urls.split(",")):
        yield f"{variable} has no user and password, or token."


SHORTEST_SECRET = 32
"""Characters of a secret that nobody can guess."""


def weak_secret(variable: str, value: str) -> Iterator[str]:
    """What is wrong with a secret."""
    if not value:
        yield f"{variable} is not set: give {SHORTEST_SECRET} random characters or more."
    elif len(value) < SHORTEST_SECRET:
        yield f"{variable} has {len(value)} characters: give {SHORTEST_SECRET} random ones or more."
