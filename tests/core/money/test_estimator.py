"""What a job will cost."""

from __future__ import annotations

from decimal import Decimal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.core.money.estimator import Estimator
from bulkrate.core.money.overrides import read_overrides
from bulkrate.core.money.price import Mark
from bulkrate.core.money.pricelist import Entry, Head, PriceList, Rates
from bulkrate.core.money.quote import price_of
from bulkrate.core.tokens.guess import Guess
from bulkrate.core.tokens.request import Tokens

M = 1_000_000
LISTED = PriceList(
    head=Head(source="a list", date="2026-11-21", licence="MIT", sha256="0"),
    models={
        "small": Entry(
            mode="chat",
            provider="openai",
            output=1_000,
            rates={"standard": Rates(M, 2 * M), "batch": Rates(M // 2, M), "flex": Rates(M // 4, M // 2)},
        ),
        "long": Entry(
            mode="chat",
            provider="openai",
            rates={
                "standard": Rates(M, 2 * M),
                "standard>200000": Rates(2 * M, 4 * M),
                "batch": Rates(M // 2, M),
                "batch>200000": Rates(M, 2 * M),
            },
        ),
        "derived": Entry(mode="chat", provider="openai", rates={"standard": Rates(M, M)}),
        "nobatch": Entry(mode="chat", provider="together_ai", rates={"standard": Rates(M, M)}),
    },
)
CLASSIC = read_overrides({"classic": {"input": 10, "output": 30, "batch_discount": 0.5}})


def price(model):
    return price_of(model, LISTED, overrides=CLASSIC)


def tokens(took, gave, ceiling=None, basis="a guess", **more):
    took, gave = (Guess(n, n, n) if isinstance(n, int) else Guess(*n) for n in (took, gave))
    return Tokens(input=took, output=gave, output_max=ceiling, output_basis=basis, **more)


def estimate(*lines):
    estimator = Estimator(price)
    for model, count in lines:
        estimator.add(model, count)
    return estimator.estimate()


def test_the_classic_sum():
    """A million tokens in and half a million out, at $0.01 and $0.03 per thousand."""
    found = estimate(*[("classic", tokens(1000, 500, 500))] * 1000)
    assert (found.input.likely, found.output.likely) == (M, M // 2)
    assert found.standard.likely == found.standard.high == Decimal("25.00")
    assert found.batch.likely == Decimal("12.50")
    assert (found.saving_usd, found.saving_percent, found.saving_lines) == (Decimal("12.50"), 50, 1000)
    assert found.standard.unknown_lines == 0
    text = "\n".join(found.lines())
    assert "$25.00, given" in text
    assert "$12.50 (50 %)" in text


def test_no_lines_cost_nothing_that_is_known():
    found = estimate()
    assert found.lines_total == 0
    assert (found.standard.likely, found.saving_usd) == (None, None)
    assert found.lines()[0] == "no lines"


def test_mixed_models_add_up():
    found = estimate(("small", tokens(M, 0, 0)), ("classic", tokens(M, 0, 0)), ("small", tokens(M, 0, 0)))
    assert [(part.model, part.lines, part.standard.likely) for part in found.models] == [
        ("classic", 1, Decimal("10.00")),
        ("small", 2, Decimal("2.00")),
    ]
    assert found.standard.likely == Decimal("12.00")
    assert found.batch.likely == Decimal("6.00")
    # The total is as sure as its least sure part: the user's own price is no published one.
    assert found.standard.mark is Mark.GIVEN


def test_an_unknown_price_makes_the_sum_at_least():
    found = estimate(("small", tokens(M, 0, 0)), ("smal", tokens(M, 0, 0)), ("smal", tokens(M, 0, 0)))
    assert found.standard.likely == Decimal("1.00")
    assert found.standard.high is None
    assert found.standard.unknown_lines == 2
    text = "\n".join(found.lines())
    assert "at least $1.00" in text
    assert "without 2 lines whose price is unknown" in text
    assert "names like it: small" in text
    assert "on 1 of the lines" in text


def test_an_unknown_batch_price_is_told_beside_the_known_standard_price():
    found = estimate(("nobatch", tokens(M, 0, 0)))
    assert found.standard.likely == Decimal("1.00")
    assert (found.batch.likely, found.batch.mark, found.saving_usd) == (None, Mark.UNKNOWN, None)
    assert "batch     unknown: together_ai publishes no batch price for it" in "\n".join(found.lines())


def test_a_derived_price_names_its_rule():
    found = estimate(("derived", tokens(M, 0, 0)))
    assert (found.batch.likely, found.batch.mark) == (Decimal("0.50"), Mark.DERIVED)
    assert any("0.5 of the standard price" in line for line in found.lines())


def test_bounds_come_from_the_counts_and_the_ceiling():
    found = estimate(("small", tokens((90, 100, 120), (5, 20, 80), 300)))
    assert found.input == msgspec.convert({"low": 90, "likely": 100, "high": 120}, type(found.input))
    assert (found.output.low, found.output.likely, found.output.high) == (5, 20, 300)
    micro = Decimal("0.000001")
    assert found.standard.low == (90 + 2 * 5) * micro
    assert found.standard.likely == (100 + 2 * 20) * micro
    assert found.standard.high == (120 + 2 * 300) * micro


def test_without_a_ceiling_the_models_own_counts():
    assert estimate(("small", tokens(1, (1, 2, 8)))).output.high == 1_000


def test_without_any_ceiling_there_is_no_bound():
    found = estimate(("long", tokens(1, (1, 2, 8))))
    assert (found.output.high, found.standard.high) == (None, None)
    assert "set max_tokens" in "\n".join(found.how_sure)


def test_each_line_is_priced_by_its_own_length():
    found = estimate(("long", tokens(200_000, 0, 0)), ("long", tokens(200_001, 0, 0)))
    assert found.standard.likely == Decimal("0.2") + Decimal("0.400002")
    assert found.batch.likely == Decimal("0.1") + Decimal("0.200001")
    near = estimate(("long", tokens((190_000, 200_000, 210_000), 0, 0)))
    assert near.standard.high == Decimal("0.42")


def test_a_line_in_another_tier_has_its_price():
    found = estimate(("small", tokens(M, 0, 0, tier="flex")), ("small", tokens(M, 0, 0)))
    assert [(part.tier, part.standard.likely) for part in found.models] == [
        ("flex", Decimal("0.25")),
        ("standard", Decimal("1.00")),
    ]
    assert found.batch.likely == Decimal("1.00")


def test_a_tier_without_a_price_is_unknown():
    assert estimate(("small", tokens(1, 0, 0, tier="priority"))).standard.unknown_lines == 1


def test_parts_that_cannot_be_counted_make_it_at_least():
    found = estimate(("small", tokens(M, 0, 0, uncounted=2)))
    assert found.standard.unknown_lines == 1
    assert "2 parts (audio, files, pictures to be made) are not counted" in found.how_sure


def test_an_estimate_can_be_asked_for_and_added_to():
    estimator = Estimator(price)
    estimator.add("small", tokens(1, 10, 100))
    first = estimator.estimate()
    estimator.add("small", tokens(1, 10, 100))
    assert estimator.estimate().output.likely == 2 * first.output.likely == 20


def test_a_line_may_stand_for_many():
    one, many = Estimator(price), Estimator(price)
    for _ in range(7):
        one.add("small", tokens((1, 2, 3), (4, 5, 6), 7, uncounted=1))
    many.add("small", tokens((1, 2, 3), (4, 5, 6), 7, uncounted=1), lines=7)
    assert one.estimate() == many.estimate()


def test_an_estimate_is_plain_data():
    told = msgspec.json.decode(msgspec.json.encode(estimate(("small", tokens(M, 0, 0)))))
    assert told["standard"]["likely"] == "1.00"
    assert told["models"][0]["model"] == "small"


LINES = st.lists(
    st.tuples(
        st.sampled_from(["small", "long", "derived", "nobatch", "classic", "unheard of"]),
        st.tuples(*[st.integers(0, 300_000)] * 3).map(sorted),
        st.tuples(*[st.integers(0, 500)] * 3).map(sorted),
    )
)


@given(LINES)
def test_bounds_are_in_order_and_lines_add_up(lines):
    found = estimate(*[(model, tokens(took, gave, gave[2])) for model, took, gave in lines])
    assert found.lines_total == len(lines) == sum(part.lines for part in found.models)
    for money in (found.standard, found.batch):
        if money.likely is not None:
            assert money.low <= money.likely <= (money.high if money.high is not None else money.likely)
    # Only sums are kept: beside a line that costs something unknown, one without tokens is unknown too.
    unheard = [took[1] + gave[1] for model, took, gave in lines if model == "unheard of"]
    assert found.standard.unknown_lines == (len(unheard) if any(unheard) else 0)
    assert found.lines()


@given(LINES)
def test_the_order_of_lines_does_not_matter(lines):
    forth = [(model, tokens(took, gave, gave[2])) for model, took, gave in lines]
    assert estimate(*forth) == estimate(*reversed(forth))
