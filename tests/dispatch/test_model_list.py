"""What an upstream's answer to `/models` says about the upstream."""

import asyncio

import pytest

from bulkrate.config import Upstream
from bulkrate.core.outcome import Failed, Failure
from bulkrate.dispatch.client import Client
from bulkrate.dispatch.http import AttemptError


def ask(status: int, *, models: list[str] | None = None) -> list[str] | Failed | None:
    """Ask a server that answers every request with `status`."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %d x\r\ncontent-length: 4\r\nconnection: close\r\n\r\noops" % status)
        await writer.drain()
        writer.close()

    async def run() -> list[str] | Failed | None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            upstream = Upstream(url=f"http://127.0.0.1:{port}/v1", models=models)
            client = Client(upstream, answer_bytes_max=1 << 20)
            try:
                return await client.models()
            except AttemptError as error:
                return error.failed
            finally:
                await client.close()

    return asyncio.run(run())


@pytest.mark.parametrize("status", [200, 404, 405])
def test_a_server_without_a_list_is_there(status):
    assert ask(status) is None


@pytest.mark.parametrize("status", [500, 501])
def test_a_broken_list_does_not_matter_where_the_models_are_configured(status):
    """`transformers serve` answers 500 until its cache folder exists, and serves all the same."""
    assert ask(status, models=["tiny"]) is None


def test_a_broken_list_says_what_to_do_about_it():
    failed = ask(500)
    assert isinstance(failed, Failed)
    assert failed.failure is Failure.UNREACHABLE
    assert "'models'" in failed.detail


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_gateway_speaks_of_a_server_that_is_out(status):
    failed = ask(status, models=["tiny"])
    assert isinstance(failed, Failed)
    assert failed.failure is Failure.UNREACHABLE


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_told_apart(status):
    failed = ask(status, models=["tiny"])
    assert isinstance(failed, Failed)
    assert failed.failure is Failure.KEY_REFUSED


def test_an_upstream_that_limits_its_model_list_is_busy_and_not_out():
    failed = ask(429)
    assert isinstance(failed, Failed)
    assert failed.failure is Failure.BUSY
