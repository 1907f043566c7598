"""The table of limits, and how embedding inputs are counted."""

from __future__ import annotations

from datetime import date

import msgspec
import pytest

from bulkrate.errors import ConfigError
from bulkrate.providers.batch.base import SHARD_ID, line_id, read_line_id
from bulkrate.providers.batch.limits import LIMITS, READ_ON, embedding_inputs, limits_for
from bulkrate.providers.batch.vendors import KINDS, provider_at, vendor_for


@pytest.mark.parametrize("provider", LIMITS)
def test_every_row_has_a_source_and_holds_for_any_model(provider: str) -> None:
    limits = limits_for(provider, "a model that nobody knows")
    assert limits.source
    assert limits.lines_max > 0
    assert limits.bytes_max > 0
    assert limits.windows
    assert msgspec.structs.replace(limits, lines_max=5).lines_max == 5


def test_the_table_is_dated() -> None:
    assert date.fromisoformat(READ_ON)


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (b'{"input": "a"}', 1),
        (b'{"input": ["a", "b"]}', 2),
        (b'{"input": [1, 2, 3]}', 1),
        (b'{"input": [[1, 2], [3]]}', 2),
        (b'{"input": []}', 1),
    ],
)
def test_embedding_inputs_are_counted_as_openai_does(body: bytes, count: int) -> None:
    assert embedding_inputs(body) == count


@pytest.mark.parametrize("body", [b"", b"{}", b'{"input": 1}', b'{"input": null}', b"[]"])
def test_a_body_without_input_has_no_count(body: bytes) -> None:
    with pytest.raises(ValueError, match="input"):
        embedding_inputs(body)


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        (None, "openai"),
        ("https://api.openai.com/v1", "openai"),
        ("https://mine.openai.azure.com/openai/v1", "azure"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://notapi.groq.com.example.com/v1", "openai"),
        ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "alibaba"),
        ("http://127.0.0.1:8080/v1", "openai"),
    ],
)
def test_a_host_tells_whose_api_it_is(url: str | None, provider: str) -> None:
    assert provider_at(url) == provider


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_vendor(kind: str) -> None:
    vendor = vendor_for(kind)
    assert vendor.name in LIMITS
    assert vendor.url_default is not None
    assert vendor.base(vendor.url_default + "/") == vendor.base(vendor.url_default)


@pytest.mark.parametrize(
    ("kind", "url"),
    [
        ("anthropic-batch", "https://api.anthropic.com/v1/"),
        ("gemini-batch", "https://generativelanguage.googleapis.com/v1beta"),
        ("gemini-batch", "https://generativelanguage.googleapis.com/v1beta/openai/"),
        ("mistral-batch", "https://api.mistral.ai/v1"),
    ],
)
def test_a_url_may_be_written_as_people_write_it(kind: str, url: str) -> None:
    vendor = vendor_for(kind)
    assert vendor.base(url) == vendor.url_default


@pytest.mark.parametrize(
    ("provider", "url", "base"),
    [
        ("azure", "https://r.openai.azure.com", "https://r.openai.azure.com/openai/v1"),
        ("azure", "https://r.openai.azure.com/openai/", "https://r.openai.azure.com/openai/v1"),
        ("azure", "https://r.openai.azure.com/openai?api-version=1", "https://r.openai.azure.com/openai/v1"),
        ("azure", "https://r.openai.azure.com/openai/v1/", "https://r.openai.azure.com/openai/v1"),
        ("azure", "https://gateway.example/team/openai/v1", "https://gateway.example/team/openai/v1"),
        ("bulkrate", "http://127.0.0.1:8080", "http://127.0.0.1:8080/v1"),
        ("bulkrate", "http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
        ("deepinfra", "https://api.deepinfra.com/v1", "https://api.deepinfra.com/v1/openai"),
    ],
)
def test_a_url_that_stops_early_is_gone_on_with(provider: str, url: str, base: str) -> None:
    assert vendor_for("openai-batch", provider=provider).base(url) == base


def test_a_day_is_asked_for_where_there_is_one() -> None:
    """Doubleword sells an hour as well, at a higher price."""
    asked = {provider: families[""].window for provider, families in LIMITS.items()}
    assert {provider for provider, window in asked.items() if window != "24h"} == {"gemini"}


def test_unknown_kinds_and_providers_are_refused() -> None:
    with pytest.raises(ConfigError, match="openai-batch"):
        vendor_for("nonsense")
    with pytest.raises(ConfigError, match="groq"):
        vendor_for("openai-batch", provider="nonsense")


@pytest.mark.parametrize(
    ("kind", "setting", "name"),
    [
        ("gemini-batch", {"max_tokens": 9}, "max_tokens"),
        ("openai-batch", {"version": "2024-10-21"}, "api_version"),
        ("mistral-batch", {"provider": "groq"}, "provider"),
        ("anthropic-batch", {"window": "48h"}, "window"),
    ],
)
def test_a_setting_that_a_kind_has_no_use_for_is_refused(kind, setting, name) -> None:
    with pytest.raises(ConfigError, match=f"{name} means nothing to {kind}"):
        vendor_for(kind, **setting)


def test_ids_of_lines_are_read_back() -> None:
    name = "b" * 48
    assert SHARD_ID.fullmatch(name)
    assert len(line_id(name, 10**12 - 1)) <= 64
    assert read_line_id(line_id(name, 17)) == (name, 17)
    for other in ("", "x", "request-1x", "a b-1", "-1", f"{name}c-1", "a-²"):
        assert read_line_id(other) is None
