"""The window against models of real upstreams: the goals of `python -m benchmarks.simulate --quick`."""

from __future__ import annotations

import pytest
from benchmarks.simulate.__main__ import reports

SECTIONS = reports(seeds=1, quick=True)


@pytest.mark.parametrize("section", SECTIONS)
def test_the_simulated_goals_are_met(section):
    missed = [str(goal) for goal in SECTIONS[section]().goals if not goal.met]
    assert not missed
