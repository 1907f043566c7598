"""The list of published prices, made of litellm's file of models."""

from __future__ import annotations

import json

import pytest

from bulkrate.core.money import litellm
from bulkrate.core.money.litellm import distil
from bulkrate.core.money.pricelist import PricesUnfit, Rates, changes, check_successor, decoded, encoded


def original(**models):
    """A file as litellm's, with enough other models in it to be believed."""
    filler = {
        f"filler-{n}": {
            "litellm_provider": "openai",
            "mode": "chat",
            "input_cost_per_token": 1e-06,
            "output_cost_per_token": 2e-06,
        }
        for n in range(litellm._MODELS_MIN)
    }
    return json.dumps(
        {"sample_spec": {"mode": "chat", "input_cost_per_token": 1}, **filler, **models}
    ).encode()


def listed(**told):
    model = {"litellm_provider": "openai", "mode": "chat", **told}
    return distil(original(m=model), source="s", date="2026-11-21").models.get("m")


def test_every_tier_and_step_is_taken_over_exactly():
    entry = listed(
        max_input_tokens=128000,
        max_output_tokens=16384,
        input_cost_per_token=7.5e-08,
        output_cost_per_token=6e-07,
        cache_read_input_token_cost=3.75e-08,
        input_cost_per_token_batches=3.75e-08,
        output_cost_per_token_batches=3e-07,
        input_cost_per_token_above_200k_tokens=1.5e-07,
        input_cost_per_token_above_200k_tokens_priority=3e-07,
        output_cost_per_token_flex=3e-07,
        output_cost_per_reasoning_token=9e-07,
        input_cost_per_audio_token=4e-05,
        output_cost_per_token_ultrafast=1e-05,
    )
    assert entry.rates == {
        "standard": Rates(75_000, 600_000, 37_500, 900_000),
        "standard>200000": Rates(150_000),
        "batch": Rates(37_500, 300_000),
        "flex": Rates(None, 300_000),
        "priority>200000": Rates(300_000),
    }
    assert (entry.context, entry.output) == (128_000, 16_384)


def test_steps_may_be_told_as_a_table():
    entry = listed(
        tiered_pricing=[
            {"range": [0, 256000.0], "input_cost_per_token": 5e-08, "output_cost_per_token": 4e-07},
            {"range": [256000.0, 1e6], "input_cost_per_token": 2.5e-07, "output_cost_per_token": 2e-06},
        ]
    )
    assert entry.rates == {"standard": Rates(50_000, 400_000), "standard>256000": Rates(250_000, 2_000_000)}


def test_a_zero_is_not_a_price():
    assert listed(input_cost_per_token=0, output_cost_per_token=0.0) is None
    assert listed(input_cost_per_token=1e-06, output_cost_per_token=0).rates["standard"] == Rates(1_000_000)


def test_moderations_are_free():
    assert listed(mode="moderation", input_cost_per_token=0).rates == {"standard": Rates(0)}


@pytest.mark.parametrize("mode", ["image_generation", "rerank", "audio_speech", None])
def test_what_is_not_paid_by_text_tokens_is_left_out(mode):
    assert listed(mode=mode, input_cost_per_token=1e-06) is None


def test_what_is_kept_reads_back_the_same():
    prices = distil(original(), source="s", date="2026-11-21")
    assert decoded(encoded(prices), "here") == prices
    assert encoded(prices).count(b"\n") == len(prices.models) + 3


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"a": {"mode": "chat"}}', b"\xff", b'{"a": 1}'])
def test_another_file_is_refused(content):
    with pytest.raises(PricesUnfit, match="s "):
        distil(content, source="s", date="2026-11-21")


def test_a_price_beyond_belief_is_refused():
    with pytest.raises(PricesUnfit, match=r"\$10,000 per million tokens for m"):
        listed(input_cost_per_token=0.15)  # a price per thousand


def test_a_broken_list_is_refused():
    with pytest.raises(PricesUnfit, match="here is not a price list"):
        decoded(b'{"head": {}}', "here")


def test_what_changed_is_named():
    plain = {"litellm_provider": "openai", "mode": "chat", "output_cost_per_token": 1e-06}
    old = distil(original(a=plain, b=plain, c=plain), source="old", date="2026-01-01")
    dearer = {**plain, "output_cost_per_token": 2e-06}
    new = distil(
        original(b=dearer, c={**plain, "max_output_tokens": 9}, d=plain), source="new", date="2026-02-01"
    )
    found = changes(old, new)
    assert (found.added, found.gone, found.changed) == (("d",), ("a",), ("b",))
    assert check_successor(old, new) == found


def test_a_list_that_lost_most_models_is_refused():
    many = {
        f"m{n}": {"litellm_provider": "x", "mode": "chat", "output_cost_per_token": 1e-06} for n in range(600)
    }
    old = distil(original(**many), source="old", date="2026-01-01")
    new = distil(original(), source="new", date="2026-02-01")
    with pytest.raises(PricesUnfit, match="lacks 600 of the 1100 models"):
        check_successor(old, new)


def test_a_list_of_other_units_is_refused():
    old = distil(original(), source="old", date="2026-01-01")
    new = distil(original().replace(b"2e-06", b"2e-03"), source="new", date="2026-02-01")
    with pytest.raises(PricesUnfit, match="by ten times or more"):
        check_successor(old, new)
