"""Settings: who wins, what is refused and in which words, and that nothing is lost on the way to a worker."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.config import Limits, Retry, Settings, Timing, Upstream, load, vendor_of
from bulkrate.errors import ConfigError

URL = "http://localhost:8000/v1"


@pytest.fixture
def read(tmp_path):
    """Load from a text of TOML, an environment and flags, in an empty folder."""

    def read(toml: str | None = None, environ=(), **flags) -> Settings:
        file = None
        if toml is not None:
            file = tmp_path / "given.toml"
            file.write_text(toml)
        return load(file=file, environ=dict(environ), flags=flags, cwd=tmp_path)

    return read


def test_without_any_word_the_defaults_are_in_force(read):
    assert read() == Settings()


@pytest.mark.parametrize(
    ("toml", "environ", "flags", "port"),
    [
        (None, {}, {}, 8080),
        ("port = 1", {}, {}, 1),
        ("port = 1", {"BULKRATE_PORT": "2"}, {}, 2),
        ("port = 1", {"BULKRATE_PORT": "2"}, {"port": 3}, 3),
        ("port = 1", {"BULKRATE_PORT": "2"}, {"port": None}, 2),  # a flag that was not given
        ("port = 1", {}, {"port": 0}, 0),  # nought is a word too
    ],
)
def test_the_environment_wins_over_the_file_and_a_flag_over_both(read, toml, environ, flags, port):
    assert read(toml, environ, **flags).port == port


def test_layers_are_joined_key_by_key(read):
    settings = read(
        '[limits]\nlines_max = 1\nfaults_max = 2\n[upstreams.gpu]\nurl = "http://a"\nmodels = ["m"]',
        {"BULKRATE_LIMITS__LINES_MAX": "5", "BULKRATE_UPSTREAMS__GPU__TIMEOUT_S": "7.5"},
    )
    assert settings.limits == Limits(lines_max=5, faults_max=2)
    assert settings.upstreams == {"gpu": Upstream(url="http://a", models=["m"], timeout_s=7.5)}


def test_a_file_is_found_by_flag_then_by_variable_then_beside_us(tmp_path):
    for name, port in (("flag.toml", 1), ("variable.toml", 2), ("bulkrate.toml", 3)):
        (tmp_path / name).write_text(f"port = {port}")
    variable = {"BULKRATE_CONFIG": str(tmp_path / "variable.toml")}

    def port(file, environ):
        return load(file=file, environ=environ, flags={}, cwd=tmp_path).port

    assert port(tmp_path / "flag.toml", variable) == 1
    assert port(None, variable) == 2
    assert port(None, {}) == 3


@pytest.mark.parametrize(
    ("toml", "environ", "flags", "words"),
    [
        ("prot = 1", {}, {}, ["given.toml", "'prot'", "'port'"]),
        ("[limit]\nlines_max = 1", {}, {}, ["'limit'", "'limits'"]),
        ("[limits]\nline_max = 1", {}, {}, ["'limits.line_max'", "'limits.lines_max'"]),
        ("[retry]\nattempt_max = 1", {}, {}, ["'retry.attempt_max'", "'retry.attempts_max'"]),
        ('[upstreams.gpu]\nurll = "x"', {}, {}, ["'upstreams.gpu.urll'", "'upstreams.gpu.url'"]),
        (None, {"BULKRATE_PROT": "1"}, {}, ["the environment", "'prot'", "'port'"]),
        (None, {"BULKRATE_LIMITS__LINE_MAX": "1"}, {}, ["the environment", "'limits.lines_max'"]),
        (None, {}, {"hots": "x"}, ["the command line", "'hots'", "'host'"]),
        ("zzz = 1", {}, {}, ["'zzz'", "known are host, port, data"]),
    ],
)
def test_an_unknown_setting_is_refused_with_its_place_and_the_nearest_name(read, toml, environ, flags, words):
    with pytest.raises(ConfigError) as refused:
        read(toml, environ, **flags)
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize(
    ("toml", "place"),
    [
        ("port = 'x'", "port"),
        ("port = 65536", "port"),
        ("port = -1", "port"),
        ("host = 3", "host"),
        ("limits = 3", "limits"),
        ("[limits]\nlines_max = 0", "limits.lines_max"),
        ("[limits]\nfile_bytes_max = -1", "limits.file_bytes_max"),
        ("[limits]\nlines_max = 1.5", "limits.lines_max"),
        ("[retry]\nattempts_max = 0", "retry.attempts_max"),
        ("[retry]\nbackoff_s_max = -1", "retry.backoff_s_max"),
        ("[timing]\nlease_s = 0", "timing.lease_s"),
        ("[timing]\npoll_s = nan", "timing.poll_s"),
        ("upstreams = 3", "upstreams"),
        ("upstream = 3", "upstreams.upstream-1.url"),
        ('upstreams.gpu = "http://a"', "upstreams"),
        ("[upstreams.gpu]\nmodels = []", "url"),
        ('[upstreams.gpu]\nurl = "localhost:8000"', "upstreams.gpu.url"),
        ('[upstreams.gpu]\nurl = "ftp://a"', "upstreams.gpu.url"),
        # `inf` once started a server whose workers died: no timer takes it, and JSON has no word for it.
        ('[upstreams.gpu]\nurl = "http://a"\ntimeout_s = inf', "timeout_s"),
        ('[upstreams.gpu]\nurl = "http://a"\ntimeout_s = 0', "timeout_s"),
        ('[upstreams.gpu]\nurl = "http://a"\nconnect_timeout_s = 0', "connect_timeout_s"),
        ('[upstreams.gpu]\nurl = "http://a"\nmax_in_flight = 0', "max_in_flight"),
        ('[upstreams.gpu]\nurl = "http://a"\nweight = 0', "weight"),
        ('[upstreams.gpu]\nurl = "http://a"\nmodels = "m"', "models"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused_with_its_place(read, toml, place):
    with pytest.raises(ConfigError, match=place):
        read(toml)


@pytest.mark.parametrize("toml", ["port = ", "\x00", "[", "port = 1\nport = 2"])
def test_a_file_that_is_no_toml_is_refused_by_its_name(read, toml):
    with pytest.raises(ConfigError, match=r"given\.toml cannot be read as TOML"):
        read(toml)


def test_a_file_that_is_not_there_or_a_folder_is_refused_by_its_name(tmp_path):
    with pytest.raises(ConfigError, match=r"no configuration file .*gone\.toml"):
        load(file=tmp_path / "gone.toml", environ={}, flags={})
    with pytest.raises(ConfigError, match="cannot be read"):
        load(file=tmp_path, environ={}, flags={})


@pytest.mark.parametrize(
    "environ",
    [
        {"BULKRATE_LIMITS": "3", "BULKRATE_LIMITS__LINES_MAX": "5"},
        {"BULKRATE_LIMITS__LINES_MAX": "5", "BULKRATE_LIMITS": "3"},
    ],
)
def test_a_variable_that_contradicts_another_is_refused_in_either_order(read, environ):
    with pytest.raises(ConfigError):
        read(None, environ)


def test_other_variables_and_the_points_of_death_are_no_settings(read):
    assert read(None, {"PATH": "x", "BULKRATED": "1", "BULKRATE_DIE_AT": "x"}) == Settings()


# --- the short form of upstreams ---


def test_the_short_form_names_upstreams_by_number(read):
    assert read(upstream=[URL, " http://b/v1/ "]).upstreams == {
        "upstream-1": Upstream(url=URL),
        "upstream-2": Upstream(url="http://b/v1"),
    }


def test_the_short_form_takes_commas_in_the_environment_and_stands_beside_named_ones(read):
    settings = read('[upstreams.gpu]\nurl = "http://a"', {"BULKRATE_UPSTREAM": "http://b,http://c"})
    assert {name: up.url for name, up in settings.upstreams.items()} == {
        "gpu": "http://a",
        "upstream-1": "http://b",
        "upstream-2": "http://c",
    }


def test_upstreams_given_by_flag_replace_those_of_the_environment(read):
    # The second of the environment's once stayed and was sent lines.
    settings = read(None, {"BULKRATE_UPSTREAM": "http://a,http://b"}, upstream=["http://c"])
    assert [up.url for up in settings.upstreams.values()] == ["http://c"]


def test_a_key_of_one_layer_is_for_the_upstreams_of_another(read):
    # It was once dropped without a word, and the upstream answered 401.
    environ = {"BULKRATE_UPSTREAM_KEY": "env:MY_KEY", "MY_KEY": "sk-1"}
    assert read(None, environ, upstream=[URL]).upstreams["upstream-1"].key == "sk-1"


def test_a_key_for_no_upstream_is_refused(read):
    with pytest.raises(ConfigError, match="upstream_key"):
        read('[upstreams.gpu]\nurl = "http://a"', {"MY_KEY": "x"}, upstream_key="env:MY_KEY")


def test_the_short_form_in_a_file_may_be_one_url(read):
    # Each letter of it once became an upstream.
    assert read(f'upstream = "{URL}"').upstreams == {"upstream-1": Upstream(url=URL)}


# --- secrets ---


def test_secrets_are_found_in_the_environment_and_in_files(read, tmp_path):
    (tmp_path / "secret").write_text("  sk-file\n")
    toml = f"""
        [upstreams.one]
        url = "http://a/"
        key = "env:MY_KEY"
        headers = {{ "x-org" = "env:MY_ORG", "x-plain" = "plain" }}
        [upstreams.two]
        url = "http://b"
        key = "file:{tmp_path}/secret"
    """
    upstreams = read(toml, {"MY_KEY": "sk-env", "MY_ORG": "org"}).upstreams
    assert upstreams["one"] == Upstream(
        url="http://a", key="sk-env", headers={"x-org": "org", "x-plain": "plain"}
    )
    assert upstreams["two"].key == "sk-file"


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("sk-secret-itself", ["holds the secret itself", "env:NAME"]),
        ("env:NOT_SET", ["NOT_SET", "not set"]),
        ("env:EMPTY", ["EMPTY", "not set"]),
        ("env:", ["not set"]),
        ("file:/nowhere/at/all", ["/nowhere/at/all", "cannot be read"]),
        ("file:/dev/null", ["/dev/null", "empty"]),
    ],
)
def test_a_secret_that_is_written_down_or_missing_is_refused_and_not_repeated(read, key, words):
    with pytest.raises(ConfigError) as refused:
        read(f'[upstreams.gpu]\nurl = "http://a"\nkey = "{key}"', {"EMPTY": ""})
    assert "upstreams.gpu.key" in str(refused.value)
    for word in words:
        assert word in str(refused.value)
    assert "sk-secret" not in str(refused.value)


def test_the_key_of_the_metrics_is_a_secret_like_the_others(read):
    assert read('metrics_key = "env:SCRAPER"', {"SCRAPER": "sk-scraper"}).metrics_key == "sk-scraper"
    with pytest.raises(ConfigError, match="metrics_key holds the secret itself"):
        read('metrics_key = "sk-scraper"')


@pytest.mark.parametrize(
    ("toml", "environ", "endpoint"),
    [
        ("", {}, None),
        ('[traces]\nendpoint = "http://a:4318/"', {}, "http://a:4318/v1/traces"),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://b"}, "http://b/v1/traces"),
        ("", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b/x"}, "http://b/x"),
        (
            '[traces]\nendpoint = "http://a"',
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://b"},
            "http://a/v1/traces",
        ),
        ('[traces]\nendpoint = "http://a"', {"OTEL_SDK_DISABLED": "true"}, None),
    ],
)
def test_traces_go_where_the_settings_say_or_opentelemetrys_own_variables(read, toml, environ, endpoint):
    assert read(toml, environ).traces.endpoint == endpoint


def test_a_collector_needs_a_whole_address(read):
    with pytest.raises(ConfigError, match=r"traces\.endpoint is 'localhost:4318'"):
        read('[traces]\nendpoint = "localhost:4318"')


# --- on the way to a worker ---

counts = st.integers(1, 2**62)
seconds = st.floats(0, 1e9, exclude_min=True)
texts = st.text(st.characters(exclude_categories=["Cs"]))
upstreams = st.builds(
    Upstream,
    url=texts,
    key=st.none() | texts,
    models=st.none() | st.lists(texts),
    aliases=st.dictionaries(texts, texts),
    headers=st.dictionaries(texts, texts),
    timeout_s=seconds,
    connect_timeout_s=seconds,
    max_in_flight=counts,
    weight=seconds,
)


def within(field: msgspec.inspect.Field):
    """Any value of a number's field, within its bounds."""
    kind = field.type
    if isinstance(kind, msgspec.inspect.IntType):
        return st.integers(kind.ge, kind.le)
    assert isinstance(kind, msgspec.inspect.FloatType)
    lowest = kind.gt if kind.ge is None else kind.ge
    return st.floats(lowest, kind.le if kind.le is not None else 1e9, exclude_min=kind.ge is None)


