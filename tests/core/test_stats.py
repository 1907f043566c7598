"""What is counted stays counted, adds up, and comes back in order."""

from __future__ import annotations

import msgspec
import pytest

from bulkrate.core.stats import (
    IDLE,
    NOTHING,
    CommitSnapshot,
    CommitStats,
    UpstreamSnapshot,
    UpstreamStats,
    at_rest,
    merged,
)
from bulkrate.providers.usage import Usage


def shown(stats: UpstreamStats, **other: object) -> UpstreamSnapshot:
    now = {"in_flight": 1, "window": 2, "mode": "fixed", "state": "ok", "reason": None, "waiting": 0}
    return stats.snapshot(**(now | other))  # type: ignore[arg-type]


def test_an_answer_counts_with_its_time_and_its_tokens():
    stats = UpstreamStats()
    stats.answered(0.3, Usage(10, 4, 5, 2, 15))
    stats.answered(700.0, Usage(1, 0, 1, 0, 2))
    seen = shown(stats)
    assert seen.attempts == {"answered": 2}
    assert (seen.input_tokens, seen.cached_tokens, seen.output_tokens, seen.reasoning_tokens) == (11, 4, 6, 2)
    assert seen.latency.count == 2
    assert seen.latency.sum == pytest.approx(700.3)
    assert seen.latency.counts[-1] == 1  # beyond every bound


def test_what_brought_no_answer_counts_by_its_code_and_not_among_the_latencies():
    stats = UpstreamStats()
    stats.ended("refused", 0.1)
    stats.ended("connection_lost", 2.0)
    stats.ended("connection_lost", None)
    seen = shown(stats)
    assert seen.attempts == {"answered": 0, "refused": 1, "connection_lost": 2}
    assert seen.unanswered_s == pytest.approx(2.1)
    assert seen.latency.count == 0


def test_a_successor_counts_on_from_the_last_snapshot():
    stats = UpstreamStats()
    stats.answered(0.3, Usage(10, 4, 5, 2, 15))
    stats.ended("upstream_busy", 1.0)
    before = shown(stats)
    read = msgspec.json.decode(msgspec.json.encode(before), type=UpstreamSnapshot)
    assert read == before
    assert shown(UpstreamStats(read)) == before

    commits = CommitStats()
    commits.committed(lines=3, bytes_=100, seconds=0.01)
    commits.synced(0.005)
    last = commits.snapshot(queued=2)
    again = msgspec.json.decode(msgspec.json.encode(last), type=CommitSnapshot)
    assert CommitStats(again).snapshot(queued=2) == last


def test_an_upstream_of_several_processes_is_one_and_tells_what_is_wrong():
    well, ill = UpstreamStats(), UpstreamStats()
    well.answered(0.5, Usage(1, 1, 1, 1, 2))
    ill.ended("connection_lost", 1.0)
    one = merged([shown(well, window=8), shown(ill, state="out", reason="refused the connection", waiting=3)])
    assert (one.in_flight, one.window, one.waiting) == (2, 10, 3)
    assert (one.state, one.reason) == ("out", "refused the connection")
    assert one.attempts == {"answered": 1, "connection_lost": 1}
    assert one.latency.count == 1


def test_an_upstream_that_moved_to_another_process_is_told_as_that_one_drives_it():
    stats = UpstreamStats()
    stats.answered(0.5, Usage(1, 1, 1, 1, 2))
    one = merged([at_rest(shown(stats, state="out", reason="gone")), shown(UpstreamStats(), window=8)])
    assert (one.state, one.reason, one.window, one.in_flight) == ("ok", None, 8, 1)
    assert one.attempts == {"answered": 1}
    assert merged([NOTHING, NOTHING]).state == IDLE
