"""Results go to S3 and to Google Cloud Storage, by the real wire: whole or not at all, whoever dies when."""

from __future__ import annotations

import json
import signal
from collections import Counter

import pytest

from bulkrate.errors import SinkError
from bulkrate.toolkit.rows.table import Column, Table
from bulkrate.toolkit.sinks import exists, open_sink
from bulkrate.toolkit.sources import open_source
from tests.support.command import Command, hosts_stopped, ran
from tests.support.objectstores import Bucket, store, tapped
from tests.support.processes import free_port

TABLE = Table(columns=(Column(name="id"), Column(name="text", kind="text")))
ROWS = [{"id": 1, "text": "a"}, {"id": 2, "text": "b"}]


@pytest.mark.parametrize("extension", ["csv", "csv.gz", "jsonl", "jsonl.zst", "parquet", "arrow"])
def test_an_object_appears_whole_and_alone(objects, extension):
    target = objects.at(f"deep/out.{extension}")
    assert not exists(target)
    sink = open_sink(target)
    sink.open(TABLE)
    sink.write(ROWS)
    assert objects.names() == []
    sink.commit()
    assert objects.names() == [f"deep/out.{extension}"]
    assert exists(target)
    assert [{**row, "id": int(row["id"])} for row in open_source(target).rows()] == ROWS


def test_an_object_that_was_there_stays_until_the_new_one_is_whole(objects):
    objects.put("out.csv", b"old")
    sink = open_sink(objects.at("out.csv"))
    sink.open(TABLE)
    sink.write(ROWS)
    sink.discard()
    assert objects.get("out.csv") == b"old"
    sink.open(TABLE)
    sink.write(ROWS)
    sink.commit()
    assert objects.get("out.csv") == b"id,text\n1,a\n2,b\n"
    assert objects.names() == ["out.csv"]


def test_a_bucket_that_is_missing_is_told_before_a_row_is_written(objects):
    with pytest.raises(SinkError, match=r"://no-such-bucket/out\.csv: .*(no such bucket|NO_SUCH_BUCKET)"):
        open_sink(f"{objects.scheme}://no-such-bucket/out.csv").open(TABLE)


def test_a_wrong_key_is_told_before_a_row_is_written(monkeypatch):
    with store("s3", INITIAL_NO_AUTH_ACTION_COUNT="0") as port:
        for name, value in Bucket("s3", port, "any").env.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SinkError, match="check the keys in the environment"):
            open_sink("s3://any/out.csv").open(TABLE)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_store_that_does_not_answer_is_told_before_a_minute_is_over(objects, monkeypatch):
    for name, value in objects.reached_at(free_port()).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SinkError, match=r"out\.csv: .*Could not connect to server"):
        exists(objects.at("out.csv"))


@pytest.fixture
def home(tmp_path):
    with hosts_stopped(tmp_path / ".bulkrate"):
        yield tmp_path


def _words(source: str, target: str, journal: str = "") -> list[str]:
    upstream = f"sandbox?journal={journal}" if journal else "sandbox"
    return ["run", source, "-p", "What of {{ id }}?", "-m", "m", "-o", target, "--upstream", upstream, "-q"]


@pytest.mark.server
@pytest.mark.slow
def test_a_job_goes_from_a_store_to_a_store_in_every_format(objects, home):
    objects.put("a.csv", b"id,text\n1,a\n2,b\n")
    for source, target in (("a.csv", "b.jsonl"), ("b.jsonl", "c.parquet"), ("c.parquet", "d.csv")):
        words = _words(objects.at(source), objects.at(target))
        run = ran(home, *words, "--answer", target[0], "--no-status")
        assert run.code == 0, run.stderr
        assert run.json["output"] == objects.at(target)
    rows = list(open_source(objects.at("d.csv")).rows())
    assert [row["id"] for row in rows] == ["1", "2"]
    assert all(row["b"] and row["c"] and row["d"] for row in rows)
    assert sorted(objects.names()) == ["a.csv", "b.jsonl", "c.parquet", "d.csv"]


@pytest.mark.server
def test_an_object_of_somebody_else_is_written_over_only_when_told_to(objects, home):
    objects.put("rows.csv", b"id\n1\n")
    objects.put("out.csv", b"somebody's")
    words = _words(objects.at("rows.csv"), objects.at("out.csv"))
    refused = ran(home, *words)
    assert refused.code == 8
    assert f"{objects.at('out.csv')} exists" in refused.stderr
    assert "--overwrite" in refused.stderr
    assert objects.get("out.csv") == b"somebody's"
    assert ran(home, *words, "--overwrite").code == 0
    assert (objects.get("out.csv") or b"").startswith(b"id,answer")


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_stopped_in_the_middle_of_the_upload_leaves_no_half_object(objects, home, number):
    count, filler = 60, "x" * 500_000
    lines = (json.dumps({"id": n, "filler": filler}) for n in range(count))
    objects.put("rows.jsonl", "\n".join(lines).encode())
    journal = home / "journal.jsonl"
    words = _words(objects.at("rows.jsonl"), objects.at("out.jsonl"), str(journal))
    commands: list[Command] = []
    # S3 takes parts of 10 MB, Google's wire pieces of 8: the whole of 30 MB is under way then.
    with tapped(objects.port, 15_000_000, lambda: commands[0].send(number)) as port:
        commands.append(Command(home, *words, env=objects.reached_at(port)))
        assert commands[0].end() in {0, 128 + number}, commands[0].stderr
    found = objects.get("out.jsonl")
    again = ran(home, *words)
    assert again.code == 0, again.stderr
    whole = objects.get("out.jsonl") or b""
    assert [json.loads(line)["id"] for line in whole.splitlines()] == list(range(count))
    assert found in {None, whole}
    if number == signal.SIGKILL:
        assert found is None
    calls = Counter(json.loads(line)["body_sha256"] for line in journal.read_bytes().splitlines())
    assert set(calls.values()) == {1}
    assert len(calls) == count
