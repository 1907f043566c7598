"""The text of /metrics, as Prometheus reads it, and what stands in the way of whoever has no key."""

from __future__ import annotations

import re

import msgspec
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as classic

from bulkrate.core.numbers import BatchNumbers, FileNumbers, Numbers, ProcessNumbers, PurchaseNumbers
from bulkrate.core.stats import CommitStats, RemoteSnapshot, UpstreamStats
from bulkrate.providers.usage import Usage
from bulkrate.server.metrics import FAMILIES, exposition

OPENMETRICS = "application/openmetrics-text;version=1.0.0"


def numbers(**fields) -> Numbers:
    stats = UpstreamStats()
    stats.answered(0.3, Usage(10, 4, 5, 2, 15))
    stats.answered(7.0, Usage(10, 4, 5, 2, 15))
    stats.ended("connection_lost", 2.5)
    commits = CommitStats()
    commits.committed(lines=2, bytes_=300, seconds=0.02)
    commits.synced(0.004)
    gpu = stats.snapshot(in_flight=3, window=8, mode="blind", state="out", reason="gone", waiting=1)
    known = {
        "version": "1.2.3",
        "at": 1_000.0,
        "processes": {
            "server": ProcessNumbers(up=True, started_at=900.0, cpu_s=1.5, memory_bytes=1_000),
            "sender-0": ProcessNumbers(up=False, trouble="the disk is full"),
        },
        "upstreams": {'odd "name"\n': gpu},
        "commits": commits.snapshot(queued=5),
        "remotes": {
            "openai": RemoteSnapshot(
                batches={"planned": 1, "running": 2},
                lines=90,
                enqueued={"gpt": 700},
                limits={"gpt": 900},
                heard_at=940.0,
            )
        },
        "purchases": [
            PurchaseNumbers(upstream="openai", model="gpt", lines=8, usage=Usage(30, 4, 20, 5, 50))
        ],
        "batches": [
            BatchNumbers(
                id="batch_1",
                project="default",
                status="in_progress",
                model=None,
                total=100,
                answered=10,
                failed=5,
                in_flight=3,
                pending=82,
                lines_per_s=8.5,
                age_s=60.0,
                deadline_s=30.0,
                remaining_s=40.0,
                waiting=None,
            )
        ],
        "batches_by_status": {"in_progress": 1, "completed": 2},
        "files": [FileNumbers(purpose="batch", status="kept", count=3, bytes=400)],
        "free_bytes": 10**9,
    }
    return Numbers(**(known | fields))


