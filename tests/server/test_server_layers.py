"""The two layers around every route: headers on each answer, and an answer for each failure."""

import asyncio
import json
import logging

import pytest
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse

from bulkrate.errors import (
    BlobError,
    Conflict,
    InvalidRequest,
    NoSpace,
    NotFound,
    RangeNotSatisfiable,
    StoreError,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from bulkrate.server.errors import AnswerErrors
from bulkrate.server.headers import StampHeaders
from bulkrate.server.listening import while_listening


def ask(app, method="GET", path="/v1/batches", headers=()):
    """The status, headers and body that an ASGI app answers with; None if it answers nothing."""
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": list(headers)}
    asyncio.run(StampHeaders(AnswerErrors(app))(scope, receive, send))
    if not sent:
        return None
    head = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], head, b"".join(message.get("body", b"") for message in sent[1:])


def raising(failure):
    async def app(scope, receive, send):
        raise failure

    return app


@pytest.mark.parametrize(
    ("refused", "status", "steering"),
    [
        (InvalidRequest("m", code="invalid_value", param="endpoint"), 400, {}),
        (Unauthorized("m"), 401, {}),
        (NotFound("m"), 404, {}),
        (Conflict("m"), 409, {"x-should-retry": "false"}),  # every SDK repeats a 409 unless told not to
        (TooLarge("m"), 413, {}),
        (RangeNotSatisfiable("m"), 416, {}),
        (Unavailable("m"), 503, {"x-should-retry": "true", "retry-after": "5"}),
    ],
)
def test_a_refusal_is_openais_error_body(refused, status, steering):
    got, headers, body = ask(raising(refused))
    assert got == status
    assert json.loads(body) == {
        "error": {"message": "m", "type": refused.type, "param": refused.param, "code": refused.code}
    }
    assert headers["content-type"] == "application/json"
    assert {name: headers[name] for name in ("x-should-retry", "retry-after") if name in headers} == steering


def test_a_surprise_is_logged_without_its_text(caplog):
    with caplog.at_level(logging.ERROR):
        status, headers, body = ask(raising(ValueError("a customer's prompt")))
    assert status == 500
    assert json.loads(body)["error"]["type"] == "server_error"
    assert headers["x-request-id"] in json.loads(body)["error"]["message"]
    assert headers["x-request-id"] in caplog.text
    assert "ValueError" in caplog.text
    assert "prompt" not in caplog.text + body.decode()


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        (NoSpace("no room for files/file-1"), "disk is full"),
        (BlobError("files/file-1 cannot be read"), "its own files"),
        (StoreError("the store failed: locked"), "its own records"),
    ],
)
def test_trouble_of_our_own_is_503_and_logged_in_full(caplog, trouble, told):
    with caplog.at_level(logging.ERROR):
        status, headers, body = ask(raising(trouble))
    assert (status, headers["x-should-retry"]) == (503, "true")
    assert json.loads(body)["error"]["type"] == "server_error"
    assert told in body.decode()
    assert str(trouble) not in body.decode()
    assert str(trouble) in caplog.text


def test_a_client_that_left_gets_nothing():
    assert ask(raising(ClientDisconnect())) is None


def test_a_request_cut_off_by_a_stop_may_be_sent_again():
    status, headers, _ = ask(raising(asyncio.CancelledError()))
    assert (status, headers["x-should-retry"]) == (503, "true")


def test_a_failure_after_the_answer_began_adds_nothing_to_it(caplog):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise NotFound("gone")

    status, _, body = ask(app)
    assert (status, body) == (200, b"half")
    assert "gone" in caplog.text


def test_every_answer_carries_openais_headers():
    _, headers, _ = ask(PlainTextResponse("hello"))
    assert headers["x-request-id"].startswith("req_")
    assert len(headers["x-request-id"]) == 36
    assert headers["openai-version"] == "2020-10-01"
    assert int(headers["openai-processing-ms"]) >= 0
    assert ask(PlainTextResponse(""))[1]["x-request-id"] != headers["x-request-id"]


@pytest.mark.parametrize(("sent", "echoed"), [(b"my-id-1", "my-id-1"), (b"a b", None), (b"x" * 513, None)])
def test_a_sane_client_request_id_is_echoed(sent, echoed):
    _, headers, _ = ask(PlainTextResponse(""), headers=[(b"x-client-request-id", sent)])
    assert headers.get("x-client-request-id") == echoed


def test_work_is_cancelled_when_the_client_hangs_up():
    async def scene():
        hung_up, ended = asyncio.Event(), []

        async def receive():
            await hung_up.wait()
            return {"type": "http.disconnect"}

        async def work():
            try:
                hung_up.set()
                await asyncio.Event().wait()
            finally:
                ended.append("work")

        with pytest.raises(ClientDisconnect):
            await while_listening(receive, work())
        assert ended == ["work"]

    asyncio.run(scene())


def test_work_that_is_listened_to_gives_its_result_or_its_failure():
    async def scene():
        async def receive():
            await asyncio.Event().wait()

        async def works():
            return 42

        async def fails():
            raise NotFound("m")

        assert await while_listening(receive, works()) == 42
        with pytest.raises(NotFound):
            await while_listening(receive, fails())

    asyncio.run(scene())
