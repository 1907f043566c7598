"""Registering receivers of events."""

import asyncio
import base64
import re
import time

import pytest
from openai import OpenAI

from bulkrate.engine.asks.webhooks import ENDPOINTS_MAX, Webhooks
from bulkrate.errors import InvalidRequest, NotFound
from bulkrate.wire.base import encode
from bulkrate.wire.webhooks import EVENT_TYPES, CreateWebhook, RotateSecret, TestWebhook, UpdateWebhook
from tests.support.processes import free_port

from .outbox import fail_a_batch
from .receiver import Receiver, answer

# pytest would take the shape for a test class.
TestWebhook.__test__ = False


@pytest.fixture
def webhooks(context):
    return Webhooks(context)


def run(awaitable):
    return asyncio.run(awaitable)


def asking(**fields) -> CreateWebhook:
    given = {"name": "mine", "url": "https://example.com/hook", "event_types": ["batch.completed"]}
    return CreateWebhook(**(given | fields))


def test_a_new_endpoint_shows_its_secret_this_once(webhooks, clock):
    made = run(webhooks.create("default", asking()))

    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", made.signing_secret)
    assert len(base64.b64decode(made.signing_secret.removeprefix("whsec_"))) == 32
    assert made.signing_secret_hint == "whsec_…" + made.signing_secret[-4:]
    assert (made.name, made.url, made.event_types) == (
        "mine",
        "https://example.com/hook",
        ["batch.completed"],
    )
    assert made.created_at == made.updated_at == int(clock.now)
    got = run(webhooks.get("default", made.id))
    assert made.signing_secret.encode() not in encode(got)
    assert got.signing_secret_hint == made.signing_secret_hint


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:9000/hook",
        "http://10.0.0.7/",
        "https://example.com",
        "http://[::1]:80/hook?token=a#b",
        "HTTPS://Example.com/",
    ],
)
def test_an_endpoint_may_be_anywhere_that_http_reaches(webhooks, url):
    assert run(webhooks.create("default", asking(url=url))).url == url


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 257}, "name"),
        ({"url": ""}, "url"),
        ({"url": "example.com/hook"}, "url"),
        ({"url": "/hook"}, "url"),
        ({"url": "ftp://example.com/"}, "url"),
        ({"url": "file:///etc/passwd"}, "url"),
        ({"url": "http:example.com"}, "url"),
        ({"url": "https://"}, "url"),
        ({"url": "http://a:99999/"}, "url"),
        ({"url": "http://exa mple.com/"}, "url"),
        ({"url": "http://example.com/a\nb"}, "url"),
        ({"url": "http://example.com/" + "x" * 2_048}, "url"),
        ({"event_types": []}, "event_types"),
        ({"event_types": ["batch.completed", "batch.completed"]}, "event_types"),
        ({"event_types": ["batch.completed", "response.completed"]}, "event_types[1]"),
    ],
)
def test_what_cannot_be_registered_cannot_be_changed_to_either(webhooks, fields, param):
    made = run(webhooks.create("default", asking()))

    for refused in (
        webhooks.create("default", asking(**fields)),
        webhooks.update("default", made.id, UpdateWebhook(**fields)),
    ):
        with pytest.raises(InvalidRequest) as caught:
            run(refused)
        assert (caught.value.code, caught.value.param) == ("invalid_value", param)
    assert run(webhooks.get("default", made.id)).event_types == ["batch.completed"]
    assert len(run(webhooks.list("default", limit=100, after=None, order="desc")).data) == 1


def test_a_project_has_at_most_twenty_endpoints(webhooks):
    for _ in range(ENDPOINTS_MAX):
        made = run(webhooks.create("default", asking()))

    with pytest.raises(InvalidRequest) as caught:
        run(webhooks.create("default", asking()))
    assert caught.value.code == "webhook_endpoint_limit_reached"
    run(webhooks.create("lab", asking()))
    run(webhooks.delete("default", made.id))
    run(webhooks.create("default", asking()))


def test_to_another_project_an_endpoint_does_not_exist(webhooks):
    made = run(webhooks.create("lab", asking()))

    for refused in (
        webhooks.get("default", made.id),
        webhooks.update("default", made.id, UpdateWebhook(name="x")),
        webhooks.delete("default", made.id),
        webhooks.rotate_secret("default", made.id, RotateSecret()),
        webhooks.test("default", made.id, TestWebhook(event_type="batch.failed")),
        webhooks.deliveries("default", made.id, limit=20, after=None),
    ):
        with pytest.raises(NotFound, match=made.id):
            run(refused)
    assert run(webhooks.list("default", limit=20, after=None, order="desc")).data == []
    assert run(webhooks.get("lab", made.id)).name == "mine"


def test_an_update_changes_what_is_given_and_keeps_the_rest(webhooks, clock):
    made = run(webhooks.create("default", asking()))
    clock.now += 10
    changed = run(webhooks.update("default", made.id, UpdateWebhook(event_types=["batch.failed"])))

    assert (changed.name, changed.url, changed.event_types) == (made.name, made.url, ["batch.failed"])
    assert changed.signing_secret_hint == made.signing_secret_hint
    assert (changed.created_at, changed.updated_at) == (made.created_at, made.created_at + 10)
    assert run(webhooks.get("default", made.id)) == changed


