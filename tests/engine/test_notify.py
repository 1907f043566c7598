"""Events on their way: what a receiver sees, and what becomes of a delivery."""

import asyncio
import json
import sqlite3
import ssl
import subprocess
from contextlib import closing

import pytest
from openai import InvalidWebhookSignatureError, OpenAI
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from bulkrate import __version__
from bulkrate.engine.asks.webhooks import Webhooks
from bulkrate.engine.loops import notify
from bulkrate.engine.loops.notify import Notifier, signed_headers
from bulkrate.errors import StoreError
from bulkrate.wire.webhooks import CreateWebhook, RotateSecret, UpdateWebhook
from tests.support.processes import free_port

from .outbox import fail_a_batch
from .receiver import Receiver, answer

HOUR = 3_600
BREAK = "CREATE TRIGGER t BEFORE UPDATE ON deliveries BEGIN SELECT RAISE(ABORT, 'broken'); END"


async def subscribe(context, url: str):
    """An endpoint that wants to hear of failed batches."""
    ask = CreateWebhook(name="mine", url=url, event_types=["batch.failed"])
    return await Webhooks(context).create("default", ask)


async def deliveries(context, webhook):
    page = await Webhooks(context).deliveries("default", webhook.id, limit=100, after=None)
    return page.data


def test_a_receiver_gets_openais_event_under_its_event_id(context, clock):
    async def main():
        async with Receiver() as receiver:
            await subscribe(context, receiver.url)
            fail_a_batch(context)
            assert await Notifier(context).run_once() is None
        return receiver.received

    [request] = asyncio.run(main())
    assert (request.method, request.path) == ("POST", "/hook")
    assert json.loads(request.body) == {
        "object": "event",
        "id": "evt_a",
        "type": "batch.failed",
        "created_at": int(clock.now),
        "data": {"id": "batch_a"},
    }
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == f"bulkrate/{__version__}"
    assert request.headers["webhook-id"] == "evt_a"
    assert request.headers["webhook-timestamp"] == str(int(clock.now))


