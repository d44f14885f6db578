"""The price of an operation: a tree in which all that no variable moves is added up already."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.access.limits.operation_limits import MOST, LimitExceeded, OperationLimits
from gateway.supergraph.operation import Conditions, evaluate_conditions

Variables = Mapping[str, Any]
"""The variables of a request, as they came."""
VariableAmount = Callable[[Variables], Any]
"""A value once the variables are known."""
CostMemo = dict[Hashable, int]
"""What has been priced already for the same variables."""
VariableCost = Callable[[Variables, CostMemo], int]
"""What is added to a price once the variables are known."""


class SelectionSetCost:
    """What a selection costs for one object: parts beside each other, and the dearest of some."""

    __slots__ = ("_fixed", "_moving", "alternatives", "own", "parts")

    def __init__(
        self,
        own: int,
        parts: Sequence["SelectionCost"] = (),
        alternatives: Sequence["SelectionSetCost"] = (),
    ) -> None:
        self.own = own
        self.parts = parts
        self.alternatives = alternatives
        self._moving = tuple(part for part in parts if part.fixed is None)
        self._fixed = min(own + sum(part.fixed or 0 for part in parts), MOST)

    @property
    def fixed(self) -> int | None:
        """The price, if no variable changes it."""
        if self._moving or any(other.fixed is None for other in self.alternatives):
            return None
        return self.price({}, {})

    def price(self, variables: Variables, memo: CostMemo) -> int:
        """The price with these variables."""
        price = self._fixed
        for part in self._moving:
            price += part.price(variables, memo)
        if self.alternatives:
            price += max(other.price(variables, memo) for other in self.alternatives)
        return min(price, MOST)


class SelectionCost:
    """What a field or fragment costs with all its selections; a fragment has no name."""

    __slots__ = ("_conditions", "_once", "_times", "each", "fixed", "name")

    def __init__(
        self,
        name: str,
        each: SelectionSetCost,
        *,
        once: VariableCost | int = 0,
        times: VariableAmount | int = 1,
        conditions: Conditions = (),
    ) -> None:
        self.name = name
        self.each = each
        self._once = once
        self._times = times
        self._conditions = conditions
        is_fixed = (
            not conditions
            and isinstance(once, int)
            and isinstance(times, int)
            and each.fixed is not None
        )
        self.fixed: int | None = self.price({}, {}) if is_fixed else None

    def times(self, variables: Variables) -> int:
        """How many objects there are, for one above them."""
        if self._conditions and not evaluate_conditions(self._conditions, variables):
            return 0
        if isinstance(self._times, int):
            return self._times
        times: int = self._times(variables)
        return times

    def price(self, variables: Variables, memo: CostMemo) -> int:
        """The price for one object above. However much arguments take off, a field costs nothing
        at least, and what is below it the whole of its price.
        """
        if self._conditions and not evaluate_conditions(self._conditions, variables):
            return 0
        times = self._times if isinstance(self._times, int) else self._times(variables)
        once = self._once if isinstance(self._once, int) else self._once(variables, memo)
        once = max(once, -times * self.each.own)
        return min(once + times * self.each.price(variables, memo), MOST)


@dataclass(frozen=True, slots=True)
class OperationCost:
    """The price of one operation, for any variables."""

    _root: SelectionSetCost
    _defaults: Variables
    _fixed: int | None = None

    @classmethod
    def of(cls, root: SelectionSetCost, defaults: Variables) -> "OperationCost":
        """The price of a whole operation, with the defaults of its variables."""
        return cls(root, defaults, root.fixed)

    @property
    def is_fixed(self) -> bool:
        """Whether it is the same for all variables."""
        return self._fixed is not None

    def __call__(self, variables: Variables) -> int:
        """The price with these variables; where they are not what is declared, a guess."""
        if self._fixed is not None:
            return self._fixed
        return self._root.price({**self._defaults, **variables}, {})

    def dearest(self, variables: Variables) -> tuple[str, int]:
        """Where at least half of each price comes from, as a path, and the price of all there."""
        variables, memo = {**self._defaults, **variables}, CostMemo()
        path: list[str] = []
        times, price, here = 1, self._root.price(variables, memo), self._root
        while part := max(_all_parts(here), key=lambda p: p.price(variables, memo), default=None):
            below = part.price(variables, memo)
            if 2 * below < here.price(variables, memo) and path:
                break
            path += [part.name] if part.name else []
            price, times, here = times * below, times * part.times(variables), part.each
        return ".".join(path), min(price, MOST)


def _all_parts(whole: SelectionSetCost) -> Iterator[SelectionCost]:
    yield from whole.parts
    for other in whole.alternatives:
        yield from other.parts


def check_cost(price: OperationCost, variables: Variables, limits: OperationLimits) -> int:
    """What an operation costs with these variables; raises LimitExceeded when that is too much."""
    cost = price(variables)
    if cost > limits.cost:
        path, part = price.dearest(variables)
        amount = f"more than {MOST}" if cost >= MOST else str(cost)
        most = "most" if part >= MOST else str(part)
        raise LimitExceeded(
            f"The operation costs {amount}, {most} of it for {path}.", "cost", limits.cost
        )
    return cost
