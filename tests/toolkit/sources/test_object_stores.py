"""Rows come from S3 and from Google Cloud Storage, by the real wire; what is wrong is told soon."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulkrate.errors import SourceError
from bulkrate.toolkit.sources import open_source
from tests.support.objectstores import Bucket, store
from tests.support.processes import free_port

ROWS = [{"id": 1, "text": "a"}, {"id": 2, "text": "b"}]


def _content(extension: str) -> bytes:
    if extension == "csv":
        return b"id,text\n1,a\n2,b\n"
    if extension == "jsonl":
        return b'{"id":1,"text":"a"}\n{"id":2,"text":"b"}\n'
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), file)
    return file.getvalue()


@pytest.mark.parametrize("extension", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("name", ["rows", "deep/in a folder/rows", "Grüße, {1}|2"])
def test_an_object_is_read_as_a_file_is(objects, extension, name):
    objects.put(f"{name}.{extension}", _content(extension))
    source = open_source(objects.at(f"{name}.{extension}"))
    assert [{**row, "id": int(row["id"])} for row in source.rows()] == ROWS
    assert source.name == objects.at(f"{name}.{extension}")


def test_a_folder_and_a_pattern_are_read_by_name(objects):
    objects.put("reviews/b.csv", b"id\n3\n")
    objects.put("reviews/a.csv", b"id\n1\n2\n")
    objects.put("reviews/_SUCCESS", b"done")
    objects.put("reviews/notes.txt", b"x")
    assert [row["id"] for row in open_source(objects.at("reviews/*.csv")).rows()] == ["1", "2", "3"]
    objects.put("parts/b.csv", b"id\n3\n")
    objects.put("parts/.a.csv", b"id\n9\n")
    assert [row["id"] for row in open_source(objects.at("parts")).rows()] == ["3"]


def test_the_mark_changes_with_the_object(objects):
    objects.put("t.csv", b"a\n1\n")
    before = open_source(objects.at("t.csv")).mark()
    assert open_source(objects.at("t.csv")).mark() == before
    objects.put("t.csv", b"a\n1\n2\n")
    assert open_source(objects.at("t.csv")).mark() != before


@pytest.mark.parametrize("address", ["{bucket}/nothing.csv", "no-such-bucket/t.csv"])
def test_what_is_not_there_is_told(objects, address):
    named = f"{objects.scheme}://{address.format(bucket=objects.name)}"
    with pytest.raises(SourceError, match=f"{named} does not exist, or may not be seen"):
        open_source(named)


def test_an_address_that_is_none_is_told(objects):
    with pytest.raises(SourceError, match=r"is no address of an object: .*speed"):
        open_source(objects.at("t.csv?speed=high"))


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_store_that_does_not_answer_is_told_before_a_minute_is_over(objects, monkeypatch):
    for name, value in objects.reached_at(free_port()).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SourceError, match=r"t\.csv: .*Could not connect to server"):
        open_source(objects.at("t.csv"))


def test_a_wrong_key_is_told(monkeypatch):
    with store("s3", INITIAL_NO_AUTH_ACTION_COUNT="0") as port:
        for name, value in Bucket("s3", port, "any").env.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SourceError, match=r"ACCESS_DENIED.* check the keys in the environment"):
            open_source("s3://any/t.csv")


def test_a_missing_key_file_of_google_is_told(monkeypatch, tmp_path):
    for name in ("STORAGE_EMULATOR_HOST", "CLOUD_STORAGE_EMULATOR_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nowhere.json"))
    with pytest.raises(SourceError, match=r"Cannot open credentials file .*check the keys in the env"):
        open_source("gs://any/t.csv")


def test_an_address_may_say_itself_where_the_store_is(objects, monkeypatch):
    objects.put("t.csv", b"a\n1\n")
    for name in objects.env:
        monkeypatch.delenv(name)
    user = "AKIATESTS:secret" if objects.scheme == "s3" else "anonymous"
    place = f"scheme=http&endpoint_override=127.0.0.1:{objects.port}"
    source = open_source(f"{objects.scheme}://{user}@{objects.name}/t.csv?{place}")
    assert list(source.rows()) == [{"a": "1"}]
    assert "secret" not in source.name
