"""What an event was worth, whatever its sender wrote."""

import pytest

from services.contracts.base import Json
from services.contracts.decision import Money
from services.measurement.domain.conversions import Conversions, minor_units

ORDERS = Conversions(frozenset({"order_completed"}), "EUR")


@pytest.mark.parametrize(
    ("amount", "cents"),
    [(12.5, 1250), (12, 1200), ("12.50", 1250), (" 7 ", 700), (0.005, 1), (1.005, 101), (-5, -500)]
)  # fmt: skip
def test_amounts_become_cents(amount: Json, cents: int) -> None:
    assert minor_units(amount, "EUR") == cents


@pytest.mark.parametrize(
    "amount",
    [
        None,
        True,
        "",
        "dear",
        "12,50",
        [12],
        {},
        float("nan"),
        float("inf"),
        "1e999",
        10**12,
        "9" * 5000,
    ],
)
def test_what_is_no_amount_is_worth_nothing_we_know_of(amount: Json) -> None:
    assert minor_units(amount, "EUR") is None


@pytest.mark.parametrize(("currency", "units"), [("EUR", 1250), ("JPY", 13), ("KWD", 12500)])
def test_a_currency_has_its_own_decimals(currency: str, units: int) -> None:
    assert minor_units(12.5, currency) == units


def test_revenue_goes_before_total_before_value() -> None:
    value = ORDERS.read_value({"value": 1, "total": 2, "revenue": 3})

    assert value == Money(cents=300, currency="EUR")


def test_an_unreadable_revenue_leaves_the_total() -> None:
    assert ORDERS.read_value({"revenue": "?", "total": 2}) == Money(cents=200, currency="EUR")


@pytest.mark.parametrize(
    ("named", "taken"), [("usd", "USD"), ("DOLLAR", "EUR"), (7, "EUR"), ("€€€", "EUR")]
)
def test_the_event_names_the_currency_if_it_can(named: Json, taken: str) -> None:
    assert ORDERS.read_value({"total": 1, "currency": named}) == Money(cents=100, currency=taken)
