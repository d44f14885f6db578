"""The page docs/roles.md: who may do and read what, for people.

Made from the file of roles and the marks in the services' schemas by `make generate`.
"""

from collections.abc import Iterator
from itertools import groupby

from gateway.access.authorization.authorization import Authorization
from gateway.access.authorization.roles import Roles
from services.chassis.authorization import describe_requirement
from services.contracts.enums import Role

OPENING = """\
# Who may read what

What each role may do and read. It is decided in `gateway/access/authorization/roles.yaml`, and
this page is written from that file and the marks in the services' schemas, so change those, and
then run `make generate`.

A field a caller may not have is null, with the error `UNAUTHORIZED_FIELD_OR_TYPE`; of a mutation
nothing is done. The gateway denies it before it asks any service. The services look once more at
what the last column says: one of those scopes, and the policy. The roles visitor and app reach
their own customer only, in every field: see [gateway.md](gateway.md#who-may-ask-what).
"""
YES, NO = "✓", ""


def page(roles: Roles, authorization: Authorization) -> str:
    return "\n".join([OPENING, *_grants(roles), *_fields(roles, authorization), ""])


def _grants(roles: Roles) -> Iterator[str]:
    yield "## Scopes and policies"
    yield ""
    yield "Tokens and keys may narrow the scopes of their role; policies hold for whoever has it."
    yield "With `lookup` a caller names customers by what identifies them, an e-mail address say;"
    yield "without it, by the customer's id or the id of a browser or device."
    yield ""
    yield _row("", *(role.value for role in Role))
    yield _row("---", *(":-:" for _ in Role))
    for kind in ("scopes", "policies"):
        granted = {role: getattr(grant, kind) for role, grant in roles.grants.items()}
        for name in sorted(frozenset[str]().union(*granted.values())):
            said = f"`{name}`" + (" (policy)" if kind == "policies" else "")
            yield _row(said, *(YES if name in granted.get(role, ()) else NO for role in Role))


def _fields(roles: Roles, authorization: Authorization) -> Iterator[str]:
    for type_name, coordinates in groupby(roles.readers, key=lambda c: c.partition(".")[0]):
        yield ""
        yield f"## {type_name}"
        yield ""
        yield _row("", *(role.value for role in Role), "asks")
        yield _row("---", *(":-:" for _ in Role), "---")
        for coordinate in coordinates:
            may = (YES if roles.may_read(role, coordinate) else NO for role in Role)
            asks = ", ".join(dict.fromkeys(_asks(authorization, coordinate)))
            yield _row(f"`{coordinate.partition('.')[2]}`", *may, asks)


def _asks(authorization: Authorization, coordinate: str) -> Iterator[str]:
    for requirement in authorization.requirements.get(coordinate, ()):
        for sets in (requirement.scopes, requirement.policies):
            if sets:
                yield f"`{describe_requirement(sets)}`"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
