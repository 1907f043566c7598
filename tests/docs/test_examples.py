"""Every example runs as it stands."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.processes import Server

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.server


def run(script: str, cwd: Path, **env: str) -> str:
    return command(sys.executable, EXAMPLES / script, cwd=cwd, **env)


def command(*line: str | Path, cwd: Path, **env: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        line,
        env=os.environ | {"PATH": path} | env,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def against(server: Server) -> dict[str, str]:
    return {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "any"}


def test_the_demo_answers_a_thousand_reviews(tmp_path: Path) -> None:
    said = run("demo.py", tmp_path)
    assert "1,000 answered, 0 failed" in said
    assert "at OpenAI $" in said
    results = tmp_path / "demo-results"
    assert (results / "output.jsonl").read_text(encoding="utf-8").count("\n") == 1_000
    assert (results / "labelled.csv").read_text(encoding="utf-8").count(",answered,") == 1_000


def test_the_first_batch_prints_its_answers(server: Server, tmp_path: Path) -> None:
    said = run("first_batch.py", tmp_path, **against(server))
    assert said.startswith("completed")
    assert said.count("question-") == 3


def test_bad_lines_fail_alone_and_are_tried_again(server: Server, tmp_path: Path) -> None:
    said = run("bad_lines_and_retry.py", tmp_path, **against(server))
    assert "completed=1, failed=2, total=3" in said
    assert "refused was refused: 400" in said
    assert "did not run: invalid_json_line" in said
    assert "retried 2 lines" in said


def test_a_thousand_reviews_are_classified_in_chunks(server: Server, tmp_path: Path) -> None:
    said = run("tutorials/classify_in_chunks.py", tmp_path, **against(server))
    assert said.startswith("1,000 reviews in 10 batches")
    assert "1,000 answered, 0 failed" in said
    assert "('positive', " in said


def test_chunks_are_cut_by_tokens(server: Server, tmp_path: Path) -> None:
    said = run("tutorials/chunk_by_tokens.py", tmp_path, **against(server))
    sizes = [int(size.replace(",", "")) for size in re.findall(r"([\d,]+) counted", said)]
    assert len(sizes) > 1
    assert all(size <= 90_000 for size in sizes)
    assert "3,000 of 3,000 tickets are answered" in said


def test_only_failures_are_sent_again(server: Server, tmp_path: Path) -> None:
    said = run("tutorials/retry_only_failures.py", tmp_path, **against(server))
    assert "SDK: 90 answered, 10 failed: ['HTTP 400']" in said
    assert "SDK: after a batch of 10: 100 answered, 0 failed" in said
    assert "bulkrate: after retry_failed(): 100 answered" in said
    assert "sent twice: [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]" in said


def test_models_are_chosen_by_rule_by_column_and_by_confidence(server: Server, tmp_path: Path) -> None:
    said = run("tutorials/mixed_models.py", tmp_path, **against(server))
    chosen, cascade = said.splitlines()[:2]
    assert "'gpt-4o': " in chosen
    assert "'gpt-4o-mini': " in chosen
    assert "'gpt-4o': " in cascade
    assert "'gpt-4o-mini': " in cascade
    assert cascade.endswith("['first', 'escalate']")


def test_ten_thousand_documents_are_embedded_and_found(server: Server, tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    said = run("tutorials/embed_and_search.py", tmp_path, **against(server))
    assert "10,000 documents have a vector" in said
    assert "10,000 rows in the store" in said
    assert "1.000  Article 4321: " in said


def test_categories_are_counted(server: Server, tmp_path: Path) -> None:
    pytest.importorskip("polars")
    said = run("tutorials/count_categories.py", tmp_path, **against(server))
    counts = {label: int(count) for count, label in re.findall(r"^ +(\d+)  (\w+)$", said, re.MULTILINE)}
    assert set(counts) == {"delivery", "price", "quality", "service", "other"}
    assert sum(counts.values()) == 1_000
    assert "company" in said


def test_a_thousand_reports_are_in_the_database(server: Server, tmp_path: Path) -> None:
    run("tutorials/monthly_reports.py", tmp_path, **against(server))
    said = run("tutorials/monthly_reports.py", tmp_path, **against(server))  # nothing doubles
    assert "1,000 reports in business.db" in said
    with closing(sqlite3.connect(tmp_path / "business.db")) as database:
        asked = "SELECT count(*), count(DISTINCT company), count(report), min(month), max(month) FROM reports"
        assert database.execute(asked).fetchone() == (1_000, 1_000, 1_000, "2026-10", "2026-10")


def test_three_summaries_come_in_order(server: Server, tmp_path: Path) -> None:
    said = run("tutorials/three_summaries.py", tmp_path, **against(server))
    texts, answers = said.splitlines()[::2], said.splitlines()[1::2]
    assert len(answers) == 3
    for text, answer in zip(texts, answers, strict=True):
        assert f"Summarise in five words: {text[:20]}" in answer


def test_a_label_for_every_review_on_the_command_line(server: Server, tmp_path: Path) -> None:
    said = command("sh", EXAMPLES / "rows/classify.sh", cwd=tmp_path, **against(server))
    assert '"answered": 1000' in said
    assert (tmp_path / "labelled.csv").read_text(encoding="utf-8").count(",answered,") == 1_000


def test_a_label_for_every_review_from_python(server: Server, tmp_path: Path) -> None:
    said = run("rows/classify.py", tmp_path, **against(server))
    assert "1,000 = 1,000 answered + 0 failed + 0 skipped" in said


def test_every_order_fits_its_model(server: Server, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    said = run("rows/extract_orders.py", tmp_path, **against(server))
    assert said.count(" items for ") == 6
    assert (tmp_path / "orders.parquet").exists()


def test_frames_go_in_and_come_out(server: Server, tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    said = run("rows/frames.py", tmp_path, **against(server))
    assert "25 reviews of" in said
    assert "would_buy_again" in said


def test_a_nightly_job_sends_only_what_is_new(tmp_path: Path) -> None:
    folder = tmp_path / "rows" / "nightly"
    shutil.copytree(EXAMPLES / "rows" / "nightly", folder)
    reviews = (EXAMPLES / "reviews.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    nightly = (sys.executable, "-m", "bulkrate", "run", "--job", "nightly-reviews")
    (tmp_path / "reviews.jsonl").write_text("".join(reviews[:60]), encoding="utf-8")
    assert '"reused": 0' in command(*nightly, cwd=folder)
    (tmp_path / "reviews.jsonl").write_text("".join(reviews[:80]), encoding="utf-8")
    second = command(*nightly, cwd=folder)
    assert '"answered": 80' in second
    assert '"reused": 60' in second


def test_every_example_is_listed() -> None:
    listed = set(re.findall(r"\]\(([\w/]+\.\w+)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8")))
    there = {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.py")}
    assert there <= listed
    assert all((EXAMPLES / name).exists() for name in listed)
