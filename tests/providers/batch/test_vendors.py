"""What every vendor does, against its double: one shard's life, and everything that can go wrong in it."""

from __future__ import annotations

import msgspec
import pytest

from bulkrate.providers.batch.base import (
    Fate,
    Garbled,
    RemoteRefused,
    RemoteState,
    Why,
    line_id,
    read_line_id,
)
from tests.providers.batch.conftest import Place
from tests.providers.batch.hand import Lost


def refused(place: Place, act) -> Why:
    with pytest.raises(RemoteRefused) as caught:
        act()
    assert caught.value.refusal.message
    return caught.value.refusal.why


def test_a_shard_is_answered_whole_and_nothing_is_left_behind(place: Place) -> None:
    hand = place.hand
    shard = hand.shard(place.chats(3))
    remote = hand.until(hand.begin(shard).id)
    assert remote.state is RemoteState.COMPLETED
    assert (remote.counts.total, remote.counts.completed, remote.counts.failed) == (3, 3, 0)
    results = {result.custom_id: result for result in hand.results(shard, remote)}
    assert set(results) == {line_id(shard.id, number) for number in range(3)}
    for number in range(3):
        result = results[line_id(shard.id, number)]
        assert result.fate is Fate.ANSWERED
        answer = msgspec.json.decode(result.body)
        assert answer["object"] == "chat.completion"
        assert answer["choices"][0]["finish_reason"] == "stop"
        assert answer["choices"][0]["message"]["content"]
        assert answer["usage"]["total_tokens"] > 0
    for ask in place.vendor.clean(remote):
        hand.do(ask)
    books = place.double.books()
    assert books["files"] == []
    assert books["texts"] == {f"question {number}": 1 for number in range(3)}
    for ask in place.vendor.clean(remote):
        hand.do(ask)  # what is gone is gone


def test_the_batch_behind_a_lost_answer_is_found(place: Place) -> None:
    hand = place.hand
    place.double.tell("faults", lose_create=1)
    shard = hand.shard(place.chats(2))
    file_id = hand.upload(shard)
    assert hand.found(shard) == ()
    with pytest.raises(Lost):
        hand.do(place.vendor.create(shard, file_id))
    (found,) = hand.found(shard)
    assert place.double.books()["calls"]["create"] == 1
    if found.sure:
        assert found.remote.shard_id == shard.id
        assert found.remote.fingerprint == shard.fingerprint
        return
    # Anthropic: known for certain by its results alone.
    ended = hand.until(found.remote.id)
    first = hand.results(shard, ended)[0]
    assert read_line_id(first.custom_id) == (shard.id, 0)


def test_another_shards_batch_is_not_taken_for_ours(place: Place) -> None:
    hand = place.hand
    hand.begin(hand.shard(place.chats(2), name="shard_a"))
    other = hand.shard(place.chats(3), name="shard_b")
    assert hand.found(other, file_id="file-none") == ()


def test_the_upload_behind_a_lost_answer_is_found(place: Place) -> None:
    hand = place.hand
    shard = hand.shard(place.chats(2))
    if place.vendor.find_file(shard) is None:
        pytest.skip("has no files")
    assert hand.do(place.vendor.find_file(shard)) is None
    place.double.tell("faults", lose_upload=1)
    with pytest.raises(Lost):
        hand.upload(shard)
    file = hand.do(place.vendor.find_file(shard))
    assert file is not None
    assert file.size == shard.size
    if place.name == "gemini":
        assert hand.upload(shard) == file.id  # the name is the content's, so there is only one
    assert hand.until(hand.do(place.vendor.create(shard, file.id)).id).state is RemoteState.COMPLETED
    hand.do(place.vendor.remove_file(file.id))
    assert hand.do(place.vendor.find_file(shard)) is None