def test_openais_sdk_and_the_standard_library_accept_the_signature(context):
    async def main():
        async with Receiver() as receiver:
            webhook = await subscribe(context, receiver.url)
            fail_a_batch(context)
            await Notifier(context).run_once()
        return webhook.signing_secret, receiver.received[0]

    secret, request = asyncio.run(main())
    client = OpenAI(api_key="none", webhook_secret=secret)
    event = client.webhooks.unwrap(request.body, request.headers)
    assert (event.type, event.data.id) == ("batch.failed", "batch_a")
    assert Webhook(secret).verify(request.body, request.headers)["id"] == "evt_a"
    with pytest.raises(InvalidWebhookSignatureError):
        client.webhooks.unwrap(request.body + b" ", request.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_AAAA").verify(request.body, request.headers)
    client.close()


def test_both_secrets_sign_for_a_day_after_a_rotation_that_keeps_the_old_one(context, clock):
    async def main():
        async with Receiver() as receiver:
            webhook = await subscribe(context, receiver.url)
            keep = RotateSecret(keep_old_secret_active_for_24_hours=True)
            rotated = await Webhooks(context).rotate_secret("default", webhook.id, keep)
            for name, wait in (("a", 0), ("b", 24 * HOUR - 1), ("c", 1)):
                clock.now += wait
                fail_a_batch(context, name)
                await Notifier(context).run_once()
        return webhook.signing_secret, rotated.signing_secret, receiver.received

    old, new, [at_once, late, too_late] = asyncio.run(main())
    for secret in (old, new):
        assert Webhook(secret).verify(at_once.body, at_once.headers)["id"] == "evt_a"
    assert [len(r.headers["webhook-signature"].split(" ")) for r in (at_once, late, too_late)] == [2, 2, 1]
    moment = int(too_late.headers["webhook-timestamp"])
    assert too_late.headers["webhook-signature"] == signature(new, too_late.body, moment)


def signature(secret: str, body: bytes, moment: int) -> str:
    return signed_headers("evt_c", body, [secret], now=moment)["webhook-signature"]


def test_a_rotation_voids_the_old_secret_unless_asked_otherwise(context):
    async def main():
        async with Receiver() as receiver:
            webhook = await subscribe(context, receiver.url)
            await Webhooks(context).rotate_secret("default", webhook.id, RotateSecret())
            fail_a_batch(context)
            await Notifier(context).run_once()
        return webhook.signing_secret, receiver.received[0]

    old, request = asyncio.run(main())
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(request.body, request.headers)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_counts_as_delivered(context, clock, status):
    async def main():
        async with Receiver(answer(status)) as receiver:
            webhook = await subscribe(context, receiver.url)
            fail_a_batch(context)
            clock.now += 3
            await Notifier(context).run_once()
            return await deliveries(context, webhook)

    [delivery] = asyncio.run(main())
    assert (delivery.status, delivery.attempts, delivery.last_status_code) == ("delivered", 1, status)
    assert delivery.delivered_at == delivery.created_at + 3
    assert (delivery.next_attempt_at, delivery.last_error) == (None, None)


@pytest.mark.parametrize("status", [304, 400, 404, 410, 429, 500, 503])
def test_any_other_answer_is_tried_again(context, clock, status):
    async def main():
        async with Receiver(answer(status)) as receiver:
            webhook = await subscribe(context, receiver.url)
            fail_a_batch(context)
            again = await Notifier(context, dice=lambda: 0.5).run_once()
            return again, await deliveries(context, webhook)

    again, [delivery] = asyncio.run(main())
    assert again == clock.now + 2.5
    assert (delivery.status, delivery.attempts, delivery.last_status_code) == ("pending", 1, status)
    assert str(status) in delivery.last_error


def test_a_redirect_is_a_failure_and_is_not_followed(context):
    async def main():
        async with Receiver() as elsewhere, Receiver(answer(307, f"location: {elsewhere.url}")) as receiver:
            webhook = await subscribe(context, receiver.url)
            fail_a_batch(context)
            await Notifier(context).run_once()
            return elsewhere.received, await deliveries(context, webhook)

    followed, [delivery] = asyncio.run(main())
    assert followed == []
    assert delivery.last_status_code == 307
    assert "redirects are not followed" in delivery.last_error


def test_a_try_again_is_signed_anew_and_keeps_its_id_and_body(context, clock):
    async def main():
        async with Receiver(answer(503), answer(200)) as receiver:
            webhook = await subscribe(context, receiver.url)
            fail_a_batch(context)
            notifier = Notifier(context, dice=lambda: 0.5)
            clock.now = await notifier.run_once()
            clock.now += 200
            assert await notifier.run_once() is None
            return webhook.signing_secret, receiver.received, await deliveries(context, webhook)

    secret, [first, second], [delivery] = asyncio.run(main())
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert second.headers["webhook-timestamp"] != first.headers["webhook-timestamp"]
    Webhook(secret).verify(second.body, second.headers)
    assert (delivery.status, delivery.attempts, delivery.last_error) == ("delivered", 2, None)


def test_nothing_is_sent_before_its_time(context, clock):
    async def main():
        async with Receiver(answer(500)) as receiver:
            await subscribe(context, receiver.url)
            fail_a_batch(context)
            notifier = Notifier(context, dice=lambda: 0.5)
            again = await notifier.run_once()
            clock.now = again - 0.1
            assert await notifier.run_once() == again
            return receiver.received

    assert len(asyncio.run(main())) == 1


def test_a_receiver_that_is_down_for_three_days_is_given_up(context, clock):
    async def main():
        async with Receiver(answer(500)) as receiver:
            webhook = await subscribe(context, receiver.url)
            fail_a_batch(context)
            began = clock.now
            notifier = Notifier(context, dice=lambda: 0.99)
            while (again := await notifier.run_once()) is not None:
                clock.now = again
            return began, len(receiver.received), await deliveries(context, webhook)

    began, tries, [delivery] = asyncio.run(main())
    assert delivery.status == "abandoned"
    assert delivery.attempts == tries
    assert delivery.next_attempt_at is None
    assert 68 * HOUR < clock.now - began <= 72 * HOUR


def test_an_event_whose_answer_was_not_awaited_is_sent_again(context):
    async def main():
        async with Receiver(silent=True) as receiver:
            webhook = await subscribe(context, receiver.url)
            fail_a_batch(context)
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(Notifier(context).run_once())
                await receiver.reached(1)
                sending.cancel()
            cut_short = await deliveries(context, webhook)
        async with Receiver() as receiver:
            await Webhooks(context).update("default", webhook.id, UpdateWebhook(url=receiver.url))
            await Notifier(context).run_once()
            return cut_short, receiver.received

    [delivery], [request] = asyncio.run(main())
    assert (delivery.status, delivery.attempts) == ("pending", 0)
    assert request.headers["webhook-id"] == delivery.event_id


def test_sixteen_are_sent_at_once_and_no_more(context):
    async def main():
        async with Receiver(together=16) as receiver:
            webhook = await subscribe(context, receiver.url)
            for number in range(32):
                fail_a_batch(context, str(number))
            assert await Notifier(context).run_once() is None
            return receiver.at_once_max, await deliveries(context, webhook)

    at_once_max, settled = asyncio.run(main())
    assert at_once_max == 16
    assert {delivery.status for delivery in settled} == {"delivered"}


def test_a_round_has_a_bound_and_says_that_more_is_due(context, clock):
    async def main():
        async with Receiver() as receiver:
            await subscribe(context, receiver.url)
            for number in range(notify.ROUND_MAX + 1):
                fail_a_batch(context, str(number))
            notifier = Notifier(context)
            return await notifier.run_once(), await notifier.run_once(), len(receiver.received)

    first, second, received = asyncio.run(main())
    assert first is not None
    assert first <= clock.now
    assert (second, received) == (None, notify.ROUND_MAX + 1)


def test_one_receiver_that_fails_costs_the_others_nothing(context):
    async def main():
        async with Receiver() as good:
            bad = await subscribe(context, f"http://127.0.0.1:{free_port()}/")
            fine = await subscribe(context, good.url)
            fail_a_batch(context)
            await Notifier(context).run_once()
            return await deliveries(context, bad), await deliveries(context, fine)

    [bad], [fine] = asyncio.run(main())
    assert (bad.status, fine.status) == ("pending", "delivered")


def test_deliveries_of_a_deleted_endpoint_vanish(context):
    async def main():
        async with Receiver() as receiver:
            webhook = await subscribe(context, receiver.url)
            fail_a_batch(context)
            await Webhooks(context).delete("default", webhook.id)
            assert await Notifier(context).run_once() is None
            return receiver.received

    assert asyncio.run(main()) == []


def test_a_new_url_gets_what_was_on_its_way(context):
    async def main():
        async with Receiver() as old, Receiver() as new:
            webhook = await subscribe(context, old.url)
            fail_a_batch(context)
            await Webhooks(context).update("default", webhook.id, UpdateWebhook(url=new.url))
            await Notifier(context).run_once()
            return old.received, new.received

    old, new = asyncio.run(main())
    assert (len(old), len(new)) == (0, 1)


def test_a_refused_connection_is_told_without_the_url(context):
    async def main():
        webhook = await subscribe(context, f"http://me:hunter2@127.0.0.1:{free_port()}/hook?token=hunter3")
        fail_a_batch(context)
        await Notifier(context).run_once()
        return await deliveries(context, webhook)

    [delivery] = asyncio.run(main())
    assert (delivery.last_error, delivery.last_status_code) == ("the connection was refused", None)


def test_a_silent_receiver_is_given_up_in_time(context, monkeypatch):
    monkeypatch.setattr(notify, "TIMEOUT_S", 0.2)

    async def main():
        async with Receiver(silent=True) as receiver:
            webhook = await subscribe(context, receiver.url)
            fail_a_batch(context)
            await Notifier(context).run_once()
            return await deliveries(context, webhook)

    [delivery] = asyncio.run(main())
    assert delivery.last_error == "no answer within 0.2 s"


def test_a_status_counts_even_if_its_body_never_ends(context):
    """A receiver that streamed an endless body used up the timeout, and its 200 was lost."""

    async def main():
        async with Receiver(answer(200, body=b"x" * 100)[:-50], held=True) as receiver:
            webhook = await subscribe(context, receiver.url)
            fail_a_batch(context)
            async with asyncio.timeout(notify.TIMEOUT_S / 2):
                await Notifier(context).run_once()
            return await deliveries(context, webhook)

    [delivery] = asyncio.run(main())
    assert delivery.status == "delivered"


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (b"", "the connection was lost before an answer came"),
        (b"HTTP/1.1 200 OK\r\nconte", "the connection was lost before an answer came"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "the answer is not HTTP"),
    ],
)
def test_half_an_answer_is_none(context, given, error):
    async def main():
        async with Receiver(given) as receiver:
            webhook = await subscribe(context, receiver.url)
            fail_a_batch(context)
            await Notifier(context).run_once()
            return await deliveries(context, webhook)

    [delivery] = asyncio.run(main())
    assert (delivery.status, delivery.last_error) == ("pending", error)


