"""A job whose lines a provider's batch API answers in part, and an online upstream when time is up."""

from __future__ import annotations

import os
from decimal import Decimal

import pytest

import bulkrate
from bulkrate.testing.providers import Faults, OpenAIProxy, serving
from bulkrate.toolkit.jobs.record import JobFolder
from bulkrate.toolkit.jobs.summary import summary_lines
from bulkrate.wording import typed
from tests.support.processes import Process, Server, wait_until

pytestmark = pytest.mark.server

MODEL = "half-and-half"
# Seconds from the creation until late lines go online.
LATE_AFTER_S = 15
CONFIG = """
[upstreams.provider]
kind = "openai-batch"
url = "{there}/v1"
key = "env:PROVIDER_KEY"
models = ["{model}"]
poll_s = 0.05
on_late = "online"
late_s = {late_s}

[upstreams.gpu]
url = "{here}"
models = ["{model}"]

[prices.{model}]
input = 3
output = 12
batch_discount = 0.5
"""


def test_whoever_looks_on_is_told_what_a_provider_is_waited_for(
    tmp_path, monkeypatch, server: Server, upstream: Process
) -> None:
    double = OpenAIProxy(server.url)
    monkeypatch.setenv("PROVIDER_KEY", "another")
    with serving(double) as url:
        config = tmp_path / "bulkrate.toml"
        config.write_text(CONFIG.format(there=url, here=upstream.url, model=MODEL, late_s=60))
        job = bulkrate.map(["one"], prompt="{{ text }}", model=MODEL, config=str(config), data=tmp_path)
        told = wait_until(lambda: job.summary, lambda summary: summary["waiting_for"] is not None)
        folder = JobFolder(tmp_path, job.id)
        assert summary_lines(folder.load(), typed, None)[-1] == f"waits     {told['waiting_for']}"
        job.cancel()
    assert told["state"] == "running"
    assert told["waiting_for"] == "provider: the key is not valid"
    assert job.summary["waiting_for"] is None


def test_what_was_bought_cheap_and_what_was_bought_dear_add_up(
    tmp_path, monkeypatch, server: Server, upstream: Process
) -> None:
    double = OpenAIProxy(server.url)
    double.faults = Faults(slow_s=1_000)
    monkeypatch.setenv("PROVIDER_KEY", double.key)
    with serving(double) as url:
        config = tmp_path / "bulkrate.toml"
        late_s = 86_400 - LATE_AFTER_S
        config.write_text(CONFIG.format(there=url, here=upstream.url, model=MODEL, late_s=late_s))
        rows = [{"text": f"half {os.getpid()} {number}"} for number in range(10)]
        job = bulkrate.map(rows, prompt="{{ text }}", model=MODEL, config=str(config), data=tmp_path)
        wait_until(lambda: double.books.created, bool)
        double._ahead_s += 450  # four of ten have run
        job.wait()
    told = job.summary
    assert (told["answered"], told["failed"]) == (10, 0)
    sold = {each["price"]: each for each in told["purchases"]}
    assert {price: each["answers"] for price, each in sold.items()} == {"batch": 4, "standard": 6}
    for price, share in (("batch", Decimal("0.5")), ("standard", Decimal(1))):
        usage = sold[price]["usage"]
        picos = Decimal(3 * usage["input_tokens"] + 12 * usage["output_tokens"]) * share
        assert Decimal(sold[price]["cost_usd"]) == picos / 10**6
    costs = [result.cost for result in job.result()]
    assert sum(costs) == sum(Decimal(each["cost_usd"]) for each in sold.values()) == Decimal(told["cost_usd"])
    assert sum(double.books.texts[row["text"]] for row in rows) == 4
