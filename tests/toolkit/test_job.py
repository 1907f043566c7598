"""Jobs from Python: in a script, a notebook, asyncio."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
from decimal import Decimal
from pathlib import Path

import pytest

import bulkrate
from bulkrate.errors import JobError, RecipeError, SourceError, TimedOut

TEXTS = [f"text {n}" for n in range(8)]
SLOW = [f"text {n} [[sandbox:sleep_ms=1500]]" for n in range(4)]


@pytest.fixture
def here(tmp_path, server):
    """Options of a job with a state folder of its own, on the server that tests share."""
    return {"data": tmp_path / "state", "server": server.url, "model": "m", "progress": False}


def texts_of(results):
    return [result.row["text"] for result in results]


def test_texts_are_answered_in_their_order(here):
    results = bulkrate.map(TEXTS, **here).result()
    assert texts_of(results) == TEXTS
    assert all(result.ok and result.value and result.error is None for result in results)
    assert len({result.value for result in results}) == len(TEXTS)
    assert [result.index for result in results] == list(range(8))
    assert results[-1] == list(results)[-1]
    assert results[2:4] == list(results)[2:4]
    assert results[0].usage.output_tokens > 0
    assert results[0].attempts == 1
    assert results[0].cost == Decimal(0)
    with pytest.raises(IndexError):
        results[8]


def test_an_iterator_is_read_once_and_each_is_a_job_of_its_own(here):
    first = bulkrate.map(({"a": n} for n in range(3)), prompt="of {{ a }}", **here)
    second = bulkrate.map(({"a": n} for n in range(3, 5)), prompt="of {{ a }}", **here)
    assert [each.row for each in first.result()] == [{"a": 0}, {"a": 1}, {"a": 2}]
    assert [each.row for each in second.result()] == [{"a": 3}, {"a": 4}]


def test_chunks_begun_side_by_side_do_not_take_each_other_for_the_same_job(here):
    jobs = [bulkrate.map(TEXTS[n : n + 2], **here) for n in range(0, 8, 2)]
    assert len({job.id for job in jobs}) == 4
    assert [texts_of(job.result()) for job in jobs] == [TEXTS[n : n + 2] for n in range(0, 8, 2)]


def test_frames_come_back_as_frames(here):
    pl = pytest.importorskip("polars")
    pd = pytest.importorskip("pandas")
    frame = pl.DataFrame({"text": TEXTS, "n": range(8)})
    job = bulkrate.map(frame, prompt="{{ text }}", **here)
    told = job.to_polars()
    assert told.columns == ["text", "n", "answer", "_status", "_error"]
    assert told["n"].to_list() == list(range(8))
    assert told["_status"].unique().to_list() == ["answered"]
    other = bulkrate.map(pd.DataFrame({"text": TEXTS}), prompt="{{ text }}", **here)
    assert list(other.to_pandas()["answer"]) == told["answer"].to_list()
    assert other.to_arrow().num_rows == 8
    table = bulkrate.map(frame.to_arrow(), prompt="{{ text }}", **here).result()
    assert [each.value for each in table] == told["answer"].to_list()


def test_a_job_can_be_awaited_beside_others(here):
    async def both():
        loud = bulkrate.map(TEXTS, prompt="{{ text }}!", **here)
        calm = bulkrate.map(TEXTS, prompt="{{ text }}.", **here)
        return await asyncio.gather(_whole(loud), _whole(calm))

    async def _whole(job):
        return await job

    first, second = asyncio.run(both())
    assert texts_of(first) == texts_of(second) == TEXTS


def test_to_wait_has_an_end_and_the_job_goes_on(here):
    job = bulkrate.map(SLOW, **here)
    with pytest.raises(TimedOut, match="goes on"):
        job.wait(0.05)
    assert len(job.result(60).values) == 4


def test_rows_come_as_they_are_answered_each_once(here):
    texts = ["0 [[sandbox:sleep_ms=2500]]", "1", "2 [[sandbox:status=400]]", "3"]
    job = bulkrate.map(texts, **here)
    seen = [result.index for result in job.rows()]
    assert sorted(seen) == [0, 1, 2, 3]
    assert seen.index(1) < seen.index(0) < seen.index(2)
    assert [result.index for result in job.rows()] == seen


def test_what_failed_is_sent_again_and_nothing_else(here):
    texts = ["good", "never [[sandbox:status=400]]"]
    job = bulkrate.map(texts, **here)
    results = job.result()
    assert [each.ok for each in results] == [True, False]
    assert results[1].error.message
    assert not results[1].retryable
    assert [each.index for each in results.failed] == [1]
    again = job.retry_failed().result()
    assert again[0] == results[0]
    assert again[1].attempts == results[1].attempts + 1


def test_a_job_without_failures_has_nothing_to_retry(here):
    job = bulkrate.map(TEXTS[:2], **here)
    job.wait()
    with pytest.raises(JobError, match="nothing to retry"):
        job.retry_failed()


def test_a_cancelled_job_keeps_what_was_answered(here):
    job = bulkrate.map(["quick", "slow [[sandbox:sleep_ms=4000]]"], **here)
    for result in job.rows():
        if result.ok:
            break
    job.cancel()
    assert job.state == "cancelled"
    results = job.result()
    assert results[0].ok
    assert results[1].ok or results[1].retryable  # what was in flight may land


def test_a_job_is_found_by_its_id_and_by_its_name(here):
    job = bulkrate.map(TEXTS, name="nightly", **here)
    job.wait()
    for key in (job.id, "nightly"):
        found = bulkrate.Job.from_id(key, data=here["data"])
        assert (found.id, found.state) == (job.id, "done")
        assert found.result().values == job.result().values
    with pytest.raises(JobError, match="no job"):
        bulkrate.Job.from_id("another", data=here["data"])


def test_what_stops_a_job_reaches_whoever_waits(here):
    rows = iter([{"text": "a"}, 5])
    job = bulkrate.map(rows, prompt="{{ text }}", **here)
    with pytest.raises(SourceError, match="row 2"):
        job.result()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"colour": "red"}, "colour"),
        ({"retries": "many"}, "retries"),
        ({"prompt": "{{ missing }}"}, "missing"),
    ],
)
def test_what_does_not_fit_is_told_at_once(here, options, says):
    with pytest.raises(RecipeError, match=says):
        bulkrate.map([{"text": "a"}], **({"prompt": "{{ text }}"} | here | options))


@pytest.mark.parametrize(
    ("rows", "options", "says"),
    [
        # All was sent and paid, and then there was no frame: two columns of one name.
        ([{"text": "a", "v_scale": 1}], {"answer": "v", "dtype": "int8"}, "'v_scale'"),
        ([{"text": "a", "v": 1}], {"answer": "v"}, "'v'"),
        # All rows went to the model that no rule had picked.
        ([{"text": "a", "lang": "de"}], {"rules": [("lng", "de", "big")]}, "'lng'"),
        ([{"text": "a"}, {"text": "b"}], {"model_column": "model"}, "'model'"),
        ([{"text": "a", "of": "m"}, {"text": "b"}], {"model_column": "of", "model": None}, "row 2: "),
    ],
)
@pytest.mark.parametrize("shaped", [list, iter, "polars", "pandas"])
def test_columns_that_do_not_fit_are_told_before_anything_is_sent(here, rows, options, says, shaped):
    if isinstance(shaped, str):
        if len(rows[-1]) != len(rows[0]):
            pytest.skip("a frame's rows have the same columns")
        given = pytest.importorskip(shaped).DataFrame(rows)
    else:
        given = shaped(rows)
    with pytest.raises(RecipeError, match=says):
        bulkrate.embed(given, column="text", **(here | options)).wait()
    assert not list((here["data"] / "jobs").glob("*"))


def test_answers_do_not_go_where_it_is_told_what_became_of_a_row(here):
    with pytest.raises(RecipeError, match="'_status'"):
        bulkrate.map(["a"], schema={"name": str, "_status": str}, **here)


def test_a_row_that_lacks_the_column_that_names_the_model_gets_that_for_all(here):
    rows = [{"text": "a", "of": "big"}, {"text": "b"}]
    results = bulkrate.map(rows, prompt="{{ text }}", model_column="of", **here).result()
    assert [each.model for each in results] == ["big", "m"]


def test_requests_are_answered_in_their_order_each_with_an_answer_or_an_error(here):
    bodies = [
        {"messages": [{"role": "user", "content": text}]}
        for text in ("one", "two [[sandbox:status=400]]", "three")
    ]
    results = bulkrate.batch(bodies, **here)
    assert [each.ok for each in results] == [True, False, True]
    assert results[0].value["choices"][0]["message"]["content"]
    assert results[1].error.code
    assert results[1].row["body"]["messages"] == bodies[1]["messages"]


def test_a_notebook_shows_a_table(here):
    job = bulkrate.map(["<b>"], prompt="{{ text }}", name="<i>", **here)
    job.wait()
    shown = job._repr_html_()
    assert shown.startswith("<table>")
    assert "<i>" not in shown
    assert "answered" in repr(job)


def test_results_let_go_of_their_files(here):
    job = bulkrate.map(TEXTS[:2], **here)
    job.wait()
    job.result()
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        job.result()
        job.to_arrow()
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_same_rows_again_go_on_with_what_was_stopped(here):
    first = bulkrate.map(SLOW, **here)
    first._stop.set()
    first._thread.join()
    again = bulkrate.map(SLOW, **here)
    assert again.id == first.id
    assert len(again.result().values) == 4


def test_a_program_of_a_user_passes_a_strict_type_checker(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            import asyncio
            from decimal import Decimal

            import bulkrate

            job: bulkrate.Job = bulkrate.classify(["a"], labels=["x", "y"], model="m")
            first: bulkrate.RowResult = job.result()[0]
            cost: Decimal | None = job.cost
            names: list[str] = [str(each.value) for each in job.rows() if each.ok]
            results: bulkrate.Results = bulkrate.batch([{"model": "m", "messages": []}])


            async def main() -> int:
                return len(await bulkrate.map("rows.csv", prompt="{{ a }}"))


            print(asyncio.run(main()), first, cost, names, results)
            """
        )
    )
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(program)],
        capture_output=True,
        check=False,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert ran.returncode == 0, ran.stdout