def test_a_batch_that_expires_keeps_what_was_answered(place: Place) -> None:
    hand = place.hand
    place.double.tell("faults", expire_after=1)
    shard = hand.shard(place.chats(3))
    remote = hand.until(hand.begin(shard).id)
    assert remote.state is RemoteState.EXPIRED
    fates = {result.custom_id: result.fate for result in hand.results(shard, remote)}
    assert fates.pop(line_id(shard.id, 0)) is Fate.ANSWERED
    # Some vendors name the lines that never ran, others leave them out.
    assert set(fates.values()) <= {Fate.UNRUN}
    assert place.double.books()["texts"] == {"question 0": 1}


def test_a_batch_that_is_cancelled_keeps_what_was_answered(place: Place) -> None:
    hand = place.hand
    place.double.tell("faults", slow_s=100_000)
    shard = hand.shard(place.chats(4))
    made = hand.begin(shard)
    hand.until(made.id, lambda remote: remote.state is RemoteState.RUNNING)
    place.double.tell("clock", advance_s=50_000)
    # The real server behind OpenAI's wire must have answered before its answers can be cancelled away.
    hand.until(made.id, lambda remote: place.name != "openai" or remote.counts.completed == 2)
    assert not hand.do(place.vendor.look(made.id)).state.ended
    hand.do(place.vendor.cancel(made.id))
    remote = hand.until(made.id)
    assert remote.state is RemoteState.CANCELLED
    answered = [one for one in hand.results(shard, remote) if one.fate is Fate.ANSWERED]
    assert {one.custom_id for one in answered} == {line_id(shard.id, 0), line_id(shard.id, 1)}
    assert place.double.books()["cancelled"] == [made.id]


def test_a_batch_that_somebody_else_cancels_is_cancelled(place: Place) -> None:
    hand = place.hand
    place.double.tell("faults", cancel_after=1)
    shard = hand.shard(place.chats(2))
    assert hand.until(hand.begin(shard).id).state is RemoteState.CANCELLED


def test_lines_that_fail_say_whether_they_may_go_out_again(place: Place) -> None:
    hand = place.hand
    place.double.tell("faults", line_status={1: 400, 2: 429, 3: 500})
    shard = hand.shard(place.chats(4))
    remote = hand.until(hand.begin(shard).id)
    fates = {result.custom_id: result.fate for result in hand.results(shard, remote)}
    expected = (Fate.REFUSED, Fate.TRANSIENT, Fate.TRANSIENT, Fate.ANSWERED)
    assert fates == {line_id(shard.id, number): fate for number, fate in enumerate(expected)}


def test_missing_doubled_and_shuffled_lines_come_as_they_are(place: Place) -> None:
    hand = place.hand
    place.double.tell("faults", missing_lines=[1], doubled_lines=[2], shuffled=True)
    shard = hand.shard(place.chats(3))
    remote = hand.until(hand.begin(shard).id)
    ids = sorted(result.custom_id for result in hand.results(shard, remote))
    assert ids == [line_id(shard.id, number) for number in (1, 1, 2)]


def test_a_truncated_file_is_garbled_and_whole_the_next_time(place: Place) -> None:
    hand = place.hand
    shard = hand.shard(place.chats(1))
    remote = hand.until(hand.begin(shard).id)
    place.double.tell("faults", truncate_quietly=1)
    with pytest.raises(Garbled):
        hand.results(shard, remote)
    place.double.tell("faults", truncate=1)
    with pytest.raises(Lost):
        hand.results(shard, remote)
    assert len(hand.results(shard, remote)) == 1


def test_a_full_quota_waits(place: Place) -> None:
    hand = place.hand
    place.double.tell("faults", quota_full=1)
    shard = hand.shard(place.chats(1))
    file_id = hand.upload(shard)
    why = refused(place, lambda: hand.do(place.vendor.create(shard, file_id)))
    assert why.waits
    # Mistral does not say which limit it was.
    assert why is (Why.BUSY if place.name == "mistral" else Why.QUOTA)
    assert hand.until(hand.do(place.vendor.create(shard, file_id)).id).state is RemoteState.COMPLETED


