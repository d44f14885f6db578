"""Which events are conversions, and what they were worth."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

from services.contracts.base import Json
from services.contracts.decision import Money
from services.contracts.enums import TRUSTED_SENDERS

VALUE_PROPERTIES = ("revenue", "total", "value")
"""Looked at in this order, as in the Segment e-commerce spec, where `revenue` is without tax."""

LARGEST_CENTS = 2**31 - 1
"""What GraphQL's Int can carry. An order above 21 million is taken for a mistake."""

_WITHOUT_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_WITH_THREE = "BHD IQD JOD KWD LYD OMR TND"
MINOR_DIGITS = {
    **dict.fromkeys(_WITHOUT_DECIMALS.split(), 0),
    **dict.fromkeys(_WITH_THREE.split(), 3),
}
"""Decimals of the currencies that have not two (ISO 4217)."""


@dataclass(frozen=True, slots=True)
class Conversions:
    """Which events are conversions, by the operator's settings."""

    events: frozenset[str]
    currency: str
    """Of amounts that name none."""
    untrusted_values: bool = False
    """Whether an amount that a browser or an app states is money."""

    def is_money(self, sender: str) -> bool:
        """Whether an amount counts, by its sender: a `SenderClass`, or one of a newer release."""
        return self.untrusted_values or sender in TRUSTED_SENDERS

    def read_value(self, properties: Mapping[str, Json]) -> Money | None:
        """What a conversion was worth; None when it states no amount, or an impossible one."""
        currency = self._read_currency(properties)
        for name in VALUE_PROPERTIES:
            if (cents := minor_units(properties.get(name), currency)) is not None:
                return Money(cents=cents, currency=currency)
        return None

    def _read_currency(self, properties: Mapping[str, Json]) -> str:
        named = properties.get("currency")
        if isinstance(named, str) and len(named) == 3 and named.isascii() and named.isalpha():
            return named.upper()
        return self.currency


def minor_units(amount: Json, currency: str) -> int | None:
    """An amount (a number, or one written as text) in minor units, half a unit rounded up.

    None for anything that is not a finite number, or is too large to be an order.
    """
    if isinstance(amount, bool) or not isinstance(amount, int | float | str):
        return None
    try:
        units = Decimal(str(amount).strip()).scaleb(MINOR_DIGITS.get(currency, 2))
        cents = int(units.to_integral_value(ROUND_HALF_UP))
    except (InvalidOperation, OverflowError, ValueError):
        return None
    return cents if abs(cents) <= LARGEST_CENTS else None
