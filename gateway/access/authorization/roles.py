"""Roles: what each may do, and which field each may read, as `roles.yaml` says."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.chassis.definitions import InvalidDefinition, read_yaml
from services.chassis.errors import RaakError
from services.contracts.enums import Role

OURS = Path(__file__).with_name("roles.yaml")


class InvalidRoles(RaakError, code="INVALID_ROLES", status=500):
    """The file of roles cannot be read."""


BROKEN = (InvalidDefinition, AttributeError, KeyError, TypeError, ValueError)
"""What a text raises that is no file of roles."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a role may do at most."""

    scopes: frozenset[str] = frozenset()
    policies: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Roles:
    """The file, read. What it does not name is refused."""

    grants: Mapping[Role, Grant]
    readers: Mapping[str, frozenset[Role]]
    """The roles that may read a field, by `Type.field`."""

    @classmethod
    def read(cls, path: Path = OURS) -> "Roles":
        """The roles of a file; raises InvalidRoles."""
        return cls.parse(read_roles_text(path))

    @classmethod
    def parse(cls, text: str) -> "Roles":
        """The roles in the text of a file; raises InvalidRoles."""
        try:
            file = read_yaml(text)
            readers = {name: _roles(names) for name, names in file.get("readers", {}).items()}
            return cls(
                {Role(name): _grant(entry) for name, entry in file["roles"].items()},
                {
                    f"{type_name}.{field}": readers[who] if isinstance(who, str) else _roles(who)
                    for type_name, fields in file["fields"].items()
                    for field, who in fields.items()
                },
            )
        except BROKEN as error:
            raise InvalidRoles(
                f"The file of roles cannot be read: {_wording(error)}",
                hint="Give each role its `scopes` and `policies`, and below `fields` each type its "
                "lines `field: readers` or `field: [role, …]`.",
            ) from None

    def resolve_grant(
        self, role: Role, narrowed_to: frozenset[str] | None
    ) -> tuple[frozenset[str], frozenset[str]]:
        """The scopes and policies of a caller. `narrowed_to` are the scopes its token or key is
        limited to, None if it is not; what its role does not have, they do not give.
        """
        grant = self.grants.get(role, Grant())
        scopes = grant.scopes if narrowed_to is None else grant.scopes & narrowed_to
        return scopes, grant.policies

    def may_read(self, role: Role, coordinate: str) -> bool:
        return role in self.readers.get(coordinate, ())


def read_roles_text(path: Path = OURS) -> str:
    """What is in a file of roles; raises InvalidRoles."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRoles(
            f"The file of roles {str(path)!r} can't be read ({type(error).__name__}).",
            hint="Write it as UTF-8, where the gateway may read it.",
        ) from None


def _wording(error: Exception) -> str:
    if isinstance(error, InvalidDefinition):
        return "; ".join(map(str, error.problems))
    return f"{type(error).__name__}: {error}"


def _roles(names: Any) -> frozenset[Role]:
    return frozenset(Role(name) for name in _names(names))


def _grant(entry: Mapping[str, Any]) -> Grant:
    return Grant(frozenset(_names(entry["scopes"])), frozenset(_names(entry["policies"])))


def _names(names: Any) -> list[str]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{names!r} is no list of names")
    return names
