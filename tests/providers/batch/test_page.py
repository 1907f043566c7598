"""The page about providers says what the tables say."""

from __future__ import annotations

from pathlib import Path

import pytest

from bulkrate.core.money.sellers import BATCH_SHARE
from bulkrate.providers.batch.languages.chat import HARMLESS
from bulkrate.providers.batch.limits import LIMITS, READ_ON, Limits
from bulkrate.providers.batch.openai import DIALECTS, OpenAIBatch
from bulkrate.providers.batch.vendors import KINDS, vendor_for

PAGE = (Path(__file__).parents[3] / "docs/providers.md").read_text(encoding="utf-8")
# The price list has its own names.
PRICED_AS = {"alibaba": "dashscope"}
VENDORS = {
    **{name: OpenAIBatch(name) for name in DIALECTS},
    **{vendor.name: vendor for kind in KINDS if (vendor := vendor_for(kind)).name != "openai"},
}


def row(provider: str, limits: Limits) -> str:
    models = "1" if limits.one_model else "any"
    windows = " to ".join(dict.fromkeys((limits.windows[0], limits.windows[-1])))
    return (
        f"| `{provider}` | {limits.lines_max:,} | {limits.bytes_max // 1_000_000} | {models} | {windows} "
        f"| {price(provider)} |"
    )


def price(provider: str) -> str:
    share, _ = BATCH_SHARE.get(PRICED_AS.get(provider, provider), (None, ""))
    return "see there" if share is None else f"{share:.0%}".replace("%", " %")


@pytest.mark.parametrize("provider", LIMITS)
def test_every_limit_is_told(provider: str) -> None:
    assert row(provider, LIMITS[provider][""]) in PAGE


def test_the_date_is_told() -> None:
    assert f"Read on {READ_ON}" in PAGE


@pytest.mark.parametrize("provider", VENDORS)
def test_every_place_and_key_is_told(provider: str) -> None:
    vendor = VENDORS[provider]
    places = PAGE.partition("## Where it is")[2].partition("## Limits")[0]
    (line,) = [line for line in places.splitlines() if line.startswith(f"| `{provider}` |")]
    assert f"`{vendor.key_names[0]}`" in line
    assert f"`{next(iter(vendor.auth('k')))}`" in line
    assert vendor.url_default is None or f"`{vendor.url_default}`" in line


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_told(kind: str) -> None:
    assert f"| `{kind}` | " in PAGE


def test_fields_that_stay_behind_are_told() -> None:
    told = {name for name in HARMLESS if f"`{name}`" in PAGE}
    assert set(HARMLESS) - told <= {"prompt_cache_retention", "prompt_cache_options"}
