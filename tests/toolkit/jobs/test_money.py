"""What a job may cost, and when somebody is asked."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from bulkrate.core.money.estimator import Estimator
from bulkrate.core.money.price import BATCH, Price
from bulkrate.errors import OverBudget
from bulkrate.providers.usage import Usage
from bulkrate.toolkit.jobs.money import Forecast, Prices, bought, forecast, hold_to, spent
from bulkrate.toolkit.jobs.record import JobRecord, Tokens
from bulkrate.toolkit.places.place import PlaceAsk
from bulkrate.wire.lines import response_line
from tests.toolkit.jobs.test_collect import collector


def test_a_job_with_nothing_to_send_costs_nothing() -> None:
    """All rows of a nightly run were known; it asked for money, and with a limit it broke."""
    found = Forecast(estimate=Estimator(lambda model: Price(model=model)).estimate(), tier=BATCH)
    assert not found.costs
    hold_to(found, "0.01")


@pytest.fixture
def prices(tmp_path) -> Prices:
    """Where a model is served by a batch API and by another upstream at once."""
    config = tmp_path / "bulkrate.toml"
    config.write_text(
        '[upstreams.openai]\nkind = "openai-batch"\nmodels = ["m"]\n'
        '[upstreams.azure]\nurl = "https://mine.openai.azure.com/openai/v1"\nmodels = ["m"]\n'
        "[prices.m]\ninput = 0.15\noutput = 0.60\ncached_input = 0.075\nbatch_discount = 0.5\n"
    )
    return Prices(PlaceAsk(config=str(config)), {})


def answer(row: int, *, read: int, cached: int, wrote: int, delegated: str | None) -> bytes:
    """A result line with known usage."""
    usage = {
        "prompt_tokens": read,
        "completion_tokens": wrote,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
    body = {"choices": [{"message": {"content": "yes"}}], "usage": usage}
    return response_line(f"b{row}", b'"%d"' % row, 200, "r", json.dumps(body).encode(), delegated=delegated)


def test_each_line_is_billed_at_the_price_it_was_bought_at(prices) -> None:
    """The bill once shared tokens out by lines, as if the dear half had been as short as the cheap one."""
    lines = [
        *(answer(row, read=100_000, cached=0, wrote=1_000, delegated="openai") for row in (0, 1, 2)),
        *(answer(row, read=1_000, cached=400, wrote=90_000, delegated=None) for row in (3, 4, 5)),
        answer(0, read=100_000, cached=0, wrote=1_000, delegated="openai"),  # asked again: bought again
    ]
    tokens: dict[str, dict[str, Tokens]] = {}
    reader = collector()
    for line in lines:
        [outcome], usage = reader.read(line, "m")
        bought(tokens, prices, "m", usage, outcome.delegated)
    # Dollars a million tokens: 0.15 read, 0.075 of it cached, and 0.60 written; half of it in batches.
    batch = 4 * (Decimal("0.1") * Decimal("0.075") + Decimal("0.001") * Decimal("0.30"))
    online = 3 * (
        Decimal("0.0006") * Decimal("0.15")
        + Decimal("0.0004") * Decimal("0.075")
        + Decimal("0.09") * Decimal("0.60")
    )
    record = JobRecord(id="j", spec=None, fingerprint="", created_at=0.0, tokens=tokens)  # type: ignore[arg-type]
    actual = spent(record, prices)
    assert [(part.tier, part.purchases, part.usd) for part in actual.models] == [
        ("batch", 4, batch),
        ("standard", 3, online),
    ]
    assert actual.usd == batch + online
    assert actual.usage.input_tokens == 403_000
    assert [line.split() for line in actual.lines()[-2:]] == [
        ["batch", "4", "answers,", "$0.031"],
        ["standard", "3", "answers,", "$0.16"],
    ]


def test_what_a_server_does_not_say_is_bought_at_its_own_price() -> None:
    hosted = Prices(PlaceAsk(server="https://api.openai.com/v1"), {})
    assert (hosted.tier_of(None), hosted.tier_of("anything")) == (BATCH, BATCH)
    private = Prices(PlaceAsk(server="http://127.0.0.1:8080/v1"), {})
    assert (private.tier_of(None), private.tier_of("openai")) == ("standard", BATCH)


def test_upstreams_of_the_configuration_have_no_say_in_what_a_server_costs(tmp_path) -> None:
    """One's own server was once billed at OpenAI's batch price, for a file that was there too."""
    config = tmp_path / "bulkrate.toml"
    config.write_text('[upstreams.openai]\nkind = "openai-batch"\nmodels = ["gpt-4o-mini"]\n')
    there = "http://127.0.0.1:8080/v1"
    beside, alone = (Prices(PlaceAsk(server=there, config=name), {}) for name in (str(config), None))
    read = Usage(input_tokens=1_000_000)
    for delegated in (None, "openai"):
        assert beside.tier_of(delegated) == alone.tier_of(delegated)
        assert beside.paid("gpt-4o-mini", read, delegated) == alone.paid("gpt-4o-mini", read, delegated)
    assert beside.on_late is alone.on_late is None


class Asked:
    """A job of one request."""

    def __init__(self, model: str) -> None:
        self._model = model

    def requests(self, _step: int) -> list[tuple[str, str, bytes]]:
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": "x" * 4_000}],
            "max_tokens": 1_000,
        }
        return [(self._model, "/v1/chat/completions", json.dumps(body).encode())]

    def request_count(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("model", "window", "tier"),
    [
        ("m", "24h", BATCH),
        ("m", "1h", "standard"),
        ("only-batch", "1h", BATCH),
        ("only-online", "24h", "standard"),
    ],
)
def test_the_ceiling_is_of_the_price_that_is_paid(tmp_path, model, window, tier) -> None:
    """With any batch API in the configuration, all lines were once held to half of what some then cost."""
    config = tmp_path / "bulkrate.toml"
    config.write_text(
        '[upstreams.openai]\nkind = "openai-batch"\nmodels = ["m", "only-batch"]\nfrom_window = "4h"\n'
        '[upstreams.azure]\nurl = "https://mine.openai.azure.com/openai/v1"\nmodels = ["m", "only-online"]\n'
        + "".join(
            f"[prices.{name}]\ninput = 100\noutput = 100\nbatch_discount = 0.5\n"
            for name in ("m", "only-batch", "only-online")
        )
    )
    prices = Prices(PlaceAsk(config=str(config)), {}, window=window)
    found = forecast(Asked(model), prices)
    delegated = "openai" if tier == BATCH else None
    assert (found.tier, prices.tier_of(delegated)) == (tier, tier)
    most = Usage(input_tokens=found.estimate.input.high, output_tokens=1_000)
    assert found.usd_at_most >= (prices.paid(model, most, delegated) or 0) > 0
    with pytest.raises(OverBudget):
        hold_to(found, "0.05")


@pytest.mark.parametrize(("window", "tier"), [("24h", BATCH), ("1h", "standard")])
def test_where_an_upstream_may_serve_a_model_at_once_the_ceiling_is_of_its_price(tmp_path, window, tier):
    """One without a list of models: whether it serves this one shows when the lines are sent."""
    config = tmp_path / "bulkrate.toml"
    config.write_text(
        '[upstreams.openai]\nkind = "openai-batch"\nmodels = ["m"]\nfrom_window = "4h"\n'
        '[upstreams.azure]\nurl = "https://mine.openai.azure.com/openai/v1"\n'
        "[prices.m]\ninput = 100\noutput = 100\nbatch_discount = 0.5\n"
    )
    assert forecast(Asked("m"), Prices(PlaceAsk(config=str(config)), {}, window=window)).tier == tier


def test_an_alias_costs_what_the_model_behind_it_does(tmp_path) -> None:
    """It was once taken for a model of one's own machine, which costs nothing."""
    config = tmp_path / "bulkrate.toml"
    config.write_text(
        '[upstreams.azure]\nurl = "https://mine.openai.azure.com/openai/v1"\nmodels = ["m"]\n'
        'aliases = { fast = "m" }\n'
        "[prices.m]\ninput = 0.15\noutput = 0.60\n"
    )
    prices = Prices(PlaceAsk(config=str(config)), {})
    read = Usage(input_tokens=1_000_000)
    assert prices.paid("fast", read, None) == prices.paid("m", read, None) == Decimal("0.15")