def read(told: Numbers, accept: str = "") -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels."""
    text, content_type = exposition(told, accept)
    parse = open_metrics if content_type.startswith("application/openmetrics-text") else classic
    return {
        (sample.name, *(sample.labels[key] for key in sorted(sample.labels))): sample.value
        for family in parse(text.decode())
        for sample in family.samples
    }


@pytest.mark.parametrize("accept", ["", "text/plain;version=0.0.4", OPENMETRICS, f"{OPENMETRICS},*/*;q=0.1"])
def test_every_number_has_its_sample_in_either_format(accept):
    seen = read(numbers(), accept)
    gpu = 'odd "name"\n'
    expected = {
        ("bulkrate_build_info", "1.2.3"): 1,
        ("bulkrate_process_up", "server"): 1,
        ("bulkrate_process_up", "sender-0"): 0,
        ("bulkrate_process_in_trouble", "sender-0"): 1,
        ("bulkrate_process_cpu_seconds_total", "server"): 1.5,
        ("bulkrate_upstream_in_flight", gpu): 3,
        ("bulkrate_upstream_window", gpu): 8,
        ("bulkrate_upstream_mode", "blind", gpu): 1,
        ("bulkrate_upstream_state", "out", gpu): 1,
        ("bulkrate_upstream_state", "ok", gpu): 0,
        ("bulkrate_upstream_retry_lines", gpu): 1,
        ("bulkrate_upstream_attempts_total", "answered", gpu): 2,
        ("bulkrate_upstream_attempts_total", "connection_lost", gpu): 1,
        ("bulkrate_upstream_unanswered_seconds_total", gpu): 2.5,
        ("bulkrate_upstream_latency_seconds_count", gpu): 2,
        ("bulkrate_upstream_latency_seconds_sum", gpu): 7.3,
        ("bulkrate_upstream_latency_seconds_bucket", "0.375", gpu): 1,
        ("bulkrate_upstream_latency_seconds_bucket", "5.0", gpu): 1,
        ("bulkrate_upstream_latency_seconds_bucket", "7.5", gpu): 2,
        ("bulkrate_upstream_latency_seconds_bucket", "+Inf", gpu): 2,
        ("bulkrate_upstream_input_tokens_total", gpu): 20,
        ("bulkrate_upstream_cached_tokens_total", gpu): 8,
        ("bulkrate_upstream_output_tokens_total", gpu): 10,
        ("bulkrate_upstream_reasoning_tokens_total", gpu): 4,
        ("bulkrate_remote_batches", "planned", "openai"): 1,
        ("bulkrate_remote_batches", "running", "openai"): 2,
        ("bulkrate_remote_batches", "failed", "openai"): 0,
        ("bulkrate_remote_lines", "openai"): 90,
        ("bulkrate_remote_enqueued_tokens", "gpt", "openai"): 700,
        ("bulkrate_remote_enqueued_tokens_limit", "gpt", "openai"): 900,
        ("bulkrate_remote_heard_age_seconds", "openai"): 60,
        ("bulkrate_remote_purchases_total", "gpt", "openai"): 8,
        ("bulkrate_remote_purchased_tokens_total", "cached", "gpt", "openai"): 4,
        ("bulkrate_commits_total",): 1,
        ("bulkrate_commit_lines_total",): 2,
        ("bulkrate_commit_bytes_total",): 300,
        ("bulkrate_commit_duration_seconds_count",): 1,
        ("bulkrate_commit_fsync_seconds_sum",): 0.004,
        ("bulkrate_commit_queue_lines",): 5,
        ("bulkrate_records_up",): 1,
        ("bulkrate_batches", "completed"): 2,
        ("bulkrate_files", "batch", "kept"): 3,
        ("bulkrate_files_bytes", "batch", "kept"): 400,
        ("bulkrate_disk_free_bytes",): 10**9,
        ("bulkrate_batch_info", "batch_1", "", "default", "in_progress"): 1,
        ("bulkrate_batch_lines", "batch_1", "pending"): 82,
        ("bulkrate_batch_lines_per_second", "batch_1"): 8.5,
        ("bulkrate_batch_age_seconds", "batch_1"): 60,
        ("bulkrate_batch_deadline_seconds", "batch_1"): 30,
        ("bulkrate_batch_slack_seconds", "batch_1"): -10,
    }
    assert {key: seen.get(key) for key in expected} == pytest.approx(expected)


def test_every_family_of_the_list_is_told_and_no_other():
    text = exposition(numbers(), "")[0].decode()
    told = {match[1].removesuffix("_total") for match in re.finditer(r"# HELP (\S+) (.+)", text)}
    assert told == set(FAMILIES)


def test_without_records_the_rest_is_told():
    seen = read(numbers(records_up=False, batches=[], batches_by_status={}, files=[], free_bytes=None))
    assert seen["bulkrate_records_up",] == 0
    assert seen["bulkrate_commits_total",] == 1
    assert not [key for key in seen if key[0].startswith("bulkrate_batch")]


def test_a_batch_that_does_not_move_has_no_slack():
    still = msgspec.structs.replace(numbers().batches[0], remaining_s=None)
    assert ("bulkrate_batch_slack_seconds", "batch_1") not in read(numbers(batches=[still]))
