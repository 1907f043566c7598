"""What all doubles have: quotas, limits an hour, a command to run them, and jobs that keep to the clock."""

from __future__ import annotations

import re
import subprocess
import sys

import msgspec
import pytest
from pyreqwest.client import SyncClientBuilder

from bulkrate.testing.providers import Faults
from bulkrate.testing.providers.jobs import End, Fate, Job, Line
from tests.providers.batch.conftest import Place, place  # a fixture

__all__ = ["place"]


def job(count: int, **faults: object) -> Job:
    lines = [Line(number, f"line-{number}", {}, "word", "m") for number in range(1, count + 1)]
    return Job("job", 1_000.0, lines, Faults(**faults))


def settled(one: Job, now: float) -> list[str]:
    billed: list[str] = []
    one.settle(now, lambda _: (200, ""), lambda line: billed.append(line.id))
    return billed


def test_lines_run_evenly_over_the_time_of_a_job() -> None:
    one = job(4, validating_s=10, slow_s=100)
    assert settled(one, 1_009) == []
    assert settled(one, 1_060) == ["line-1", "line-2"]
    assert settled(one, 1_060) == []
    assert one.end is None
    assert settled(one, 1_110) == ["line-3", "line-4"]
    assert (one.end, one.ended_at) == (End.COMPLETED, 1_110)
    assert settled(one, 9_999) == []


def test_a_cancelled_job_ran_until_then() -> None:
    one = job(4, slow_s=100)
    one.cancelled_at = 1_025.0
    assert settled(one, 1_100) == ["line-1"]
    assert one.end is End.CANCELLED
    assert (one.count(Fate.ANSWERED), one.count(Fate.CANCELLED)) == (1, 3)


def test_a_job_that_expires_has_run_so_many_lines() -> None:
    one = job(4, expire_after=3)
    assert len(settled(one, 1_000)) == 3
    assert (one.end, one.count(Fate.EXPIRED)) == (End.EXPIRED, 1)


def test_an_invalid_job_runs_nothing() -> None:
    one = job(2, invalid_lines=[1])
    assert settled(one, 1_000) == []
    assert one.end is End.FAILED


def test_faults_of_jobs_can_be_for_so_many() -> None:
    faults = Faults(expire_after=1, jobs=1)
    assert faults.for_a_job().expire_after == 1
    assert faults.for_a_job().expire_after is None


def test_counted_faults_come_to_an_end() -> None:
    faults = Faults(fail_look=2, down=True)
    assert [faults.spend("fail_look") for _ in range(3)] == [True, True, False]
    forever = Faults(fail_look=-1)
    assert all(forever.spend("fail_look") for _ in range(5))


def test_a_quota_of_tokens_has_room_again_when_a_job_ends(place: Place) -> None:
    hand = place.hand
    # A question has three tokens by the double's count.
    place.double.tell("faults", enqueued_tokens_max=4, slow_s=1_000)
    first = hand.begin(hand.shard(place.chats(1)))
    with pytest.raises(Exception, match=r"quota|limit"):
        hand.begin(hand.shard(place.chats(1)))
    place.double.tell("clock", advance_s=1_000)
    hand.until(first.id)
    assert hand.begin(hand.shard(place.chats(1))).id != first.id


def test_creations_an_hour_are_limited(place: Place) -> None:
    hand = place.hand
    place.double.tell("faults", creates_per_hour=1)
    hand.begin(hand.shard(place.chats(1)))
    with pytest.raises(Exception, match="hour"):
        hand.begin(hand.shard(place.chats(1)))
    place.double.tell("clock", advance_s=3_601)
    hand.begin(hand.shard(place.chats(1)))


def test_an_unknown_fault_is_refused(place: Place) -> None:
    with SyncClientBuilder().build() as http:
        body = msgspec.json.encode({"no_such_fault": 1})
        answer = http.post(f"{place.double.url}/double/faults").body_bytes(body).build().send()
        assert answer.status == 400
        assert "no_such_fault" in answer.text()


def test_a_double_runs_by_itself() -> None:
    command = [sys.executable, "-m", "bulkrate.testing.providers", "anthropic", "--port", "0", "--key", "k"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            said = process.stderr.readline()
            found = re.fullmatch(r"anthropic: listening on (http://127\.0\.0\.1:\d+)\n", said)
            assert found, said
            with SyncClientBuilder().build() as http:
                url = f"{found[1]}/v1/messages/batches"
                request = http.get(url).header("x-api-key", "k").header("anthropic-version", "2023-06-01")
                assert request.build().send().json()["data"] == []
        finally:
            process.terminate()
            process.wait(30)
