"""`raak token`: a signed token for the Authorization header of the gateway."""

from collections.abc import Collection
from pathlib import Path

from gateway.access.tokens import LONGEST_LIFE_S, TokenCannotBe, issue_token, private_key
from services.chassis.errors import RaakError
from services.contracts.words import Role


class NoSuchRole(RaakError):
    """A token is asked for a role there is not."""

    code = "NO_SUCH_ROLE"


class CustomerNotNamed(RaakError):
    """A customer is not written as type=value."""

    code = "CUSTOMER_NOT_NAMED"


def issue(
    signing: Path,
    role: str,
    subject: str,
    customer: str = "",
    hours: float = 12,
    scopes: Collection[str] = (),
    longest_s: int = LONGEST_LIFE_S,
) -> str:
    """A token. `customer` is `email=ann@example.com` or `id=…`, for the roles visitor and app;
    `scopes` narrow what the role may do, if there are any. Raises RaakError, also for a token that
    would live longer than `longest_s`, which the gateway would not take.
    """
    if hours * 3600 > longest_s:
        raise TokenCannotBe(
            f"A token cannot be good for {hours:g} hours: {longest_s / 3600:g} are the most "
            "(RAAK_GATEWAY_TOKEN_LONGEST_LIFE_S).",
            hint="Make one for less, or an API key for a server: `raak keys create`.",
        )
    if role not in set(Role):
        raise NoSuchRole(f"{role!r} is not a role.", hint=f"There are: {', '.join(Role)}.")
    return issue_token(
        private_key(signing.read_text()),
        Role(role),
        subject,
        customer=_reference(customer) if customer else None,
        scopes=frozenset(scopes) if scopes else None,
        lifetime_s=int(hours * 3600),
    )


def _reference(customer: str) -> dict[str, str]:
    kind, separator, value = customer.partition("=")
    if not (separator and value):
        raise CustomerNotNamed(
            f"{customer!r} names no customer.", hint="Write type=value: email=ann@example.com."
        )
    return {"id": value} if kind == "id" else {"type": kind, "value": value}
