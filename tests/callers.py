"""Callers as the gateway knows them: with what the reviewed file of roles grants."""

from collections.abc import Mapping

from gateway.access.authorization.roles import Roles
from services.chassis.principal import Principal
from services.contracts.enums import Role

ROLES = Roles.read()
NOBODY: Mapping[str, str] = {}


def caller(
    role: Role, subject: str = "somebody", customer: Mapping[str, str] = NOBODY
) -> Principal:
    """A caller of this role, who may speak for one customer."""
    scopes, policies = ROLES.resolve_grant(role, None)
    return Principal(role, subject, tuple(sorted(customer.items())), scopes, policies)
