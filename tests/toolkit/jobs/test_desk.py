"""Which job is the same, which may be moved, and what two who begin at once find."""

from __future__ import annotations

import csv
import threading

import msgspec
import pyarrow as pa
import pytest

from bulkrate.errors import JobError, OverBudget, RecipeError, SinkError
from bulkrate.toolkit.frames import to_arrow
from bulkrate.toolkit.jobs.desk import Desk
from bulkrate.toolkit.jobs.record import VERSION, JobState
from bulkrate.toolkit.jobs.spec import JobSpec, ModelAsk, SinkAsk, SourceAsk, Watch
from bulkrate.toolkit.places.place import PlaceAsk
from bulkrate.toolkit.sources import open_source
from tests.toolkit.jobs.conftest import Quick, asked, run

ROWS = [{"text": "a"}, {"text": "b"}]


@pytest.fixture
def of_file(tmp_path, server):
    """A job over a file."""
    path = tmp_path / "rows.csv"
    path.write_text("text\na\nb\n")
    return asked(server.url, source=SourceAsk(what=str(path)))


def test_the_same_over_the_same_is_the_same_job(desk, of_file, tmp_path):
    first, known = desk.begin(of_file)
    assert not known
    assert desk.begin(of_file)[0].id == first.id
    desk.go_on(first, Quick())
    assert desk.begin(of_file)[1]
    assert desk.begin(of_file, fresh=True)[0].id != first.id
    (tmp_path / "rows.csv").write_text("text\na\nother\n")
    assert desk.begin(of_file)[0].id != first.id


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"watch": Watch(fail_under=0.5)}, True),
        ({"max_cost": "5.00"}, True),
        ({"place": PlaceAsk(server="http://127.0.0.1:9/v1")}, True),
        ({"place": PlaceAsk(sandbox={})}, False),
        ({"model": ModelAsk(model="other")}, False),
        ({"keys": ("text",)}, False),
        ({"name": "named"}, False),
    ],
)
def test_where_it_runs_and_what_it_may_cost_make_no_other_job(desk, of_file, change, same):
    first, _ = desk.begin(of_file)
    changed = msgspec.structs.replace(of_file, **change)
    again, known = desk.begin(changed)
    assert (again.id == first.id, known) == (same, same)
    if same:
        spec = again.load().spec
        assert (spec.watch, spec.max_cost, spec.place) == (changed.watch, changed.max_cost, changed.place)


def test_many_who_begin_the_same_at_once_find_one_job(desk, of_file):
    found = []
    threads = [threading.Thread(target=lambda: found.append(desk.begin(of_file))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({folder.id for folder, _ in found}) == 1
    assert sorted(known for _, known in found) == [False] + [True] * 7


def test_only_one_moves_a_job_on(desk, of_file):
    folder, _ = desk.begin(of_file)
    with folder.driven(), pytest.raises(JobError, match=rf"Job.from_id\('{folder.id}'\).wait\(\)"):
        desk.go_on(folder, Quick())
    assert desk.go_on(folder, Quick()).state is JobState.DONE


def test_money_is_agreed_to_once_and_more_may_be_allowed_later(desk, of_file):
    class Miser(Quick):
        def confirm(self, *_: object) -> bool:
            return False

    priced = msgspec.structs.replace(
        of_file, model=ModelAsk(model="gpt-4o-mini"), place=PlaceAsk(server="https://api.openai.com/v1")
    )
    folder, _ = desk.begin(priced)
    with pytest.raises(OverBudget, match=r"\.resume\(\)"):
        desk.go_on(folder, Miser())
    assert folder.load().state is JobState.READY
    assert not folder.load().rounds


def test_a_file_of_requests_is_not_needed_once_it_is_read(desk, server, tmp_path):
    path = tmp_path / "requests.jsonl"
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    path.write_bytes(msgspec.json.encode(line))
    spec = asked(server.url, source=SourceAsk(what=str(path)))
    spec = msgspec.structs.replace(spec, asking=msgspec.structs.replace(spec.asking, recipe="requests"))
    folder, _ = desk.begin(msgspec.structs.replace(spec))
    desk.preview(folder)
    path.unlink()
    assert desk.go_on(folder, Quick()).counts["answered"] == 1


def test_a_cancelled_job_that_never_began_has_no_answers(desk, of_file):
    folder, _ = desk.begin(of_file)
    desk.preview(folder)
    record = desk.cancel(folder, Quick())
    assert record.state is JobState.CANCELLED
    assert record.counts["failed"] == 2
    with pytest.raises(JobError, match="nothing to cancel"):
        desk.cancel(folder, Quick())


def test_a_job_is_found_by_how_its_id_begins_unless_it_could_be_two(desk, server):
    one, _ = run(desk, asked(server.url), ROWS)
    assert desk.jobs.find(one.id[:-2]).id == one.id
    run(desk, asked(server.url), [{"text": "c"}])
    with pytest.raises(JobError, match="may mean 2 jobs"):
        desk.jobs.find("map-")
    with pytest.raises(JobError, match="no job"):
        desk.jobs.find("other")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"state": "flying"}, "flying"),
        ({"version": VERSION + 1}, "newer"),
        (None, "cannot be read"),
    ],
)
def test_a_record_that_cannot_be_read_is_named_and_the_other_jobs_go_on(desk, of_file, changed, says):
    """One record of another shape made every command fail, and jobs could not be begun."""
    odd, _ = desk.begin(of_file)
    record = odd.path / "job.json"
    kept = record.read_bytes()
    record.write_bytes(
        b"\xff" if changed is None else msgspec.json.encode(msgspec.json.decode(kept) | changed)
    )
    warned: list[str] = []
    desk = Desk(desk.home, {}, warn=warned.append)
    other, known = desk.begin(msgspec.structs.replace(of_file, name="other"))
    assert not known
    assert [each.id for each in desk.jobs.records()] == [other.id]
    assert desk.jobs.find("other").id == other.id
    (told,) = warned
    assert odd.id in told
    assert says in told
    with pytest.raises(JobError, match=says):
        desk.go_on(desk.jobs.find(odd.id), Quick())
    record.write_bytes(kept)
    again, known = desk.begin(of_file)
    assert (again.id, known) == (odd.id, True)