def test_a_wrong_key_is_told_as_that(place: Place) -> None:
    place.hand.key = "wrong"
    assert refused(place, lambda: place.hand.begin(place.hand.shard(place.chats(1)))) is Why.KEY
    assert refused(place, lambda: place.hand.do(place.vendor.look(place.unknown))) is Why.KEY


def test_a_provider_that_is_down_is_asked_again(place: Place) -> None:
    hand = place.hand
    shard = hand.shard(place.chats(1))
    remote = hand.begin(shard)
    place.double.tell("faults", fail_look=1)
    assert refused(place, lambda: hand.do(place.vendor.look(remote.id))) is Why.UNAVAILABLE
    place.double.tell("faults", down=True)
    assert refused(place, lambda: hand.do(place.vendor.look(remote.id))) is Why.UNAVAILABLE
    assert refused(place, lambda: hand.found(shard)) is Why.UNAVAILABLE
    place.double.tell("faults")
    assert hand.until(remote.id).state is RemoteState.COMPLETED


def test_a_batch_that_is_gone_is_gone(place: Place) -> None:
    hand = place.hand
    remote = hand.begin(hand.shard(place.chats(1)))
    place.double.tell("delete", id=remote.id)
    assert refused(place, lambda: hand.do(place.vendor.look(remote.id))) is Why.GONE


def test_a_wrong_address_is_not_taken_for_a_batch_that_is_gone(place: Place) -> None:
    hand = place.hand
    assert refused(place, lambda: hand.do(place.vendor.look(place.unknown))) is Why.GONE
    hand.url = place.double.url + "/wrong"
    assert refused(place, lambda: hand.do(place.vendor.look(place.unknown))) is Why.UNAVAILABLE


def test_results_that_expired_are_gone(place: Place) -> None:
    hand = place.hand
    shard = hand.shard(place.chats(1))
    remote = hand.until(hand.begin(shard).id)
    place.double.tell("faults", files_expired=True)
    for call in place.vendor.results(remote):
        assert place.vendor.refused(hand.send(call)).why is Why.GONE


def test_what_has_ended_is_not_cancelled(place: Place) -> None:
    hand = place.hand
    remote = hand.until(hand.begin(hand.shard(place.chats(1))).id)
    assert refused(place, lambda: hand.do(place.vendor.cancel(remote.id))) is Why.CONFLICT


def test_a_failed_batch_says_why(place: Place) -> None:
    if place.name == "anthropic":
        pytest.skip("Message Batches do not fail as a whole")
    hand = place.hand
    place.double.tell("faults", quota_full_late=True)
    remote = hand.until(hand.begin(hand.shard(place.chats(1))).id)
    assert remote.state is RemoteState.FAILED
    assert remote.refusal is not None
    assert remote.refusal.why is Why.QUOTA
    assert hand.vendor.results(remote) == ()


def test_an_unknown_model_is_told_as_that(place: Place) -> None:
    hand = place.hand
    place.double.tell("faults", models=["another"])
    shard = hand.shard(place.chats(1))
    if place.name == "anthropic":
        (result,) = hand.results(shard, hand.until(hand.begin(shard).id))
        assert (result.fate, result.status) == (Fate.REFUSED, 404)
    else:
        assert refused(place, lambda: hand.begin(shard)) is Why.MODEL


def test_embeddings_are_answered(place: Place) -> None:
    if "/v1/embeddings" not in place.vendor.endpoints:
        pytest.skip("has no embeddings")
    hand = place.hand
    bodies = [{"model": place.model, "input": f"text {number}"} for number in range(2)]
    shard = hand.shard(bodies, endpoint="/v1/embeddings")
    results = hand.results(shard, hand.until(hand.begin(shard).id))
    assert len(results) == 2
    for result in results:
        answer = msgspec.json.decode(result.body)
        assert answer["data"][0]["embedding"]
        assert answer["object"] == "list"
