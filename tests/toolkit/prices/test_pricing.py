"""The price book: what is shipped, what is refreshed, and which of them counts."""

from __future__ import annotations

import json
import threading
import time
import zipfile
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer

import msgspec
import pytest

from bulkrate.core.money.price import BATCH, STANDARD, Mark, cost
from bulkrate.core.money.pricelist import PricesUnfit, encoded
from bulkrate.errors import ConfigError, ServerUnreachable
from bulkrate.providers.usage import Usage
from bulkrate.toolkit.prices import pricing
from bulkrate.toolkit.prices.pricing import PriceBook, cache_path, newest, refreshed, shipped, update

M = 1_000_000
USAGE = Usage(M, 0, M, 0, 2 * M)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def original(tmp_path):
    """Writes a file as litellm's, with the shipped models in it and others beside them."""

    def write(name="models.json", **models):
        plain = {
            key: {
                "litellm_provider": entry.provider,
                "mode": entry.mode,
                "input_cost_per_token": (entry.rates["standard"].input or 0) / 1e12,
                "output_cost_per_token": (entry.rates["standard"].output or 0) / 1e12,
            }
            for key, entry in shipped().models.items()
        }
        path = tmp_path / name
        path.write_text(json.dumps(plain | models))
        return path

    return write


NEW = {
    "litellm_provider": "openai",
    "mode": "chat",
    "input_cost_per_token": 1e-06,
    "output_cost_per_token": 1e-06,
}


def test_the_shipped_list_is_whole_and_says_where_it_is_from():
    prices = shipped()
    assert len(prices.models) > 3_000
    assert prices.head.source.startswith("litellm ")
    assert len(prices.head.sha256) == 64
    assert sum("batch" in entry.rates for entry in prices.models.values()) > 400


def test_the_shipped_list_loads_at_once():
    began = time.perf_counter()
    shipped()
    assert time.perf_counter() - began < 0.5  # 3 ms; on a busy machine it may take some more


def test_well_known_prices_are_as_published():
    book = PriceBook.load()
    for model, standard, batch in (
        ("gpt-4o-mini", "0.75", "0.375"),
        ("openai/gpt-4o-mini-2024-07-18", "0.75", "0.375"),
        ("azure/gpt-4o-mini", "0.75", "0.375"),
        ("claude-sonnet-4-5", "18.00", "9.00"),
    ):
        price = book.price(model)
        assert cost(USAGE, price).usd == Decimal(standard)
        told = cost(USAGE, price, BATCH)
        assert (told.usd, told.mark) == (Decimal(batch), Mark.PUBLISHED)


def test_every_listed_model_finds_itself():
    book = PriceBook.load()
    for name in book.prices.models:
        price = book.price(name)
        assert price.key == name
        assert STANDARD in price.tiers


def test_overrides_and_discounts_are_the_users():
    book = PriceBook.load(
        overrides={"mine": {"input": 1, "output": 2}}, discounts={"https://llm.example.com/v1": "0.25"}
    )
    price = book.price("mine", "https://llm.example.com/v1/")
    assert cost(USAGE, price).usd == Decimal("3.00")
    assert cost(USAGE, price, BATCH).usd == Decimal("2.25")
    assert cost(USAGE, book.price("mine"), BATCH).usd is None


@pytest.mark.parametrize("wrong", [{"overrides": {"m": {"inptu": 1}}}, {"discounts": {"https://x": 50}}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ConfigError):
        PriceBook.load(**wrong)


def test_a_refreshed_list_counts_when_it_is_newer(original):
    assert refreshed() is None
    new, changes, path = update(str(original(**{"brand-new": NEW})))
    assert path == cache_path()
    assert changes.added == ("brand-new",)
    assert PriceBook.load().price("brand-new").key == "brand-new"
    assert (refreshed().head, newest().head) == (new.head, new.head)


def test_an_older_list_in_the_cache_does_not_count(original):
    new, _, path = update(str(original(**{"brand-new": NEW})))
    old = msgspec.structs.replace(new, head=msgspec.structs.replace(new.head, date="2020-01-01"))
    path.write_bytes(encoded(old))
    assert newest().head == shipped().head


def test_a_broken_list_in_the_cache_does_not_count():
    cache_path().parent.mkdir(parents=True)
    cache_path().write_bytes(b'{"head"')
    assert newest().head == shipped().head


def test_a_refused_list_leaves_the_old_one(original, tmp_path):
    update(str(original()))
    before = cache_path().read_bytes()
    (tmp_path / "few.json").write_text(json.dumps({"a": NEW}))
    with pytest.raises(PricesUnfit, match="prices of 1 models"):
        update(str(tmp_path / "few.json"))
    assert cache_path().read_bytes() == before
    assert [path.name for path in cache_path().parent.iterdir()] == ["prices.json"]


def test_litellms_wheel_will_do(original, tmp_path):
    wheel = tmp_path / "litellm-9.8.7-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.write(original(), "litellm/model_prices_and_context_window_backup.json")
    new, _, _ = update(str(wheel), tmp_path / "there" / "prices.json")
    assert new.head.source == "litellm 9.8.7"
    assert (tmp_path / "there" / "prices.json").read_bytes() == encoded(new)
    assert refreshed() is None


def test_what_is_no_such_wheel_is_refused(tmp_path):
    wheel = tmp_path / "other-1.whl"
    wheel.write_bytes(b"no zip")
    with pytest.raises(PricesUnfit, match="is no wheel"):
        update(str(wheel))
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("other/data.json", "{}")
    with pytest.raises(PricesUnfit, match="without litellm's file"):
        update(str(wheel))


def test_a_missing_file_and_an_unwritable_place_are_named(original, tmp_path):
    with pytest.raises(PricesUnfit, match=r"nope\.json cannot be read"):
        update(str(tmp_path / "nope.json"))
    (tmp_path / "file").write_text("")
    with pytest.raises(PricesUnfit, match="cannot be written"):
        update(str(original()), tmp_path / "file" / "prices.json")


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        content = self.server.content
        self.send_response(200 if content else 404)
        self.send_header("content-length", str(len(content)))
        self.send_header("last-modified", "Fri, 01 Jan 2027 10:00:00 GMT")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *words):
        pass


@pytest.fixture
def published():
    """A server on this machine that publishes a file; its address, and a place for the content."""
    with HTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.content = b""
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server, f"http://127.0.0.1:{server.server_port}/models.json"
        server.shutdown()
        thread.join()


def test_a_list_is_fetched_with_the_day_the_server_tells(published, original):
    server, url = published
    server.content = original(**{"brand-new": NEW}).read_bytes()
    new, changes, _ = update(url)
    assert (new.head.source, new.head.date) == (url, "2027-01-01")
    assert changes.added == ("brand-new",)


def test_an_address_without_a_list_is_told(published):
    _, url = published
    with pytest.raises(ServerUnreachable, match="answers 404"):
        update(url)


def test_an_endless_file_is_not_read_to_its_end(published, monkeypatch):
    server, url = published
    monkeypatch.setattr(pricing, "_ORIGINAL_BYTES_MAX", 1000)
    server.content = b"x" * 1001
    with pytest.raises(PricesUnfit, match="more than 1000 bytes"):
        update(url)


def test_nobody_there_is_told_with_another_way(published):
    server, url = published
    server.shutdown()
    server.server_close()
    with pytest.raises(ServerUnreachable, match="another way"):
        update(url)
