"""`bulkrate validate`: 0 for a fit file, 6 for one with faults, 2 for a question that cannot be answered."""

from __future__ import annotations

import json

import pytest

from tests.support.processes import chat_line, jsonl


@pytest.fixture
def fit(tmp_path):
    path = tmp_path / "fit.jsonl"
    path.write_bytes(jsonl(chat_line("a"), chat_line("b", model="m")))
    return path


@pytest.fixture
def faulty(tmp_path):
    path = tmp_path / "faulty.jsonl"
    path.write_bytes(jsonl(chat_line("a"), chat_line("a"), chat_line("b") | {"method": "GET"}) + b"{\n")
    return path


def test_a_fit_file_is_0_and_its_lines_are_counted(typed, fit):
    ran = typed("validate", fit)
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert "2 lines for /v1/chat/completions: fit to run" in ran.stderr
    assert "gpt-4o-mini 1, m 1" in ran.stderr


def test_a_file_with_faults_is_6_and_every_fault_is_a_line(typed, faulty):
    ran = typed("validate", faulty)
    assert ran.exit_code == 6
    assert [line.partition(": ")[::2][0] for line in ran.stdout.splitlines()] == [
        "line 2",
        "line 3",
        "line 4",
    ]
    assert "line 2: duplicate_custom_id: " in ran.stdout
    assert "3 faults" in ran.stderr


@pytest.mark.parametrize(("which", "exit_code"), [("fit", 0), ("faulty", 6)])
def test_a_program_reads_json_and_nothing_else(typed, fit, faulty, which, exit_code):
    ran = typed("validate", "--json", {"fit": fit, "faulty": faulty}[which])
    assert ran.exit_code == exit_code
    assert ran.stderr == ""
    told = json.loads(ran.stdout)
    assert told["fit"] == (exit_code == 0)
    assert [fault["line"] for fault in told["faults"]] == ([] if exit_code == 0 else [2, 3, 4])
    assert told["lines_by_model"] == ({"gpt-4o-mini": 1, "m": 1} if exit_code == 0 else {"gpt-4o-mini": 2})


@pytest.mark.parametrize(("models", "exit_code"), [(["m", "gpt-*"], 0), (["m"], 6)])
def test_the_models_that_will_be_served_may_be_named(typed, fit, models, exit_code):
    flags = [word for model in models for word in ("--model", model)]
    assert typed("validate", fit, *flags).exit_code == exit_code


def test_an_endpoint_may_be_given_as_azure_writes_it(typed, fit):
    assert typed("validate", fit, "--endpoint", "/chat/completions").exit_code == 0
    assert typed("validate", fit, "--endpoint", "/v1/embeddings").exit_code == 6


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("gone.jsonl",), "gone.jsonl cannot be read: No such file or directory"),
        ((".",), ". cannot be read: Is a directory"),
        (("fit.jsonl", "--endpoint", "/v1/nonsense"), "/v1/nonsense"),
    ],
)
def test_a_question_that_cannot_be_answered_is_2_and_one_line(typed, fit, words, told):
    ran = typed("validate", *words)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert told in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert ran.stderr.startswith("bulkrate: ")


def test_an_empty_file_is_told_without_a_line(typed, tmp_path):
    (tmp_path / "empty.jsonl").write_bytes(b"\n\n")
    ran = typed("validate", "empty.jsonl")
    assert ran.exit_code == 6
    assert ran.stdout == "empty_file: The file has no lines.\n"