@pytest.mark.parametrize(
    "ask", [UpdateWebhook(), UpdateWebhook(name="mine", event_types=["batch.completed"])]
)
def test_an_update_that_changes_nothing_leaves_its_time(webhooks, clock, ask):
    made = run(webhooks.create("default", asking()))
    clock.now += 10

    assert run(webhooks.update("default", made.id, ask)).updated_at == made.updated_at


def test_a_rotated_secret_is_new_and_shown_once(webhooks, clock):
    made = run(webhooks.create("default", asking()))
    clock.now += 10
    rotated = run(webhooks.rotate_secret("default", made.id, RotateSecret()))

    assert rotated.signing_secret != made.signing_secret
    assert rotated.updated_at == made.updated_at + 10
    assert run(webhooks.get("default", made.id)).signing_secret_hint == rotated.signing_secret_hint


def test_a_deleted_endpoint_is_gone(webhooks):
    made = run(webhooks.create("default", asking()))

    deleted = run(webhooks.delete("default", made.id))
    assert (deleted.id, deleted.deleted, deleted.object) == (made.id, True, "webhook_endpoint.deleted")
    with pytest.raises(NotFound):
        run(webhooks.delete("default", made.id))


def test_endpoints_are_paged_until_an_empty_page(webhooks):
    ids = [run(webhooks.create("default", asking())).id for _ in range(3)]

    def page(after, order="desc"):
        return run(webhooks.list("default", limit=2, after=after, order=order))

    first = page(None)
    assert [found.id for found in first.data] == [ids[2], ids[1]]
    assert (first.has_more, first.first_id, first.last_id) == (True, ids[2], ids[1])
    second = page(first.last_id)
    assert ([found.id for found in second.data], second.has_more) == ([ids[0]], False)
    third = page(second.last_id)
    assert (third.data, third.has_more, third.first_id, third.last_id) == ([], False, None, None)
    assert [found.id for found in page(None, "asc").data] == ids[:2]


def test_a_page_behind_what_is_not_there_is_refused(webhooks):
    other = run(webhooks.create("lab", asking()))
    mine = run(webhooks.create("default", asking()))

    for refused in (
        webhooks.list("default", limit=2, after=other.id, order="desc"),
        webhooks.deliveries("default", mine.id, limit=2, after="whd_nope"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            run(refused)
        assert (caught.value.code, caught.value.param) == ("invalid_value", "after")


@pytest.mark.parametrize("status", [200, 302, 500])
def test_a_test_event_is_sent_at_once_and_its_answer_told(webhooks, clock, status):
    clock.now = time.time()

    async def main():
        async with Receiver(answer(status, "location: http://127.0.0.1:1/")) as receiver:
            made = await webhooks.create("default", asking(url=receiver.url))
            ask = TestWebhook(event_type="batch.expired")
            return made, receiver.received, await webhooks.test("default", made.id, ask)

    made, [request], result = run(main())
    assert (result.webhook_endpoint_id, result.event_type) == (made.id, "batch.expired")
    assert (result.status_code, result.success) == (status, True)
    with OpenAI(api_key="none", webhook_secret=made.signing_secret) as client:
        event = client.webhooks.unwrap(request.body, request.headers)
    assert event.type == "batch.expired"
    assert re.fullmatch(r"batch_[0-9a-f]{32}", event.data.id)
    assert request.headers["webhook-id"] == event.id
    assert run(webhooks.deliveries("default", made.id, limit=20, after=None)).data == []


def test_each_test_event_is_another(webhooks):
    async def main():
        async with Receiver() as receiver:
            made = await webhooks.create("default", asking(url=receiver.url))
            for _ in range(2):
                await webhooks.test("default", made.id, TestWebhook(event_type="batch.failed"))
            return {request.headers["webhook-id"] for request in receiver.received}

    assert len(run(main())) == 2


def test_a_test_that_does_not_reach_its_receiver_says_why(webhooks):
    url = f"http://127.0.0.1:{free_port()}/hook?token=hunter2"
    made = run(webhooks.create("default", asking(url=url)))

    with pytest.raises(InvalidRequest, match="the connection was refused") as caught:
        run(webhooks.test("default", made.id, TestWebhook(event_type="batch.failed")))
    assert caught.value.code == "webhook_endpoint_unreachable"
    assert "hunter2" not in caught.value.message


def test_a_test_of_an_unknown_event_type_is_refused(webhooks):
    made = run(webhooks.create("default", asking()))

    with pytest.raises(InvalidRequest, match="response\\.completed") as caught:
        run(webhooks.test("default", made.id, TestWebhook(event_type="response.completed")))
    assert (caught.value.code, caught.value.param) == ("invalid_value", "event_type")


def test_deliveries_are_paged_newest_first(webhooks, context):
    made = run(webhooks.create("default", asking(event_types=["batch.failed"])))
    for name in "abc":
        fail_a_batch(context, name)

    first = run(webhooks.deliveries("default", made.id, limit=2, after=None))
    assert [found.event_id for found in first.data] == ["evt_c", "evt_b"]
    assert (first.has_more, first.last_id) == (True, first.data[-1].id)
    second = run(webhooks.deliveries("default", made.id, limit=2, after=first.last_id))
    [last] = second.data
    assert (last.event_id, last.batch_id, last.webhook_endpoint_id) == ("evt_a", "batch_a", made.id)
    assert (last.event_type, last.status, last.attempts) == ("batch.failed", "pending", 0)
    assert last.next_attempt_at == last.created_at
    assert not second.has_more


def test_the_event_types_are_the_four_of_batches(webhooks):
    assert webhooks.event_types().data == list(EVENT_TYPES)