def section(shape):
    """Any values for a table of numbers."""
    return st.builds(
        shape, **{field.name: within(field) for field in msgspec.inspect.type_info(shape).fields}
    )


@given(
    st.builds(
        Settings,
        host=texts,
        port=st.integers(0, 65_535),
        data=texts,
        limits=section(Limits),
        retry=section(Retry),
        timing=section(Timing),
        upstreams=st.dictionaries(texts, upstreams),
    )
)
def test_settings_reach_a_worker_whole(settings):
    line = msgspec.json.encode(settings)
    assert b"\n" not in line
    assert msgspec.json.decode(line, type=Settings) == settings


def test_an_upstream_of_a_kind_is_delegated_and_needs_no_address_that_is_known(read):
    settings = read(
        '[upstreams.gpu]\nurl = "http://a"\n[upstreams.o]\nkind = "openai-batch"\nmodels = ["gpt*"]'
    )
    assert (settings.online, settings.delegated, settings.senders) == (["gpu"], ["o"], 1)
    assert settings.upstreams["o"].url == "https://api.openai.com/v1"
    assert settings.upstreams["o"].on_late == "expire"


def test_settings_of_a_provider_reach_what_is_sent_there(read):
    settings = read(
        '[upstreams.a]\nkind = "anthropic-batch"\nmodels = ["c"]\nmax_tokens = 77\n'
        'api_version = "2026-01-01"\n'
        '[upstreams.g]\nkind = "gemini-batch"\nmodels = ["g"]\napi_version = "v9"'
    )
    anthropic = vendor_of(settings.upstreams["a"])
    body = b'{"model": "c", "messages": [{"role": "user", "content": "x"}]}'
    assert b'"max_tokens":77' in anthropic.to_vendor("1", "/v1/chat/completions", body)
    assert ("anthropic-version", "2026-01-01") in anthropic.look("msgbatch_1").call.headers
    assert vendor_of(settings.upstreams["g"]).look("batches/1").call.path.startswith("/v9/")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ('kind = "gemini-batch"\nmodels = ["m"]\nmax_tokens = 5', "upstreams.o: max_tokens means nothing to"),
        ('kind = "openai-batch"', "models is missing"),
        ('kind = "openai-batch"\nprovider = "azure"\nmodels = ["m"]', "give the whole address"),
        ('kind = "openai-batch"\nprovider = "nobody"\nmodels = ["m"]', "upstreams.o: no provider 'nobody'"),
        ('kind = "together-batch"\nmodels = ["m"]', "kind"),
        ('kind = "gemini-batch"\nmodels = ["m"]\nfrom_window = "soon"', "from_window is 'soon'"),
        ('kind = "gemini-batch"\nmodels = ["m"]\non_late = "never"', "on_late"),
        ('kind = "gemini-batch"\nmodels = ["m"]\nwebhook_secret = "whsec_x"', "holds the secret itself"),
        ('url = "http://a"\nremote_attempts = 5', "give it a kind"),
        ('url = "http://a"\nenqueued_tokens = { m = 5 }', "give it a kind"),
    ],
)
def test_what_does_not_fit_a_kind_is_told(read, written, told):
    with pytest.raises(ConfigError, match=told):
        read(f"[upstreams.o]\n{written}")
