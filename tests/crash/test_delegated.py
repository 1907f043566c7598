"""Dying at each named point of a group's way to a provider and back: nothing is lost or bought twice.

The provider is a double that counts what it was asked to do, and would bill.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from bulkrate.engine.points import POINTS
from bulkrate.testing.providers import (
    AnthropicDouble,
    Double,
    Faults,
    GeminiDouble,
    MistralDouble,
    OpenAIProxy,
    serving,
)
from tests.crash.accounting import check_books, check_ended, fresh_ids, input_of
from tests.crash.servers import deaths
from tests.support.processes import Process, Server, running, submit, wait_until, wait_until_ended

pytestmark = pytest.mark.server

HERE = [point for point in POINTS if point.startswith("delegate.")]
LINES = 40
# Results of so many lines are committed at a time, so that a death between two commits can be had.
MANY = 12_000


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory, upstream: Process) -> Iterator[Server]:
    """The server that answers behind OpenAI's double."""
    with running(Server(tmp_path_factory.mktemp("provider"), upstream.url)) as server:
        yield server


def settings(folder: Path, url: str, kind: str, model: str, key: str) -> tuple[str, ...]:
    file = folder / "bulkrate.toml"
    file.write_text(
        f"""
        [upstreams.provider]
        kind = "{kind}"
        url = "{url}"
        key = "env:PROVIDER_KEY"
        models = ["{model}"]
        poll_s = 0.1
        """
    )
    return ("--config", str(file))


def bought(double: Double, ids: list[str]) -> Counter[str]:
    """How often each line was answered, and so billed, by what it asked."""
    return Counter({custom_id: double.books.texts[f"hello {custom_id}"] for custom_id in ids})


def check_nothing_is_left(double: Double) -> None:
    """The provider keeps no file of ours."""
    wait_until(lambda: list(double.files), lambda files: not files)


@pytest.mark.parametrize("point", [point for point in HERE if point != "delegate.collecting"])
def test_a_worker_killed_at_any_point_buys_nothing_twice(
    point: str, data: Path, tmp_path: Path, provider: Server
) -> None:
    ids = fresh_ids(LINES)
    double = OpenAIProxy(provider.url)
    with serving(double) as url:
        flags = settings(tmp_path, f"{url}/v1", "openai-batch", "gpt-4o-mini", double.key)
        env = {"PROVIDER_KEY": double.key, "BULKRATE_DIE_AT": f"{point}:1:{tmp_path / 'died'}"}
        with running(Server(data, flags=flags, env=env)) as server:
            check_ended(server, submit(server.client, input_of(ids)).id, ids)
            # A point behind the end of the batch is reached, and survived, all the same.
            wait_until(lambda: deaths(server), lambda died: died == 1)
            check_nothing_is_left(double)
    assert bought(double, ids) == Counter(dict.fromkeys(ids, 1))
    assert len(double.books.created) == 1


@pytest.mark.parametrize("point", ["delegate.asked", "delegate.created", "delegate.counted"])
def test_a_whole_server_killed_goes_on_with_what_was_bought(
    point: str, data: Path, tmp_path: Path, provider: Server
) -> None:
    ids = fresh_ids(LINES)
    double = OpenAIProxy(provider.url)
    with serving(double) as url:
        flags = settings(tmp_path, f"{url}/v1", "openai-batch", "gpt-4o-mini", double.key)
        env = {"PROVIDER_KEY": double.key}
        with running(Server(data, flags=flags, env={**env, "BULKRATE_DIE_AT": f"{point}:1"})) as server:
            batch = submit(server.client, input_of(ids))
            server.wait_for_log("process_died")
            server.kill()
        with running(Server(data, flags=flags, env=env)) as server:
            batch = check_ended(server, batch.id, ids)
            check_nothing_is_left(double)
    assert bought(double, ids) == Counter(dict.fromkeys(ids, 1))
    assert len(double.books.created) == 1


