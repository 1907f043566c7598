"""`bulkrate prices`, as one types it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from contextlib import suppress

import pytest

from bulkrate import data
from bulkrate.core.money.pricelist import decoded


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def seen(tmp_path):
    """Runs the command with a terminal as its standard output; what was to be seen there."""

    def run(*words):
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "bulkrate", *map(str, words)]
        with subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, cwd=tmp_path) as process:
            os.close(theirs)
            shown = b""
            with os.fdopen(ours, "rb", buffering=0) as screen, suppress(OSError):  # EIO is a terminal's end
                while part := screen.read(65536):
                    shown += part
            process.communicate(timeout=60)
        assert process.returncode == 0
        return shown.decode().replace("\r\n", "\n")

    return run


@pytest.fixture
def original(tmp_path):
    """litellm's file, with one model more than is shipped."""
    models = {
        name: {
            "litellm_provider": entry.provider,
            "mode": entry.mode,
            "input_cost_per_token": (entry.rates["standard"].input or 0) / 1e12,
            "output_cost_per_token": (entry.rates["standard"].output or 0) / 1e12,
        }
        for name, entry in decoded(data.prices(), "shipped").models.items()
    }
    models["brand-new"] = models["gpt-4o-mini"]
    path = tmp_path / "models.json"
    path.write_text(json.dumps(models))
    return path


def test_list_is_json_when_it_is_piped(typed):
    ran = typed("prices", "list", "gpt-4o-mini")
    told = json.loads(ran.stdout)
    assert (ran.exit_code, told["unit"]) == (0, "USD per million tokens")
    assert told["source"].startswith("litellm ")
    found = {model["model"]: model["prices"] for model in told["models"]}
    assert {"gpt-4o-mini", "azure/gpt-4o-mini"} <= set(found)
    assert [(part["tier"], part["input"], part["mark"]) for part in found["gpt-4o-mini"]][:2] == [
        ("standard", "0.15", "published"),
        ("batch", "0.075", "published"),
    ]


def test_list_is_a_table_on_a_terminal(seen):
    lines = seen("prices", "list", "azure/gpt-4o-min?").splitlines()
    assert lines[0].split() == [
        "model",
        "input",
        "output",
        "batch",
        "input",
        "batch",
        "output",
        "batch",
        "is",
    ]
    assert lines[1].split() == ["azure/gpt-4o-mini", "0.15", "0.60", "0.075", "0.30", "published"]


def test_show_tells_tiers_long_requests_marks_and_sources(seen):
    shown = seen("prices", "show", "openai/gpt-5.4")
    assert "standard, over 272,000" in shown
    assert "flex" in shown
    assert "published  litellm" in shown


def test_show_counts_the_price_at_the_upstream(typed):
    ran = typed("prices", "show", "gpt-4o-mini", "--upstream", "http://127.0.0.1:4000/v1", "--json")
    assert {part["mark"] for part in json.loads(ran.stdout)["prices"]} == {"derived"}


@pytest.mark.parametrize(
    ("words", "told"),
    [(("show", "gpt-4o-mni"), "names like it: gpt-4o-mini"), (("list", "no such model"), "matches")],
)
def test_what_is_not_there_is_a_usage_error_with_what_is(typed, words, told):
    ran = typed("prices", *words)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert told in " ".join(ran.stderr.split())


def test_update_says_what_changed_and_counts_from_then_on(typed, seen, original):
    assert "1: brand-new" in seen("prices", "update", "--from", original)
    assert typed("prices", "show", "brand-new").exit_code == 0
    assert "nothing changed" in seen("prices", "update", "--from", original)


def test_update_tells_programs_the_same(typed, original, tmp_path):
    told = json.loads(typed("prices", "update", "--from", original, "--to", tmp_path / "p.json").stdout)
    assert (told["added"], told["gone"], told["path"]) == (["brand-new"], [], str(tmp_path / "p.json"))


def test_a_file_that_is_no_price_list_fails_in_one_line(typed, tmp_path):
    (tmp_path / "x.json").write_text("[]")
    ran = typed("prices", "update", "--from", tmp_path / "x.json")
    assert ran.exit_code != 0
    assert ran.stdout == ""
    assert ran.stderr.count("\n") == 1
    assert "is not litellm's file" in ran.stderr


def test_prices_of_ones_own_count(typed, tmp_path):
    (tmp_path / "bulkrate.toml").write_text(
        '[prices."gpt-4o-mini"]\ninput = 0.10\n[prices."our-llama"]\ninput = 0.2\noutput = 0.2\n'
    )
    standard = json.loads(typed("prices", "show", "gpt-4o-mini").stdout)["prices"][0]
    assert (standard["input"], standard["output"], standard["mark"]) == ("0.10", "0.60", "given")
    assert json.loads(typed("prices", "list", "our-").stdout)["models"][0]["model"] == "our-llama"


def test_a_wrong_price_of_ones_own_is_named(typed, tmp_path):
    (tmp_path / "my.toml").write_text('[prices."m"]\ninputs = 1\n')
    ran = typed("prices", "show", "m", "--config", "my.toml")
    assert ran.exit_code != 0
    assert "did you mean 'input'?" in ran.stderr
