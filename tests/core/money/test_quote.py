"""Which price counts for a model at an upstream, how sure it is, and what follows."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.core.money.names import find, nearest
from bulkrate.core.money.overrides import read_overrides
from bulkrate.core.money.price import BATCH, STANDARD, TIERS, Mark, cost, dollars
from bulkrate.core.money.pricelist import Entry, Head, PriceList, Rates
from bulkrate.core.money.quote import price_of
from bulkrate.core.money.sellers import provider_at
from bulkrate.providers.usage import Usage

HEAD = Head(source="a list", date="2026-11-21", licence="MIT", sha256="0")


def entry(provider, mode="chat", **rates):
    return Entry(
        mode=mode,
        provider=provider,
        output=1000,
        rates={name.replace("_over_", ">"): Rates(*row) for name, row in rates.items()},
    )


LISTED = PriceList(
    head=HEAD,
    models={
        "gpt-s": entry("openai", standard=(150_000, 600_000, 75_000), batch=(75_000, 300_000)),
        "gpt-s-2024-07-18": entry("openai", standard=(160_000, 640_000), batch=(80_000, 320_000)),
        "gpt-nobatch": entry("openai", standard=(1_000_000, 2_000_000)),
        "gpt-half": entry("openai", standard=(1_000_000, 2_000_000), batch=(400_000,)),
        "gpt-long": entry(
            "openai",
            standard=(100, 200),
            standard_over_272000=(200, 300, 50),
            batch=(50, 100),
            batch_over_272000=(100, 150),
            flex=(60, 120),
        ),
        "gpt-long-unsaid": entry(
            "xai", standard=(100, 200), standard_over_128000=(200, 300), batch=(80, 160)
        ),
        "ft:gpt-s-2024-07-18": entry("openai", standard=(300_000, 1_200_000)),
        "embed": entry("openai", "embedding", standard=(20_000,), batch=(10_000,)),
        "free-mod": entry("openai", "moderation", standard=(0, 0)),
        "azure/gpt-s": entry("azure", standard=(165_000, 660_000)),
        "mistral/small": entry("mistral", standard=(100_000, 300_000)),
        "together_ai/llama": entry("together_ai", standard=(880_000, 880_000)),
        "openrouter/openai/gpt-s": entry("openrouter", standard=(170_000, 700_000)),
        "claude": entry("anthropic", standard=(3_000_000, 15_000_000)),
        "vertex_ai/claude": entry("vertex_ai-anthropic_models", standard=(3_000_000, 15_000_000)),
        "thinks": entry("openai", standard=(100, 200, 10, 500)),
    },
)
OPENAI = "https://api.openai.com/v1"
M = 1_000_000


def usage(took, gave, cached=0, reasoning=0):
    return Usage(took, cached, gave, reasoning, took + gave)


@pytest.mark.parametrize(
    ("model", "upstream", "key"),
    [
        ("gpt-s", None, "gpt-s"),
        ("openai/gpt-s", None, "gpt-s"),
        ("openai:gpt-s", None, "gpt-s"),
        ("openai/gpt-s", OPENAI, "gpt-s"),
        ("gpt-s-2024-07-18", None, "gpt-s-2024-07-18"),  # listed itself
        ("gpt-s-2031-01-01", None, "gpt-s"),  # not listed: the undated one's
        ("gpt-s-latest", None, "gpt-s"),
        ("ft:gpt-s-2024-07-18:acme::9x", OPENAI, "ft:gpt-s-2024-07-18"),
        ("gpt-s", "https://acme.openai.azure.com/openai/v1", "azure/gpt-s"),
        ("azure_openai/gpt-s", None, "azure/gpt-s"),
        ("small", "https://api.mistral.ai/v1", "mistral/small"),
        ("mistral:small", None, "mistral/small"),
        ("together/llama", None, "together_ai/llama"),
        ("openai/gpt-s", "https://openrouter.ai/api/v1", "openrouter/openai/gpt-s"),
        ("claude", "https://us-east5-aiplatform.googleapis.com/v1", "vertex_ai/claude"),
        ("gpt-s", "https://api.mistral.ai/v1", None),  # nobody sells at another's price
        ("small", None, None),
        ("llama3:8b", None, None),
        ("", None, None),
    ],
)
def test_a_model_is_found_by_any_of_its_spellings(model, upstream, key):
    assert find(model, LISTED, provider_at(upstream) if upstream else None)[0] == key


def test_the_published_batch_price_counts():
    price = price_of("gpt-s", LISTED, upstream_url=OPENAI)
    told = cost(usage(M, M), price, BATCH)
    assert (told.usd, told.mark, told.source) == (Decimal("0.375"), Mark.PUBLISHED, "a list, 2026-11-21")


def test_a_batch_price_that_is_not_published_is_derived_where_the_provider_sells_all_at_one_discount():
    told = cost(usage(M, M), price_of("gpt-nobatch", LISTED), BATCH)
    assert (told.usd, told.mark) == (Decimal("1.50"), Mark.DERIVED)
    assert "0.5 of the standard price, as openai sells batches" in told.source


def test_a_batch_price_that_is_published_in_part_is_completed_and_marked_derived():
    told = cost(usage(M, M), price_of("gpt-half", LISTED), BATCH)
    assert (told.usd, told.mark) == (Decimal("1.40"), Mark.DERIVED)


def test_an_unknown_batch_price_is_neither_nothing_nor_the_standard_price():
    price = price_of("together_ai/llama", LISTED)
    assert cost(usage(M, M), price).usd == Decimal("1.76")
    told = cost(usage(M, M), price, BATCH)
    assert (told.usd, told.mark) == (None, Mark.UNKNOWN)
    assert "together_ai publishes no batch price" in told.source


@pytest.mark.parametrize("tier", [STANDARD, BATCH, "flex", "priority"])
def test_a_model_without_a_price_costs_something_unknown(tier):
    price = price_of("gpt-t", LISTED, upstream_url=OPENAI)
    assert cost(usage(1, 1), price, tier).usd is None
    assert price.nearest[0] == "gpt-s"


def test_a_tier_that_is_not_sold_is_unknown():
    told = cost(usage(1, 1), price_of("gpt-s", LISTED), "priority")
    assert (told.usd, told.mark) == (None, Mark.UNKNOWN)


@pytest.mark.parametrize(
    ("tier", "took", "pico"),
    [
        (STANDARD, 272_000, 272_000 * 100 + 200),  # the last at the lower price
        (STANDARD, 272_001, 272_001 * 200 + 300),  # the whole request at the higher
        (BATCH, 272_001, 272_001 * 100 + 150),
        ("flex", 10, 10 * 60 + 120),
    ],
)
def test_long_requests_have_their_own_price(tier, took, pico):
    assert cost(usage(took, 1), price_of("gpt-long", LISTED), tier).usd == dollars(pico)


def test_a_batch_price_for_short_requests_says_nothing_of_long_ones():
    price = price_of("xai/gpt-long-unsaid", LISTED)
    assert cost(usage(128_000, 1), price, BATCH).usd is not None
    assert cost(usage(128_001, 1), price, BATCH).usd is None


def test_cached_input_and_hidden_output_have_their_own_price_where_there_is_one():
    price = price_of("thinks", LISTED)
    assert cost(usage(10, 10, cached=4, reasoning=3), price).usd == dollars(
        6 * 100 + 4 * 10 + 7 * 200 + 3 * 500
    )
    plain = price_of("gpt-nobatch", LISTED)
    assert cost(usage(10, 10, cached=4, reasoning=3), plain).usd == cost(usage(10, 10), plain).usd


def test_embeddings_need_no_price_for_output():
    assert cost(usage(M, 0), price_of("embed", LISTED), BATCH).usd == Decimal("0.01")
    assert cost(usage(M, 1), price_of("embed", LISTED)).usd is None


def test_what_is_published_as_free_is_free():
    told = cost(usage(M, 0), price_of("free-mod", LISTED))
    assert (told.usd, told.mark) == (Decimal("0.00"), Mark.PUBLISHED)


def test_a_model_without_a_price_is_free_only_at_a_private_address():
    local = price_of("org/llama-8b", LISTED, upstream_url="http://10.0.0.7:8000/v1")
    assert cost(usage(M, M), local).mark is Mark.LOCAL
    assert [cost(usage(M, M), local, tier).usd for tier in TIERS] == [0, 0, 0, 0]
    assert (
        cost(usage(M, M), price_of("org/llama-8b", LISTED, upstream_url="https://x.example/v1")).usd is None
    )


def test_a_model_that_has_a_price_keeps_it_behind_an_unknown_host_and_is_derived():
    told = cost(usage(M, 0), price_of("gpt-s", LISTED, upstream_url="http://localhost:4000/v1"))
    assert (told.usd, told.mark) == (Decimal("0.15"), Mark.DERIVED)
    assert "what localhost charges is not known" in told.source


def test_a_local_model_that_the_user_priced_is_not_free():
    mine = read_overrides({"org/llama-8b": {"input": 1, "output": "2"}})
    price = price_of("org/llama-8b", LISTED, upstream_url="http://10.0.0.7/v1", overrides=mine)
    told = cost(usage(M, M), price)
    assert (told.usd, told.mark) == (Decimal("3.00"), Mark.GIVEN)
    assert cost(usage(M, M), price, BATCH).usd is None


def test_the_users_price_wins_over_the_published_one():
    mine = read_overrides({"gpt-s": {"input": 0.1, "batch_output": 0.2}})
    price = price_of("openai/gpt-s", LISTED, overrides=mine)
    assert price.band(STANDARD).rates == Rates(100_000, 600_000)
    assert price.band(BATCH).rates == Rates(50_000, 200_000)
    assert price.band(BATCH).mark is Mark.GIVEN


def test_what_the_user_left_out_stays_as_it_is_published():
    price = price_of("gpt-s", LISTED, overrides=read_overrides({"gpt-s": {"output": 9}}))
    band = price.band(STANDARD)
    assert band.rates == Rates(150_000, 9_000_000, 75_000)
    assert band.source == "your prices; what you left out: a list, 2026-11-21"


@pytest.mark.parametrize("field", ["output", "batch_input", "batch_discount", "cached_input"])
def test_half_a_price_of_a_model_that_nobody_lists_is_still_unknown(field):
    price = price_of("mine", LISTED, overrides=read_overrides({"mine": {field: 0.5}}))
    assert cost(usage(M, M), price).usd is None
    assert cost(usage(M, M), price, BATCH).usd is None


def test_a_discount_of_the_upstream_counts_for_the_batch():
    price = price_of("together_ai/llama", LISTED, batch_discount=Decimal("0.25"))
    told = cost(usage(M, M), price, BATCH)
    assert (told.usd, told.mark) == (Decimal("1.32"), Mark.GIVEN)


def test_the_classic_sum():
    """A million tokens in and half a million out, at $0.01 and $0.03 per thousand."""
    mine = read_overrides({"classic": {"input": 10, "output": 30, "batch_discount": 0.5}})
    price = price_of("classic", LISTED, overrides=mine)
    assert cost(usage(M, M // 2), price).usd == Decimal("25.00")
    assert cost(usage(M, M // 2), price, BATCH).usd == Decimal("12.50")


def test_names_of_the_same_last_part_are_offered_first():
    assert nearest("small", LISTED)[0] == "mistral/small"


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7))
def test_two_requests_cost_what_both_cost(took, gave, more_in, more_out):
    price = price_of("gpt-s", LISTED)
    parts = [cost(usage(took, gave), price).usd, cost(usage(more_in, more_out), price).usd]
    assert sum(parts) == cost(usage(took + more_in, gave + more_out), price).usd


@given(st.integers(0, 10**6), st.integers(0, 2 * 10**6))
def test_cached_tokens_never_make_a_request_dearer(took, cached):
    price = price_of("gpt-s", LISTED)
    assert cost(usage(took, 5, cached=cached), price).usd <= cost(usage(took, 5), price).usd
