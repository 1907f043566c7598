"""Google's own SDK finds the double to be the Gemini API's batches and files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from tests.testing.conftest import Running

MODEL = "gemini-2.5-flash"


@contextmanager
def client(running: Running, key: str = "test-key") -> Iterator[genai.Client]:
    options = types.HttpOptions(base_url=running.url)
    with genai.Client(api_key=key, http_options=options) as made:
        yield made


def lines_of(path: Path, count: int) -> Path:
    path.write_text(
        "".join(
            json.dumps(
                {
                    "key": f"line-{number}",
                    "request": {"contents": [{"role": "user", "parts": [{"text": f"question {number}"}]}]},
                }
            )
            + "\n"
            for number in range(count)
        )
    )
    return path


def uploaded(google: genai.Client, path: Path, **about: Any) -> types.File:
    return google.files.upload(
        file=str(path), config=types.UploadFileConfig(mime_type="application/jsonl", **about)
    )


def test_a_file_is_uploaded_found_and_removed(gemini: Running, tmp_path: Path) -> None:
    with client(gemini) as google:
        made = uploaded(google, lines_of(tmp_path / "in.jsonl", 2), name="files/mine-1", display_name="in")
        assert made.name == "files/mine-1"
        assert made.state is types.FileState.ACTIVE
        assert google.files.get(name="files/mine-1").display_name == "in"
        assert [file.name for file in google.files.list()] == ["files/mine-1"]
        google.files.delete(name="files/mine-1")
        with pytest.raises(errors.ClientError, match="may not exist"):
            google.files.get(name="files/mine-1")


def test_a_batch_is_created_listed_and_answered(gemini: Running, tmp_path: Path) -> None:
    with client(gemini) as google:
        source = uploaded(google, lines_of(tmp_path / "in.jsonl", 3))
        made = google.batches.create(model=MODEL, src=source.name, config={"display_name": "mine"})
        assert [job.name for job in google.batches.list()] == [made.name]
        job = google.batches.get(name=made.name)
        assert job.state is types.JobState.JOB_STATE_SUCCEEDED
        assert job.display_name == "mine"
        content = google.files.download(file=job.dest.file_name)
        answers = [json.loads(line) for line in content.splitlines()]
        assert [answer["key"] for answer in answers] == ["line-0", "line-1", "line-2"]
        response = types.GenerateContentResponse.model_validate(answers[1]["response"])
        assert response.text.endswith("question 1")
        assert response.candidates[0].finish_reason is types.FinishReason.STOP
        google.batches.delete(name=made.name)
        with pytest.raises(errors.ClientError):
            google.batches.get(name=made.name)


def test_embeddings_are_batched_too(gemini: Running, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    content = {"parts": [{"text": "word"}]}
    path.write_text(
        json.dumps({"key": "a", "request": {"content": content, "outputDimensionality": 4}}) + "\n"
    )
    with client(gemini) as google:
        source = uploaded(google, path)
        with pytest.warns(Warning, match="experimental"):
            made = google.batches.create_embeddings(
                model="gemini-embedding-001", src={"file_name": source.name}, config={"display_name": "mine"}
            )
        job = google.batches.get(name=made.name)
        answer = json.loads(google.files.download(file=job.dest.file_name))
        assert len(answer["response"]["embedding"]["values"]) == 4


def test_a_running_batch_is_cancelled(gemini: Running, tmp_path: Path) -> None:
    gemini.tell("faults", slow_s=1000)
    with client(gemini) as google:
        source = uploaded(google, lines_of(tmp_path / "in.jsonl", 2))
        made = google.batches.create(model=MODEL, src=source.name, config={"display_name": "mine"})
        assert google.batches.get(name=made.name).state is types.JobState.JOB_STATE_RUNNING
        google.batches.cancel(name=made.name)
        assert google.batches.get(name=made.name).state is types.JobState.JOB_STATE_CANCELLED


@pytest.mark.parametrize(
    ("faults", "state"),
    [
        ({"expire_after": 1}, types.JobState.JOB_STATE_EXPIRED),
        ({"invalid": True}, types.JobState.JOB_STATE_FAILED),
        ({"validating_s": 1000}, types.JobState.JOB_STATE_PENDING),
    ],
)
def test_faults_are_states_that_the_sdk_knows(
    gemini: Running, tmp_path: Path, faults: dict, state: types.JobState
) -> None:
    gemini.tell("faults", **faults)
    with client(gemini) as google:
        source = uploaded(google, lines_of(tmp_path / "in.jsonl", 2))
        made = google.batches.create(model=MODEL, src=source.name, config={"display_name": "mine"})
        assert google.batches.get(name=made.name).state is state


def test_a_bad_key_and_a_full_quota_are_refused(gemini: Running, tmp_path: Path) -> None:
    with client(gemini, "wrong") as google, pytest.raises(errors.ClientError, match="API key not valid"):
        list(google.batches.list())
    with client(gemini) as google:
        source = uploaded(google, lines_of(tmp_path / "in.jsonl", 1))
        gemini.tell("faults", quota_full=-1)
        with pytest.raises(errors.ClientError, match="RESOURCE_EXHAUSTED"):
            google.batches.create(model=MODEL, src=source.name, config={"display_name": "mine"})
