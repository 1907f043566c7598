"""Mistral's own SDK finds the double to be its batch jobs and files."""

from __future__ import annotations

import json

import pytest
from mistralai.client import Mistral
from mistralai.client import errors as sdk_errors

from tests.testing.conftest import Running

MODEL = "mistral-small-latest"


def client(running: Running, key: str = "test-key") -> Mistral:
    return Mistral(api_key=key, server_url=running.url)


def content(count: int) -> bytes:
    lines = [
        {
            "custom_id": f"line-{number}",
            "body": {"messages": [{"role": "user", "content": f"question {number}"}]},
        }
        for number in range(count)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def uploaded(sdk: Mistral, count: int) -> str:
    file = {"file_name": "in.jsonl", "content": content(count)}
    return sdk.files.upload(file=file, purpose="batch").id


def test_a_file_is_uploaded_found_and_removed(mistral: Running) -> None:
    with client(mistral) as sdk:
        ident = uploaded(sdk, 2)
        assert sdk.files.retrieve(file_id=ident).filename == "in.jsonl"
        assert [file.id for file in sdk.files.list(search="in.jsonl").data] == [ident]
        assert sdk.files.delete(file_id=ident).deleted
        with pytest.raises(sdk_errors.SDKError):
            sdk.files.retrieve(file_id=ident)


def test_a_job_is_created_listed_and_answered(mistral: Running) -> None:
    with client(mistral) as sdk:
        ident = uploaded(sdk, 3)
        made = sdk.batch.jobs.create(
            input_files=[ident], model=MODEL, endpoint="/v1/chat/completions", metadata={"mine": "yes"}
        )
        assert [job.id for job in sdk.batch.jobs.list().data] == [made.id]
        job = sdk.batch.jobs.get(job_id=made.id)
        assert (job.status, job.succeeded_requests, job.metadata) == ("SUCCESS", 3, {"mine": "yes"})
        assert job.error_file is None
        lines = sdk.files.download(file_id=job.output_file).read().splitlines()
        answers = [json.loads(line) for line in lines]
        assert [answer["custom_id"] for answer in answers] == ["line-0", "line-1", "line-2"]
        assert answers[1]["response"]["body"]["choices"][0]["message"]["content"].endswith("question 1")
        assert sdk.batch.jobs.delete(job_id=made.id).deleted


def test_a_running_job_is_cancelled_and_keeps_what_had_run(mistral: Running) -> None:
    mistral.tell("faults", slow_s=1000)
    with client(mistral) as sdk:
        made = sdk.batch.jobs.create(
            input_files=[uploaded(sdk, 4)], model=MODEL, endpoint="/v1/chat/completions"
        )
        mistral.tell("clock", advance_s=500)
        assert sdk.batch.jobs.cancel(job_id=made.id).status == "CANCELLATION_REQUESTED"
        job = sdk.batch.jobs.get(job_id=made.id)
        assert (job.status, job.succeeded_requests) == ("CANCELLED", 2)
        assert len(sdk.files.download(file_id=job.output_file).read().splitlines()) == 2


def test_lines_that_fail_are_in_the_error_file(mistral: Running) -> None:
    mistral.tell("faults", line_status={2: 429})
    with client(mistral) as sdk:
        made = sdk.batch.jobs.create(
            input_files=[uploaded(sdk, 2)], model=MODEL, endpoint="/v1/chat/completions"
        )
        job = sdk.batch.jobs.get(job_id=made.id)
        (line,) = sdk.files.download(file_id=job.error_file).read().splitlines()
        assert json.loads(line)["response"]["status_code"] == 429


@pytest.mark.parametrize(
    ("faults", "status"),
    [
        ({"expire_after": 1}, "TIMEOUT_EXCEEDED"),
        ({"invalid": True}, "FAILED"),
        ({"validating_s": 1000}, "QUEUED"),
    ],
)
def test_faults_are_states_that_the_sdk_knows(mistral: Running, faults: dict, status: str) -> None:
    mistral.tell("faults", **faults)
    with client(mistral) as sdk:
        made = sdk.batch.jobs.create(
            input_files=[uploaded(sdk, 2)], model=MODEL, endpoint="/v1/chat/completions"
        )
        assert sdk.batch.jobs.get(job_id=made.id).status == status


def test_a_bad_key_and_an_unknown_model_are_refused(mistral: Running) -> None:
    with client(mistral, "wrong") as sdk, pytest.raises(sdk_errors.SDKError, match="401"):
        sdk.batch.jobs.list()
    mistral.tell("faults", models=["other"])
    with client(mistral) as sdk, pytest.raises(sdk_errors.SDKError, match="Invalid model"):
        sdk.batch.jobs.create(input_files=[uploaded(sdk, 1)], model=MODEL, endpoint="/v1/chat/completions")
