"""Load out of the metrics pages of inference engines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.providers.engines import EngineLoad, read_load

VLLM = b"""\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="Qwen/Qwen3-8B"} 113.0
vllm:num_requests_running{engine="1",model_name="Qwen/Qwen3-8B"} 109.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="Qwen/Qwen3-8B"} 4.0
vllm:num_requests_waiting{engine="1",model_name="Qwen/Qwen3-8B"} 0.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity, {or} so"} 4.0
vllm:kv_cache_usage_perc{engine="0",model_name="Qwen/Qwen3-8B"} 0.4375
vllm:kv_cache_usage_perc{engine="1",model_name="Qwen/Qwen3-8B"} 0.5
vllm:num_preemptions_total{engine="0",model_name="Qwen/Qwen3-8B"} 2.0
vllm:num_preemptions_total{engine="1",model_name="Qwen/Qwen3-8B"} 1.0
vllm:num_preemptions_created{engine="0",model_name="Qwen/Qwen3-8B"} 1.75e+09
"""
VLLM_OLD = b"""\
vllm:num_requests_running{model_name="m"} 3.0
vllm:num_requests_waiting{model_name="m"} 1.0
vllm:gpu_cache_usage_perc{model_name="m"} 0.91
"""
SGLANG = b"""\
sglang:num_running_reqs{model_name="m",tp_rank="0"} 48.0
sglang:num_queue_reqs{model_name="m",tp_rank="0"} 7.0
sglang:token_usage{model_name="m",tp_rank="0"} 0.83
sglang:num_retracted_reqs{model_name="m",tp_rank="0"} 5.0
sglang:num_retracted_requests_total{model_name="m",tp_rank="0"} 12.0
"""
LLAMA = b"""\
llamacpp:predicted_tokens_seconds 128.5
llamacpp:requests_processing 4
llamacpp:requests_deferred 2
"""


@pytest.mark.parametrize(
    ("page", "load"),
    [
        (VLLM, EngineLoad(running=222, waiting=4, kv_usage=0.5, preemptions=3)),
        (VLLM_OLD, EngineLoad(running=3, waiting=1, kv_usage=0.91)),
        (SGLANG, EngineLoad(running=48, waiting=7, kv_usage=0.83, preemptions=12)),
        (LLAMA, EngineLoad(running=4, waiting=2)),
    ],
    ids=["vllm", "vllm-old", "sglang", "llama.cpp"],
)
def test_the_load_of_an_engine_is_read(page, load):
    assert read_load(page) == load
    assert read_load(page.replace(b"\n", b"\r\n")) == load
    assert read_load(page.rstrip()) == load


def test_a_page_that_does_not_tell_who_runs_and_who_waits_is_no_load():
    assert read_load(b"") is None
    assert read_load(b"process_cpu_seconds_total 12.5\n") is None
    assert read_load(b"vllm:num_requests_running 3\n") is None


def test_a_timestamp_behind_a_number_is_passed_over():
    page = b"llamacpp:requests_processing 4 1700000000000\nllamacpp:requests_deferred 0 1700000000000\n"
    assert read_load(page) == EngineLoad(running=4, waiting=0)


def test_numbers_that_cannot_be_are_passed_over():
    page = (
        VLLM_OLD
        + b"vllm:num_requests_running 1e99\nvllm:num_requests_running -3\nvllm:num_requests_waiting 1e\n"
    )
    assert read_load(page) == EngineLoad(running=3, waiting=1, kv_usage=0.91)


@given(st.binary(max_size=300))
def test_no_page_is_too_odd(noise):
    read_load(noise)
    assert read_load(noise.replace(b"vllm", b"") + b"\n" + VLLM_OLD) is not None


@given(st.text(alphabet="vllm:num_requests_running{}0123456789.e+- \n", max_size=200))
def test_no_number_is_too_odd(noise):
    load = read_load(noise.encode())
    assert load is None or (load.running >= 0 and load.waiting >= 0)
