"""OpenAI's own SDK, with its client for Azure and with the plain one, finds the proxy to be Azure."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from bulkrate.testing.providers import AzureProxy, serving
from tests.support.processes import Server
from tests.testing.conftest import Running
from tests.testing.test_openai_proxy import created, ended, lines_of

pytestmark = pytest.mark.server


@pytest.fixture
def proxy(server: Server) -> Iterator[Running]:
    double = AzureProxy(server.url)
    with serving(double) as url:
        yield Running(double, url)


@pytest.fixture(params=["of Azure", "plain"])
def sdk(request: pytest.FixtureRequest, proxy: Running) -> Iterator[openai.OpenAI]:
    if request.param == "plain":
        made = openai.OpenAI(
            base_url=f"{proxy.url}/openai/v1",
            api_key="unused",
            default_headers={"api-key": "test-key"},
            max_retries=0,
        )
    else:
        made = openai.AzureOpenAI(
            azure_endpoint=proxy.url, api_key="test-key", api_version="2025-04-01-preview", max_retries=0
        )
    with made:
        yield made


def test_a_batch_is_answered_with_an_error_file_of_no_bytes(proxy: Running, sdk: openai.OpenAI) -> None:
    proxy.tell("faults", slow_s=1000, expire_after=1)
    made = created(sdk, 2)
    assert (made.output_file_id, made.error_file_id) == ("", "")
    proxy.tell("clock", advance_s=100_000)
    batch = ended(sdk, made.id)
    assert batch.status == "completed"  # nothing expires there
    answers = lines_of(sdk, batch.output_file_id)
    assert [set(line) for line in answers] == [{"custom_id", "response", "error"}] * 2
    assert sdk.files.content(batch.error_file_id).content == b""
    assert [one.id for one in sdk.batches.list()] == [made.id]
    sdk.files.delete(batch.output_file_id)


def test_a_full_quota_is_a_bad_request(proxy: Running, sdk: openai.OpenAI) -> None:
    proxy.tell("faults", quota_full=1)
    with pytest.raises(openai.BadRequestError) as caught:
        created(sdk, 1)
    assert caught.value.code == "token_limit_exceeded"


def test_a_wrong_key_is_refused(proxy: Running) -> None:
    with (
        openai.AzureOpenAI(
            azure_endpoint=proxy.url, api_key="wrong", api_version="2024-10-21", max_retries=0
        ) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.batches.list()
