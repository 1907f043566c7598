"""Which job is the same, which may be moved, and what two who begin at once find."""

from __future__ import annotations

import threading

import msgspec
import pytest

from bulkrate.errors import JobError, OverBudget
from bulkrate.toolkit.jobs.record import JobState
from bulkrate.toolkit.jobs.spec import ModelAsk, SourceAsk, Watch
from bulkrate.toolkit.places.place import PlaceAsk
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
    assert desk.find(one.id[:-2]).id == one.id
    run(desk, asked(server.url), [{"text": "c"}])
    with pytest.raises(JobError, match="may mean 2 jobs"):
        desk.find("map-")
    with pytest.raises(JobError, match="no job"):
        desk.find("other")