@pytest.mark.slow
def test_a_collection_that_dies_half_way_counts_each_result_once(
    data: Path, tmp_path: Path, provider: Server
) -> None:
    ids = fresh_ids(MANY)
    double = OpenAIProxy(provider.url)
    with serving(double) as url:
        flags = settings(tmp_path, f"{url}/v1", "openai-batch", "gpt-4o-mini", double.key)
        die_at = f"delegate.collecting:1:{tmp_path / 'died'}"
        env = {"PROVIDER_KEY": double.key, "BULKRATE_DIE_AT": die_at}
        with running(Server(data, flags=flags, env=env)) as server:
            batch = check_ended(server, submit(server.client, input_of(ids)).id, ids, timeout_s=120)
            assert deaths(server) == 1
            [bill] = batch.model_extra["delegated"]
            assert bill["lines"] == MANY
    assert bought(double, ids) == Counter(dict.fromkeys(ids, 1))


@pytest.mark.slow
def test_a_batch_outlives_a_death_at_every_point_and_a_provider_in_trouble(
    data: Path, tmp_path: Path, provider: Server
) -> None:
    ids = fresh_ids(LINES)
    double = OpenAIProxy(provider.url)
    double.faults = Faults(
        lose_upload=1, lose_create=1, fail_look=2, fail_list=1, truncate=1, expire_after=15, jobs=1
    )
    points = [point for point in HERE if point != "delegate.collecting"]
    die_at = ",".join(f"{point}:1:{tmp_path / point}" for point in points)
    with serving(double) as url:
        flags = settings(tmp_path, f"{url}/v1", "openai-batch", "gpt-4o-mini", double.key)
        env = {"PROVIDER_KEY": double.key, "BULKRATE_DIE_AT": die_at}
        with running(Server(data, flags=flags, env=env)) as server:
            check_ended(server, submit(server.client, input_of(ids)).id, ids, timeout_s=120)
            wait_until(
                lambda: [point for point in points if not (tmp_path / point).exists()], lambda left: not left
            )
            check_nothing_is_left(double)
    assert bought(double, ids) == Counter(dict.fromkeys(ids, 1))
    assert [one["lines"] for one in double.books.created] == [LINES, LINES - 15]


@pytest.mark.parametrize(
    ("vendor", "point"),
    [
        # Keeps no metadata: a batch is known as ours only by its results.
        (AnthropicDouble, "delegate.intended"),
        (AnthropicDouble, "delegate.created"),
        (AnthropicDouble, "delegate.counted"),
        (GeminiDouble, "delegate.uploaded"),
        (GeminiDouble, "delegate.created"),
        (MistralDouble, "delegate.uploaded"),
        (MistralDouble, "delegate.created"),
    ],
)
def test_no_provider_is_asked_twice(vendor: type[Double], point: str, data: Path, tmp_path: Path) -> None:
    ids = fresh_ids(LINES)
    double = vendor()
    with serving(double) as url:
        flags = settings(tmp_path, url, f"{double.name}-batch", "gpt-4o-mini", double.key)
        env = {"PROVIDER_KEY": double.key, "BULKRATE_DIE_AT": f"{point}:1:{tmp_path / 'died'}"}
        with running(Server(data, flags=flags, env=env)) as server:
            check_ended(server, submit(server.client, input_of(ids)).id, ids)
            assert deaths(server) == 1
            check_nothing_is_left(double)
    assert bought(double, ids) == Counter(dict.fromkeys(ids, 1))
    assert len(double.books.created) == 1


def test_a_kill_at_a_random_moment_costs_no_money(data: Path, tmp_path: Path, provider: Server) -> None:
    ids = fresh_ids(LINES)
    double = OpenAIProxy(provider.url)
    double.faults = Faults(slow_s=1.5)
    with serving(double) as url:
        flags = settings(tmp_path, f"{url}/v1", "openai-batch", "gpt-4o-mini", double.key)
        env = {"PROVIDER_KEY": double.key}
        with running(Server(data, flags=flags, env=env)) as server:
            batch = submit(server.client, input_of(ids))
            wait_until(lambda: double.books.created, bool)
            server.kill()
        with running(Server(data, flags=flags, env=env)) as server:
            wait_until_ended(server.client, batch.id)
            check_books(server.client, batch.id, ids)
    assert bought(double, ids) == Counter(dict.fromkeys(ids, 1))
