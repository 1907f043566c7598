"""Addresses and headers that HTTP cannot carry are refused before a process is started with them."""

from __future__ import annotations

import os

import pytest

from bulkrate.config import load
from bulkrate.config.reach import misread_headers, misread_url
from bulkrate.errors import ConfigError

GOOD = [
    "http://localhost:8000/v1",
    "https://api.example.com/v1",
    "http://user:p@ss@gpu_1:8000/v1",
    "http://[::1]:8000/v1",
    "http://é.example/v1",
    "http://localhost.:80",
]


@pytest.fixture
def read(tmp_path):
    """Load from a text of TOML and an environment."""

    def read(toml: str, **environ: str):
        file = tmp_path / "given.toml"
        file.write_text(toml)
        return load(file=file, environ=environ, flags={})

    return read


@pytest.mark.parametrize("url", GOOD)
def test_an_address_that_can_be_asked_is_taken(url):
    assert misread_url(url) is None


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("localhost:8000/v1", "http://"),
        ("ftp://gpu/v1", "http://"),
        # Each of these once ended the sender, again and again, with all the other upstreams that it drives.
        ("http://gpu:99999/v1", "port"),
        ("http://gpu:abc/v1", "port"),
        ("http://gpu:0/v1", "port"),
        ("http://gp u/v1", "space"),
        ("http://gpu/v1\n", "space"),
        ("http:///v1", "no host"),
        ("http://[::1/v1", "host"),
        ("http://a..b/v1", "host"),
        ("http://%zz/v1", "host"),
        ("http://gpu/v1?key=1", "no ? or #"),
        ("http://gpu/v1#x", "no ? or #"),
    ],
)
def test_an_address_that_cannot_be_asked_is_refused_at_the_start_with_the_reason(read, url, reason):
    assert reason in (misread_url(url) or "")
    for setting in ("url", "metrics_url"):
        others = "" if setting == "url" else 'url = "http://gpu/v1"\n'
        with pytest.raises(ConfigError, match=rf"upstreams\.gpu\.{setting} is .*; give the whole address"):
            read(f"[upstreams.gpu]\n{others}{setting} = {url!r}".replace("\\n", "\n").replace("'", "'''"))


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings/", "/api/v1/responses"])
def test_the_address_of_one_endpoint_is_not_that_of_the_api(read, path):
    # Once each line was answered 404, and the whole batch was in the error file within seconds.
    with pytest.raises(ConfigError, match=r"upstreams\.gpu\.url is .*; end it after the /v1"):
        read(f'[upstreams.gpu]\nurl = "http://gpu:8000{path}"')


@pytest.mark.parametrize("path", ["", "/v1", "/v1/", "/embeddings", "/v1/chat"])
def test_an_api_may_be_at_any_other_path(read, path):
    assert (
        read(f'[upstreams.gpu]\nurl = "http://gpu:8000{path}"')
        .upstreams["gpu"]
        .url.endswith(path.rstrip("/"))
    )


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ('{ "x y" = "1" }', "'x y' is no name of a header"),
        ('{ "" = "1" }', "'' is no name of a header"),
        ('{ x = "env:TOKEN" }', "'x' has a line break"),
        ('{ x = "sk-hidden\\r\\nevil: 1" }', "'x' has a line break"),
        ('{ Content-Length = "5" }', "'Content-Length' is for each request to say"),
        ('{ transfer-encoding = "chunked" }', "'transfer-encoding' is for each request to say"),
    ],
)
def test_a_header_that_no_request_can_have_is_refused_without_its_value(read, headers, words):
    with pytest.raises(ConfigError) as refused:
        read(f'[upstreams.gpu]\nurl = "http://gpu/v1"\nheaders = {headers}', TOKEN="sk-hidden\n")
    assert words in str(refused.value)
    assert "sk-hidden" not in str(refused.value)


def test_headers_of_one_line_are_taken():
    assert misread_headers({"x-a": "a b\tc", "authorization": "Basic é"}) is None


@pytest.mark.parametrize(
    "setting", ['metrics_key = "env:TOKEN"', '[upstreams.gpu]\nurl = "http://a"\nkey = "env:TOKEN"']
)
def test_a_key_with_a_line_break_is_refused_at_the_start_without_being_told(read, setting):
    with pytest.raises(ConfigError, match=r"key: what env:TOKEN leads to has a line break") as refused:
        read(setting, TOKEN="sk-hidden\r")
    assert "sk-hidden" not in str(refused.value)


def test_a_file_of_authorities_holds_certificates(read, tmp_path):
    empty = tmp_path / "authorities.pem"
    empty.write_text("no certificate\n")
    with pytest.raises(ConfigError, match=r"upstreams\.gpu\.ca_file is .*holds no certificate"):
        read(f'[upstreams.gpu]\nurl = "https://a"\nca_file = "{empty}"')
    with pytest.raises(ConfigError, match=r"upstreams\.gpu\.ca_file is .*cannot be read: No such file"):
        read(f'[upstreams.gpu]\nurl = "https://a"\nca_file = "{empty}{os.sep}x"'.replace(f"{os.sep}x", "x"))


@pytest.mark.parametrize("name", ["", " ", "a\\nb"])
def test_an_upstream_has_a_name_that_can_be_shown(read, name):
    with pytest.raises(ConfigError, match="no name for an upstream"):
        read(f'[upstreams."{name}"]\nurl = "http://a"')


def test_a_data_folder_without_a_name_is_not_the_current_one(read):
    with pytest.raises(ConfigError, match="data is ''"):
        read('data = ""')
