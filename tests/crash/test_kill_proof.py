"""The proof by killing, in its small form: the command that the documentation quotes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.server


def test_five_deaths_in_the_life_of_two_batches_lose_and_double_no_line() -> None:
    proof = subprocess.run(
        [sys.executable, "-m", "benchmarks.kill", "--small"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    print(proof.stdout)
    assert proof.returncode == 0, proof.stdout + proof.stderr
    for what in ("lines lost", "lines doubled"):
        assert any(line.split()[:3] == [*what.split(), "0"] for line in proof.stdout.splitlines())
    repeated = next(line for line in proof.stdout.splitlines() if "repeated by one death" in line)
    assert "within" in repeated