def test_a_record_from_before_there_were_versions_is_read(desk, of_file):
    folder, _ = desk.begin(of_file)
    told = msgspec.json.decode((folder.path / "job.json").read_bytes())
    del told["version"]
    (folder.path / "job.json").write_bytes(msgspec.json.encode(told))
    assert folder.load().version == VERSION


def test_what_stopped_a_job_is_forgotten_once_it_is_done(desk, of_file, tmp_path):
    """A disk that had been full was told as the trouble of a job that was done."""
    out = tmp_path / "out.csv"
    folder, _ = desk.begin(msgspec.structs.replace(of_file, sink=SinkAsk(what=str(out))))
    desk.go_on(folder, Quick(), only_prepare=True)
    out.with_name(".out.csv.part").mkdir()
    with pytest.raises(SinkError):
        desk.go_on(folder, Quick())
    assert folder.load().trouble is not None
    out.with_name(".out.csv.part").rmdir()
    assert desk.go_on(folder, Quick()).trouble is None


def test_a_window_that_is_none_is_told_before_a_row_is_read(desk, of_file):
    with pytest.raises(RecipeError, match="from 1h to 30d"):
        desk.begin(msgspec.structs.replace(of_file, window="5x"))
    assert desk.jobs.records() == []


def test_a_key_that_was_wrong_is_put_right_where_the_job_runs(desk, of_file):
    """With another name for the key the job was said to be elsewhere, and to go on with the wrong one."""

    class Stop(Quick):
        def pause(self, seconds: float) -> None:
            raise KeyboardInterrupt

    def keyed(name: str) -> JobSpec:
        place = msgspec.structs.replace(of_file.place, server_key=f"env:{name}")
        return msgspec.structs.replace(of_file, place=place)

    desk = Desk(desk.home, {"ONE": "a", "OTHER": "b"})
    folder, _ = desk.begin(keyed("ONE"))
    with pytest.raises(KeyboardInterrupt):
        desk.go_on(folder, Stop())
    same, known = desk.begin(keyed("OTHER"))
    assert (same.id, known) == (folder.id, True)
    assert folder.load().spec.place.server_key == "env:OTHER"
    assert desk.go_on(folder, Quick()).counts["answered"] == 2


def test_what_became_of_the_rows_of_an_earlier_result_gives_way_to_what_became_of_them_now(
    desk, tmp_path, server
):
    """The second of two steps was paid for, and then its frame could not be made: two columns `_status`."""
    (tmp_path / "rows.csv").write_text("text,_status,_error\na,failed,why\n")
    spec = asked(server.url, source=SourceAsk(what=str(tmp_path / "rows.csv")))
    for name, options, status in (("told", {}, "answered"), ("bare", {"status": False}, "failed")):
        out = tmp_path / f"{name}.csv"
        folder, _ = desk.begin(msgspec.structs.replace(spec, sink=SinkAsk(what=str(out), options=options)))
        if folder.load().state.ended:
            desk.write_again(folder)
        else:
            desk.go_on(folder, Quick())
        (row,) = csv.DictReader(out.read_text().splitlines())
        assert (row["_status"], row["answer"] != "") == (status, True)


def test_also_where_it_was_told_in_another_type(desk, server):
    """A frame without a failure has an `_error` of no type at all."""
    rows = pa.table({"text": ["a [[sandbox:status=400]]"], "_status": [7], "_error": pa.nulls(1)})
    source = open_source(rows)
    folder, _ = desk.begin(asked(server.url), source)
    desk.go_on(folder, Quick(), source=source)
    runner = desk.runner(folder)
    (row,) = to_arrow(runner.result(), runner.shape()).to_pylist()
    assert (row["_status"], row["_error"][:8]) == ("failed", "http_400")
