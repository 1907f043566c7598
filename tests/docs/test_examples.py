"""Every example runs as it stands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import Server

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.server


def run(script: str, cwd: Path, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / script],
        env=os.environ | env,
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
    assert (tmp_path / "demo-results" / "output.jsonl").read_text(encoding="utf-8").count("\n") == 1_000


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
