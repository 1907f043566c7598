"""What a job did cost."""

from __future__ import annotations

from decimal import Decimal

from bulkrate.core.money.actual import Actual, ModelActual
from bulkrate.core.money.estimator import Estimator
from bulkrate.core.money.price import Band, Mark, Price
from bulkrate.core.money.pricelist import Rates
from bulkrate.core.tokens.guess import Guess
from bulkrate.core.tokens.request import Tokens
from bulkrate.providers.usage import Usage

RATES = {"standard": Rates(1_000_000, 2_000_000), "batch": Rates(500_000, 1_000_000)}


def paid(usd, *, purchases=1, unknown=0, took=0, gave=0, tier="batch"):
    """What a job of one model did cost."""
    usd, mark = (None, Mark.UNKNOWN) if usd is None else (Decimal(usd), Mark.PUBLISHED)
    same = {"purchases": purchases, "usage": Usage(took, 0, gave, 0, took + gave), "usd": usd, "mark": mark}
    model = ModelActual(model="small", tier=tier, source="a list", unknown_purchases=unknown, **same)
    return Actual(unknown_purchases=unknown, models=(model,), **same)


def test_an_answer_without_usage_is_not_free():
    text = "\n".join(paid("0.50", purchases=2, unknown=1).lines())
    assert "at least $0.50" in text
    assert "1 answer whose price is unknown" in text


def test_nothing_known_is_not_nothing_paid():
    assert "cost      unknown" in "\n".join(paid(None, unknown=1).lines())


def test_the_actual_stands_beside_the_estimate():
    bands = {tier: (Band(0, rates, Mark.PUBLISHED, "a list"),) for tier, rates in RATES.items()}
    estimator = Estimator(lambda model: Price(model=model, tiers=bands))
    took, gave = Guess(1000, 1000, 1000), Guess(100, 100, 100)
    line = Tokens(input=took, output=gave, output_max=100, output_basis="a guess")
    estimator.add("small", line, lines=1000)
    table = paid("0.606", purchases=1010, took=1_111_000, gave=50_500).lines(estimator.estimate())
    assert table[0].split() == ["estimate", "actual", "difference"]
    assert table[1].split() == ["answers", "1,000", "1,010", "+1.0", "%"]
    assert table[2].split() == ["input", "1,000,000", "1,111,000", "+11.1", "%"]
    assert table[3].split() == ["output", "100,000", "50,500", "-49.5", "%"]
    # Bought in batches, so held against the estimate for batches.
    assert table[4].split() == ["cost", "$0.60", "$0.61", "+1.0", "%"]
