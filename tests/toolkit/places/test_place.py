"""Where a job runs: what was asked for, then what is found, never what is made up."""

from __future__ import annotations

import pytest

from bulkrate.errors import ConfigError, ServerUnreachable
from bulkrate.toolkit.places import place
from bulkrate.toolkit.places.place import PlaceAsk, asked_place, open_place, settings_of, settle
from bulkrate.wording import typed


@pytest.fixture(autouse=True)
def nobody_else(tmp_path, monkeypatch):
    """No configuration, and nobody on the usual ports of this machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(place, "USUAL_PLACES", {})


@pytest.mark.parametrize(
    "server", ["nonsense", "http://", "http://[::1", "ftp://host/v1", "http://host:99999/v1", "//host"]
)
def test_a_server_without_an_address_is_told(server):
    with pytest.raises(ConfigError, match="no address"):
        asked_place(server=server)


def test_a_password_in_an_address_is_not_told():
    with pytest.raises(ConfigError) as told:
        asked_place(server="ftp://me:secret@host/v1")
    assert "secret" not in str(told.value)


def test_a_server_and_upstreams_are_two_places():
    with pytest.raises(ConfigError, match="two places"):
        asked_place(server="http://a/v1", upstreams=["http://b/v1"])


def test_a_sandbox_has_options_as_a_query_has():
    asked = asked_place(upstreams=["sandbox?latency_ms=200&error_rate=0.01&journal=calls.jsonl"])
    assert asked.sandbox == {"latency_ms": 200, "error_rate": 0.01, "journal": "calls.jsonl"}


def test_with_nothing_there_it_lists_the_choices():
    with pytest.raises(ConfigError) as told:
        settle(PlaceAsk(), {})
    named = ("OPENAI_API_KEY", "bulkrate.toml")
    for choice in ("upstream=URL", "server=URL", 'upstream="sandbox"', *named):
        assert choice in str(told.value)
    for choice in ("--upstream URL", "--server URL", "--upstream sandbox", *named):
        assert choice in typed(told.value.wording)


def test_what_was_asked_for_counts_before_the_environment():
    environ = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    asked = PlaceAsk(server="http://a/v1")
    assert settle(asked, environ) == asked


def test_a_base_url_that_is_a_bulkrate_is_a_server_and_else_an_upstream(server, upstream):
    assert settle(PlaceAsk(), {"OPENAI_BASE_URL": server.url}).server == server.url
    found = settle(PlaceAsk(), {"OPENAI_BASE_URL": upstream.url, "OPENAI_API_KEY": "k"})
    assert (found.upstreams, found.upstream_key) == ((upstream.url,), "env:OPENAI_API_KEY")


def test_a_server_is_ours_or_not(server, upstream, tmp_path):
    opened = open_place(PlaceAsk(server=server.url), tmp_path, {})
    assert (opened.ours, opened.cut.one_model) == (True, False)
    opened.close()
    opened = open_place(PlaceAsk(server=upstream.url), tmp_path, {})
    assert (opened.ours, opened.cut.one_model) == (False, True)
    assert not opened.again()
    opened.close()


def test_a_server_that_does_not_answer_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("bulkrate.toolkit.places.batch_api._REACH_S", 0.1)
    with pytest.raises(ServerUnreachable, match="127"):
        open_place(PlaceAsk(server="http://127.0.0.1:9/v1"), tmp_path, {})


@pytest.mark.parametrize(
    ("named", "key"),
    [
        (["openai"], "mine"),
        # Nobody's server is handed the key of a provider, nor the other way round.
        (["openai", "http://127.0.0.1:9/v1"], "theirs"),
    ],
)
def test_a_key_that_is_named_is_that_of_the_provider_that_is_named(named, key):
    """It was passed over, and the key of the environment was taken."""
    environ = {"MINE": "mine", "OPENAI_API_KEY": "theirs"}
    settings = settings_of(asked_place(upstreams=named, upstream_key="env:MINE"), environ)
    assert settings.upstreams["openai"].key == key


def test_one_key_is_not_that_of_two_providers():
    with pytest.raises(ConfigError, match="openai and mistral"):
        asked_place(upstreams=["openai", "mistral"], upstream_key="env:MINE")


def test_a_key_that_is_nowhere_is_told(tmp_path):
    with pytest.raises(ConfigError, match="NOT_THERE"):
        open_place(PlaceAsk(server="http://127.0.0.1:9/v1", server_key="env:NOT_THERE"), tmp_path, {})
