"""Roles: who may ask which root field, as `roles.yaml` says."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from services.chassis.errors import RaakError
from services.chassis.principal import Forbidden
from services.contracts.words import Role

FILE = Path(__file__).with_name("roles.yaml")

Permissions = Mapping[tuple[str, str], frozenset[Role]]
"""The roles that may ask a field, by type and field name."""


class InvalidRoles(RaakError):
    """The file of roles cannot be read."""

    code = "INVALID_ROLES"
    status = 500


def read_permissions(text: str) -> Permissions:
    """The permissions in the text of a file of roles; raises InvalidRoles."""
    try:
        return {
            (type_name, field): frozenset(Role(name) for name in names)
            for type_name, fields in yaml.safe_load(text).items()
            for field, names in fields.items()
        }
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise InvalidRoles(
            f"The file of roles cannot be read: {error}",
            hint="Write `Type:`, below it `field: [role, …]`, with roles of the list of roles.",
        ) from None


class Roles:
    """Answers whether a role may ask a field; what the file does not name is refused."""

    def __init__(self, permissions: Permissions) -> None:
        self._permissions = permissions

    @classmethod
    def read(cls, path: Path = FILE) -> "Roles":
        """The roles of a file; raises InvalidRoles."""
        return cls(read_permissions(path.read_text()))

    @property
    def fields(self) -> frozenset[tuple[str, str]]:
        """The fields the file names, as (type, field)."""
        return frozenset(self._permissions)

    def may(self, role: Role, type_name: str, field: str) -> bool:
        """Whether the role may ask the field."""
        return role in self._permissions.get((type_name, field), ())

    def refusal(self, role: Role, type_name: str, field: str) -> Forbidden:
        """The error for a field the role may not ask."""
        allowed = [r.value for r in Role if self.may(r, type_name, field)]
        return Forbidden(
            f"The role {role.value!r} may not ask {type_name}.{field}.",
            hint=f"Use a token of one of the roles {', '.join(allowed)}."
            if allowed
            else "No role may; see gateway/access/roles.yaml.",
        )
