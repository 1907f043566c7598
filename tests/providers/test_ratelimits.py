"""Quotas out of headers, as OpenAI and Anthropic write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.providers.ratelimits import Limit, RateLimits, read_limits

OPENAI = {
    "x-ratelimit-limit-requests": "500",
    "x-ratelimit-limit-tokens": "200000",
    "x-ratelimit-remaining-requests": "499",
    "x-ratelimit-remaining-tokens": "199112",
    "x-ratelimit-reset-requests": "120ms",
    "x-ratelimit-reset-tokens": "6m0s",
}
ANTHROPIC = {
    "date": "Sat, 21 Nov 2026 10:00:00 GMT",
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "49",
    "anthropic-ratelimit-requests-reset": "2026-11-21T10:00:01Z",
    "anthropic-ratelimit-input-tokens-limit": "50000",
    "anthropic-ratelimit-input-tokens-remaining": "45000",
    "anthropic-ratelimit-input-tokens-reset": "2026-11-21T10:00:06Z",
    "anthropic-ratelimit-output-tokens-limit": "10000",
    "anthropic-ratelimit-output-tokens-remaining": "2000",
    "anthropic-ratelimit-output-tokens-reset": "2026-11-21T10:00:48Z",
}


def test_openais_headers_are_read():
    assert read_limits(OPENAI.get) == RateLimits(
        requests=Limit(limit=500, remaining=499, reset_s=0.12),
        tokens=Limit(limit=200_000, remaining=199_112, reset_s=360.0),
    )


def test_of_anthropics_tokens_those_count_of_which_less_is_left():
    assert read_limits(ANTHROPIC.get) == RateLimits(
        requests=Limit(limit=50, remaining=49, reset_s=1.0),
        tokens=Limit(limit=10_000, remaining=2_000, reset_s=48.0),
    )


def test_answers_without_quotas_have_none():
    assert read_limits({"content-type": "application/json", "retry-after": "3"}.get) is None


def test_a_part_of_a_quota_is_read_as_well():
    headers = {"x-ratelimit-remaining-tokens": "17"}
    assert read_limits(headers.get) == RateLimits(tokens=Limit(remaining=17))


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        ("12ms", 0.012),
        ("1s", 1.0),
        ("1m30.5s", 90.5),
        ("1h2m3s", 3723.0),
        ("2d", 172_800.0),
        ("59", 59.0),
        ("0.5", 0.5),
        ("1795255205", 5.0),  # Unix time, 5 s after the date
        ("2026-11-21T10:00:05+00:00", 5.0),
        ("Sat, 21 Nov 2026 10:00:05 GMT", 5.0),
        ("2026-11-21T09:59:00Z", 0.0),  # past
        ("soon", None),
        ("-3", None),
        ("9999d", None),
    ],
)
def test_a_reset_may_be_a_duration_a_number_or_a_moment(reset, seconds):
    headers = {
        "date": "Sat, 21 Nov 2026 10:00:00 GMT",
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-reset-requests": reset,
    }
    found = read_limits(headers.get)
    assert found is not None
    assert found.requests is not None
    assert found.requests.reset_s == pytest.approx(seconds)


def test_a_moment_without_a_date_to_count_from_is_unknown():
    headers = {key: value for key, value in ANTHROPIC.items() if key != "date"}
    found = read_limits(headers.get)
    assert found is not None
    assert found.requests == Limit(limit=50, remaining=49)


@given(st.dictionaries(st.sampled_from([*OPENAI, *ANTHROPIC]), st.text(max_size=30)))
def test_no_header_is_too_odd(headers):
    found = read_limits(headers.get)
    for limit in (found.requests, found.tokens) if found else ():
        assert limit is None or limit.reset_s is None or limit.reset_s >= 0
