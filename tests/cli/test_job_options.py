"""The options that commands share, and what becomes of them."""

from __future__ import annotations

import pytest
import typer

from bulkrate.cli.job_options import JobOptions
from bulkrate.cli.job_spec import seconds, share, spec_of
from bulkrate.toolkit.questions.asking import Asking

COMMANDS = ("run", "classify", "embed", "extract", "summarize", "translate", "report")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_runs_a_job_has_them(typed, command):
    shown = typed(command, "--help")
    assert shown.exit_code == 0
    for flag in ("--output", "--model", "--upstream", "--max-cost", "--fail-under", "--detach", "--id"):
        assert flag in shown.stdout


@pytest.mark.parametrize(
    ("text", "value"), [("99%", 0.99), ("0.5", 0.5), ("0%", 0), ("100%", 1), (None, None)]
)
def test_a_share(text, value):
    assert share("--share", text) == value


@pytest.mark.parametrize("text", ["99", "-1%", "101%", "nan", "inf", "", "%", "many"])
def test_what_is_no_share(text):
    with pytest.raises(typer.BadParameter, match="no share"):
        share("--share", text)


@pytest.mark.parametrize(("text", "value"), [("90s", 90), ("1.5m", 90), ("6h", 21_600), ("2d", 172_800)])
def test_a_time(text, value):
    assert seconds("--time", text) == value


@pytest.mark.parametrize("text", ["", "6", "h", "-1h", "1w", "1h30m", "1,5h"])
def test_what_is_no_time(text):
    with pytest.raises(typer.BadParameter, match="no time"):
        seconds("--time", text)


def test_options_become_what_is_asked():
    options = JobOptions(
        output="out.csv",
        id=["a", "b"],
        model="m",
        rule=["kind=x:y:z", "kind=:m"],
        param=["seed=7", "stop=END", 'logit_bias={"1":2}'],
        temperature=0.0,
        max_cost=1.005,
        fail_under="99%",
        late_after="6h",
        server="http://host/v1",
    )
    spec = spec_of(Asking(), "rows.csv", options)
    assert spec.asking.params == {"temperature": 0.0, "seed": 7, "stop": "END", "logit_bias": {"1": 2}}
    assert [(rule.column, rule.value, rule.model) for rule in spec.model.rules] == [
        ("kind", "x", "y:z"),
        ("kind", "", "m"),
    ]
    assert spec.keys == ("a", "b")
    assert (spec.watch.fail_under, spec.watch.late_after_s) == (0.99, 21_600)


def test_a_small_budget_is_not_rounded_up():
    assert spec_of(Asking(), "-", JobOptions(max_cost=0.004)).max_cost == "0.004"
