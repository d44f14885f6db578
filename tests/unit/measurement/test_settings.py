"""Measurement's settings, as operators write them."""

import pytest

from services.measurement.settings import MeasurementSettings


def test_conversions_are_named_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAAK_MEASUREMENT_CONVERSION_EVENTS", "Order Completed, lead_sent,")

    assert MeasurementSettings().conversion_events == ("Order Completed", "lead_sent")


def test_orders_are_the_default() -> None:
    settings = MeasurementSettings()

    assert (settings.conversion_events, settings.port) == (("order_completed",), 8004)
