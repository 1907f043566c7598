"""HTTP to one upstream: bytes come back as they were sent, and what goes wrong has a name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.config import Upstream
from bulkrate.core.outcome import Answer, Failed, Failure
from bulkrate.dispatch.client import Client, _model_ids, read_retry_after
from bulkrate.dispatch.http import AttemptError

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("milliseconds", "after", "seconds"),
    [
        (None, None, None),
        (None, "5", 5.0),
        (None, "2.5", 2.5),
        (None, "0", 0.0),
        (None, "-3", 0.0),
        ("1500", None, 1.5),
        ("1500", "9", 1.5),
        ("soon", "9", 9.0),
        (None, "soon", None),
        (None, "", None),
        (None, "Fri, 02 Jan 2026 03:05:05 GMT", 60.0),
        (None, "Fri, 02 Jan 2026 03:05:05 -0000", 60.0),  # it once raised, for it has no zone
        (None, "Fri, 02 Jan 2026 05:05:05 +0200", 60.0),
        (None, "Thu, 01 Jan 2026 00:00:00 GMT", 0.0),  # it has passed
        # Neither is a number to wait for: the one would be for ever, the other is never over.
        (None, "inf", None),
        (None, "nan", None),
        ("inf", "7", 7.0),
    ],
)
def test_a_retry_after_is_seconds_milliseconds_or_a_date(milliseconds, after, seconds):
    assert read_retry_after(milliseconds, after, now=NOW) == seconds


dates = st.datetimes().map(lambda when: when.strftime("%a, %d %b %Y %H:%M:%S GMT"))
headers = st.none() | st.text() | st.floats().map(str) | st.integers().map(str) | dates


@given(headers, headers)
def test_any_header_is_a_wait_that_ends_or_none(milliseconds, after):
    seconds = read_retry_after(milliseconds, after, now=NOW)
    assert seconds is None or 0 <= seconds < float("inf")


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        (b'{"object":"list","data":[{"id":"a","extra":1},{"id":"b"}]}', ["a", "b"]),
        (b'{"data":[]}', []),
        (b'{"data":null}', None),
        (b'{"models":[]}', None),
        (b"[]", None),
        (b"<html>", None),
        (b"", None),
        (b'{"data":[{"id":3}]}', None),
        (b'{"data":[],"x":' + b"[" * 100_000, None),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_list_of_models_is_read_or_there_is_none(content, ids):
    assert _model_ids(content) == ids


# --- over a real socket ---


@pytest.fixture(params=["direct", "library"], autouse=True)
def carried(request, monkeypatch):
    """By either way of sending a request, the same comes of it."""
    if request.param == "library":
        monkeypatch.setattr("bulkrate.dispatch.client.suits", lambda *_: False)


Reply = Callable[[bytes], bytes | None]


@asynccontextmanager
async def upstream(reply: Reply, **settings):
    """A client of a server that answers each request with the bytes of `reply`, or hangs up on None."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if b"content-length" in line
                ),
                0,
            )
            told = reply(head + await reader.readexactly(length))
            if told is not None:
                writer.write(told)
                await writer.drain()
        finally:
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        limit = settings.pop("answer_bytes_max", 1 << 20)
        client = Client(Upstream(url=f"http://127.0.0.1:{port}/v1", **settings), answer_bytes_max=limit)
        try:
            yield client
        finally:
            await client.close()


def post(reply: Reply, body: bytes = b"{}", **settings) -> Answer | Failed:
    async def run() -> Answer | Failed:
        async with upstream(reply, **settings) as client:
            try:
                return await client.post("/v1/chat/completions", body)
            except AttemptError as error:
                return error.failed

    return asyncio.run(run())


def http(status: int, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} x", f"content-length: {len(body)}", "connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def test_a_line_is_posted_as_it_is_and_its_answer_comes_back_as_it_is():
    seen = []

    def reply(request: bytes) -> bytes:
        seen.append(request)
        return http(200, b'{ "a":\t"\\u00e9" }\n', "x-request-id: req_1")

    answer = post(reply, b'{"b" : 1.50}', key="sk-1", headers={"x-org": "o"})
    assert answer == Answer(200, b'{ "a":\t"\\u00e9" }\n', "req_1")
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert body == b'{"b" : 1.50}'
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1")
    for header in (b"authorization: bearer sk-1", b"x-org: o", b"content-type: application/json"):
        assert header in head.lower()


def test_headers_of_one_request_are_sent_with_that_one_alone():
    seen = []

    def reply(request: bytes) -> bytes:
        seen.append(b"traceparent: 00-1-2-01" in request.lower())
        return http(200, b"{}")

    async def run() -> None:
        async with upstream(reply) as client:
            for headers in (None, {"traceparent": "00-1-2-01"}, None):
                await client.post("/v1/chat/completions", b"{}", headers)

    asyncio.run(run())
    assert seen == [False, True, False]


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
def test_an_error_comes_back_with_its_status_body_and_hint(status):
    answer = post(lambda _: http(status, b"oops", "retry-after: 3"))
    assert answer == Answer(status, b"oops", None, 3.0)


def test_a_hint_beside_a_success_is_none():
    assert post(lambda _: http(200, b"{}", "retry-after: 3")).retry_after_s is None


def test_a_redirect_is_not_followed():
    assert post(lambda _: http(307, b"", "location: http://127.0.0.1:1/")).status == 307


def test_an_answer_may_be_of_the_longest_length_and_no_longer():
    assert post(lambda _: http(200, b"x" * 1_000), answer_bytes_max=1_000).body == b"x" * 1_000
    failed = post(lambda _: http(200, b"x" * 1_001), answer_bytes_max=1_000)
    assert failed.failure is Failure.GARBLED
    assert "1000 bytes" in failed.detail


def test_an_endless_answer_is_not_gathered():
    chunk = b"400\r\n" + b"x" * 1024 + b"\r\n"
    reply = b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n" + chunk * 100
    assert post(lambda _: reply, answer_bytes_max=1_000).failure is Failure.GARBLED


@pytest.mark.parametrize(
    "reply",
    [
        None,
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 x\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhal",
    ],
)
def test_a_connection_that_breaks_after_the_request_is_lost(reply):
    assert post(lambda _: reply).failure is Failure.LOST


def test_nobody_there_is_unreachable_and_no_secret_is_told():
    async def run() -> Failed:
        client = Client(Upstream(url="http://127.0.0.1:1/v1", key="sk-secret"), answer_bytes_max=1)
        with pytest.raises(AttemptError) as error:
            await client.post("/v1/chat/completions", b"{}")
        await client.close()
        return error.value.failed

    failed = asyncio.run(run())
    assert failed.failure is Failure.UNREACHABLE
    assert "sk-secret" not in failed.detail


def test_no_answer_in_time_is_a_time_out():
    async def run() -> Failed:
        release = asyncio.Event()

        async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await release.wait()
            writer.close()

        async with await asyncio.start_server(hold, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            client = Client(Upstream(url=f"http://127.0.0.1:{port}/v1", timeout_s=0.05), answer_bytes_max=1)
            with pytest.raises(AttemptError) as error:
                await client.post("/v1/chat/completions", b"{}")
            release.set()
            await client.close()
            return error.value.failed

    failed = asyncio.run(run())
    assert failed.failure is Failure.TIMED_OUT
    assert "0.05 s" in failed.detail


def test_the_time_of_a_date_is_measured_from_now():
    later = (datetime.now(UTC) + timedelta(seconds=100)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    answer = post(lambda _: http(429, b"", f"retry-after: {later}"))
    assert 50 < answer.retry_after_s <= 100
