"""A setting that does not fit is told by its source, its whole path, what was found and what would fit."""

from __future__ import annotations

import pytest

from bulkrate.config import Settings, load
from bulkrate.config.misfit import first_misfit
from bulkrate.errors import ConfigError


@pytest.mark.parametrize(
    ("given", "path", "words"),
    [
        ({"port": "abc"}, "port", "is 'abc'; give a whole number"),
        ({"port": 70000}, "port", "is 70000; give a whole number of at most 65535"),
        ({"port": True}, "port", "is true; give a whole number"),
        ({"log_format": "xml"}, "log_format", "is 'xml'; give 'text' or 'json'"),
        ({"limits": 5}, "limits", "is 5; give a table"),
        ({"timing": {"commit_s_max": -1}}, "timing.commit_s_max", "is -1; give a number of at least 0.0"),
        (
            {"upstreams": {"good": {"max_in_flight": 5}, "bad": {"max_in_flight": 0}}},
            "upstreams.bad.max_in_flight",
            "is 0; give a whole number of at least 1",
        ),
        ({"upstreams": {"gpu": "http://a"}}, "upstreams.gpu", "is 'http://a'; give a table"),
        ({"upstreams": {"gpu": {"models": "m"}}}, "upstreams.gpu.models", "is 'm'; give a list"),
        ({"upstreams": {"gpu": {"models": ["m", 3]}}}, "upstreams.gpu.models.1", "is 3; give a text"),
        (
            {"upstreams": {"gpu": {"enqueued_tokens": {"m": 0}}}},
            "upstreams.gpu.enqueued_tokens.m",
            "is 0; give a whole number of at least 1",
        ),
        ({"upstreams": {"gpu": {"on_late": "soon"}}}, "upstreams.gpu.on_late", "'expire'"),
    ],
)
def test_the_first_value_that_does_not_fit_is_found_with_its_whole_path(given, path, words):
    misfit = first_misfit(given, Settings)
    assert misfit is not None
    assert ".".join(misfit.path) == path
    assert words in misfit.words


@pytest.mark.parametrize(
    "given",
    [
        {"metrics_key": 123456},
        {"upstreams": {"gpu": {"key": 123456}}},
        {"upstreams": {"gpu": {"headers": {"x": 123456}}}},
        {"upstreams": {"gpu": {"webhook_secret": 123456}}},
    ],
)
def test_what_may_be_a_secret_is_not_repeated(given):
    misfit = first_misfit(given, Settings)
    assert misfit is not None
    assert "123456" not in misfit.words


def test_what_fits_is_no_misfit():
    assert first_misfit({"port": "8080", "upstreams": {"a": {"enqueued_tokens": {"m": 5}}}}, Settings) is None


def test_a_value_that_does_not_fit_is_told_with_the_place_where_it_was_given(tmp_path):
    file = tmp_path / "given.toml"
    file.write_text("port = 8080\n[upstreams.gpu]\nurl = 'http://a'\nmax_in_flight = 0\n")
    with pytest.raises(ConfigError, match=r"given\.toml: upstreams\.gpu\.max_in_flight is 0; give"):
        load(file=file, environ={}, flags={})
    with pytest.raises(ConfigError, match=r"^the command line: port is -1; give"):
        load(file=file, environ={}, flags={"port": -1})
    with pytest.raises(ConfigError, match=r"^the environment: port is 'x'; give"):
        load(file=file, environ={"BULKRATE_PORT": "x"}, flags={})
