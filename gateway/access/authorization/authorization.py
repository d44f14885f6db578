"""Which fields a caller may not have: what the file of roles and the marks in the schema say.

Callers with the same role, scopes and policies form a class; for each class it is worked out once,
so a request pays a look-up.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from graphql import GraphQLField, GraphQLObjectType, get_named_type

from gateway.access.authorization.roles import Roles
from gateway.supergraph.schema_metadata import AccessRequirement
from gateway.supergraph.supergraph import Supergraph
from services.chassis.authorization import Unauthorized, describe_requirement, is_satisfied
from services.chassis.principal import Principal
from services.contracts.enums import Role

Scopes: TypeAlias = frozenset[str]
Policies: TypeAlias = frozenset[str]

CLASSES = 1_000
"""Classes of callers whose denied fields are remembered; there are a few for each role."""


@dataclass(frozen=True, slots=True)
class Authorization:
    """Answers for one supergraph and one file of roles."""

    roles: Roles
    requirements: Mapping[str, tuple[AccessRequirement, ...]]
    """What the directives of the schema require, for every `Type.field`."""
    _denied: Callable[[Role, Scopes, Policies], frozenset[str]]

    @classmethod
    def over(cls, supergraph: Supergraph, roles: Roles) -> "Authorization":
        """Whatever the file does not name is denied to all."""
        requirements = dict(_requirements(supergraph))

        @lru_cache(maxsize=CLASSES)
        def denied(role: Role, scopes: Scopes, policies: Policies) -> frozenset[str]:
            return frozenset(
                coordinate
                for coordinate, required in requirements.items()
                if not roles.may_read(role, coordinate)
                or any(not satisfies(scopes, policies, requirement) for requirement in required)
            )

        return cls(roles, requirements, denied)

    def denied(self, caller: Principal) -> frozenset[str]:
        """All fields the caller may not have, as `Type.field`."""
        return self._denied(caller.role, caller.scopes, caller.policies)

    def refusal(self, caller: Principal, coordinate: str) -> Unauthorized:
        """The error for a field the caller may not have: which it is, and who may."""
        return Unauthorized(
            f"Access to {coordinate!r} is denied.", hint=self._hint(caller, coordinate)
        )

    def _hint(self, caller: Principal, coordinate: str) -> str:
        if not self.roles.may_read(caller.role, coordinate):
            may = ", ".join(r.value for r in Role if self.roles.may_read(r, coordinate)) or "none"
            return f"The role {caller.role.value!r} may not have it; these may: {may}."
        missing = next(
            requirement
            for requirement in self.requirements[coordinate]
            if not satisfies(caller.scopes, caller.policies, requirement)
        )
        return f"The token lacks what it asks: {_wording(missing)}."


def satisfies(scopes: Scopes, policies: Policies, requirement: AccessRequirement) -> bool:
    """Whether a caller has what is required. That it is known at all authentication has checked."""
    return is_satisfied(requirement.scopes, scopes) and is_satisfied(requirement.policies, policies)


def _wording(requirement: AccessRequirement) -> str:
    named = {"the scope": requirement.scopes, "the policy": requirement.policies}
    return "; ".join(f"{kind} {describe_requirement(sets)}" for kind, sets in named.items() if sets)


def _requirements(supergraph: Supergraph) -> Iterator[tuple[str, tuple[AccessRequirement, ...]]]:
    requirements = supergraph.metadata.requirements
    for type_ in supergraph.schema.type_map.values():
        if isinstance(type_, GraphQLObjectType) and not type_.name.startswith("__"):
            for name, field in type_.fields.items():
                marked = (requirements.get(place) for place in _places(type_, name, field))
                yield f"{type_.name}.{name}", tuple(found for found in marked if found)


def _places(type_: GraphQLObjectType, name: str, field: GraphQLField) -> Iterable[str]:
    """Where the requirements of a field may stand: on it, on its type and on what it returns.

    Its own type counts because it can be reached where only an interface or a union leads to it.
    """
    yield type_.name
    yield f"{type_.name}.{name}"
    yield get_named_type(field.type).name
    for interface in type_.interfaces:
        yield interface.name
        yield f"{interface.name}.{name}"