def test_a_certificate_that_nobody_vouches_for_is_refused(context, tmp_path):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=localhost",
        "-days",
        "1",
    ]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)

    async def main():
        server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=tls)
        async with server:
            port = server.sockets[0].getsockname()[1]
            webhook = await subscribe(context, f"https://127.0.0.1:{port}/")
            fail_a_batch(context)
            await Notifier(context).run_once()
            return await deliveries(context, webhook)

    [delivery] = asyncio.run(main())
    assert delivery.last_error == "the TLS certificate is not trusted"


def test_a_host_that_is_not_found_is_told(context):
    async def main():
        webhook = await subscribe(context, "http://refused-certificate.invalid/")
        fail_a_batch(context)
        await Notifier(context).run_once()
        return await deliveries(context, webhook)

    [delivery] = asyncio.run(main())
    assert delivery.last_error == "the host name was not found"


def test_a_store_that_fails_is_one_error_and_not_a_group(context, tmp_path):
    async def main():
        async with Receiver() as receiver:
            await subscribe(context, receiver.url)
            fail_a_batch(context)
            with closing(sqlite3.connect(tmp_path / "bulkrate.db")) as other:
                other.execute(BREAK)
            with pytest.raises(StoreError, match="broken"):
                await Notifier(context).run_once()

    asyncio.run(main())
