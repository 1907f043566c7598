"""What a job takes over from earlier ones, and what it leaves behind."""

from __future__ import annotations

import msgspec
import pytest

import bulkrate
from bulkrate.toolkit.places.host import Door
from tests.support.processes import wait_until

ROWS = [{"id": n, "text": f"text {n}"} for n in range(6)]


@pytest.mark.server
def test_known_answers_are_taken_over_unless_it_is_asked_for_anew(tmp_path, server):
    here = {"data": tmp_path, "server": server.url, "model": "m", "prompt": "{{ text }}", "id": "id"}
    assert bulkrate.map(ROWS, **here).wait().summary["reused"] == 0
    more = [*ROWS, {"id": 6, "text": "another"}]
    assert bulkrate.map(more, **here).wait().summary["reused"] == 6
    anew = bulkrate.map(more, fresh=True, **here).wait().summary
    assert (anew["reused"], anew["answered"]) == (0, 7)


@pytest.mark.server
def test_the_engine_keeps_nothing_that_the_job_has(tmp_path):
    job = bulkrate.map(ROWS, prompt="{{ text }}", data=tmp_path, upstream="sandbox", model="m")
    assert len(job.result()) == 6
    (door,) = (tmp_path / "engines").glob("*/door.json")
    assert msgspec.json.decode(door.read_bytes(), type=Door).url
    inputs = door.parent / "blobs" / "files"
    wait_until(lambda: [path.name for path in inputs.rglob("*") if path.is_file()], lambda left: not left)
    assert all(result.ok for result in job.result())


@pytest.mark.server
def test_the_same_job_written_elsewhere_is_not_paid_for_again(tmp_path, server):
    table = tmp_path / "rows.csv"
    table.write_text("id,text\n1,one\n2,two\n")
    here = {"data": tmp_path, "server": server.url, "model": "m", "prompt": "{{ text }}"}
    first = bulkrate.map(table, output=tmp_path / "a.csv", **here).wait()
    second = bulkrate.map(table, output=tmp_path / "b.jsonl", **here)
    assert second.id == first.id
    assert (tmp_path / "b.jsonl").read_text().count("\n") == 2
    assert [result.value for result in second.result()] == [result.value for result in first.result()]
