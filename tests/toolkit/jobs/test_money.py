"""What a job may cost, and when somebody is asked."""

from __future__ import annotations

from bulkrate.core.estimate import Estimator
from bulkrate.core.prices import BATCH, Price
from bulkrate.toolkit.jobs.money import Forecast, hold_to


def test_a_job_with_nothing_to_send_costs_nothing() -> None:
    """All rows of a nightly run were known; it asked for money, and with a limit it broke."""
    forecast = Forecast(estimate=Estimator(lambda model: Price(model=model)).estimate(), tier=BATCH)
    assert not forecast.costs
    hold_to(forecast, "0.01")
