"""The documentation is true: everything there is has its entry, and every link leads somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

import bulkrate
from bulkrate.cli import exits
from bulkrate.cli.app import app
from bulkrate.cli.job_options import JobOptions
from bulkrate.config.settings import Limits, Settings, Timing, Traces, Upstream
from bulkrate.core.lifecycle import Status
from bulkrate.core.outcome import Failure
from bulkrate.core.retry import Retry
from bulkrate.server.metrics import FAMILIES
from bulkrate.server.table import OPERATIONS
from bulkrate.telemetry import EVENTS
from bulkrate.toolkit.api import Options
from bulkrate.toolkit.job import Job, Results, RowResult
from bulkrate.toolkit.questions.asking import Asking

ROOT = Path(__file__).parents[2]
SHARED = {field.name for field in fields(JobOptions)}
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def section(name: str, heading: str) -> str:
    """The part of a page under a heading that begins so."""
    text = page(name).partition(f"\n## {heading}")[2].partition("\n## ")[0]
    assert text, f"{name} has no section {heading}"
    return text


def settings() -> Iterator[tuple[str, str]]:
    for shape in (Settings, Limits, Retry, Timing, Traces, Upstream):
        for field in msgspec.structs.fields(shape):
            if field.name not in {"limits", "retry", "timing", "traces", "upstreams"}:
                yield shape.__name__, field.name


def commands() -> Iterator[tuple[str, Any]]:
    def walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        if hasattr(command, "commands"):
            for part, inner in command.commands.items():
                yield from walk(f"{name} {part}", inner)
            if command.invoke_without_command and name != "bulkrate":
                yield name, command
        elif not command.hidden:
            yield name, command

    yield from walk("bulkrate", typer.main.get_command(app))


def every_job() -> list[Any]:
    """The options that every command which runs a job has."""
    run = next(command for name, command in commands() if name == "bulkrate run")
    return [parameter for parameter in run.params if parameter.name in SHARED]


@pytest.mark.parametrize(("shape", "name"), list(settings()))
def test_every_setting_is_documented(shape: str, name: str) -> None:
    assert f"| `{name}` |" in page("configuration.md")


@pytest.mark.parametrize(("name", "command"), list(commands()), ids=lambda value: str(value)[:40])
def test_every_command_and_flag_is_documented(name: str, command: Any) -> None:
    text = section("commands.md", f"`{name}")
    names = {parameter.name for parameter in command.params}
    shared = SHARED if names >= SHARED else set()
    if shared:
        assert "(#options-of-every-job)" in text
    for parameter in command.params:
        if parameter.param_type_name == "option" and parameter.name not in {"help", *shared}:
            assert f"`{parameter.opts[0]}" in text


@pytest.mark.parametrize("option", every_job(), ids=lambda option: str(option.name))
def test_every_option_of_every_job_is_documented_once(option: Any) -> None:
    rows = section("commands.md", "Options of every job").splitlines()
    assert len([row for row in rows if re.match(rf"\| `{option.opts[0]}[ `]", row)]) == 1
    assert all(f"`{short}`" in "".join(rows) for short in option.opts[1:])


def test_every_exit_code_is_documented() -> None:
    codes = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    told = re.findall(r"^\| ([0-9]+) \|", section("jobs.md", "Exit codes"), re.MULTILINE)
    assert set(map(int, told)) == codes


@pytest.mark.parametrize("name", [field.name for field in msgspec.structs.fields(Options)])
def test_every_option_from_python_is_documented(name: str) -> None:
    assert f"| `{name}` |" in section("python.md", "Options")


@pytest.mark.parametrize("name", bulkrate.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    assert f"`{name}" in page("python.md")


@pytest.mark.parametrize("shape", [Job, Results, RowResult], ids=lambda shape: str(shape.__name__))
def test_every_method_of_a_job_and_its_results_is_documented(shape: type) -> None:
    fields = [field.name for field in msgspec.structs.fields(shape)] if shape is RowResult else []
    internal = {"more"}  # of Results, for Job.rows
    for name in fields or [name for name in vars(shape) if not name.startswith("_") and name not in internal]:
        assert re.search(rf"\b{name}\b", section("python.md", f"`{shape.__name__}`"))


@pytest.mark.parametrize("key", [field.name for field in msgspec.structs.fields(Asking)])
def test_every_key_of_a_job_file_is_documented(key: str) -> None:
    assert f"`{key}`" in section("configuration.md", "`[jobs.NAME]`")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda op: f"{op.method} {op.path}")
def test_every_operation_is_documented(operation: Any) -> None:
    assert f"| `{operation.method} {operation.path}` |" in page("api.md")


@pytest.mark.parametrize("event", EVENTS)
def test_every_log_event_is_documented(event: str) -> None:
    assert f"| `{event}` |" in page("operations.md")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_metric_is_documented(family: str) -> None:
    kind, about, labels = FAMILIES[family]
    name = f"{family}_total" if kind == "counter" else family
    assert f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {about} |" in page(
        "metrics.md"
    )


def test_every_metric_in_a_query_exists() -> None:
    suffixes = ("_total", "_bucket", "_sum", "_count", "")
    told = {f"{family}{suffix}" for family in FAMILIES for suffix in suffixes}
    asked = set(re.findall(r"\bbulkrate_[a-z_]+", page("metrics.md")))
    assert asked <= told


def test_every_code_of_a_given_up_line_is_documented() -> None:
    given_up = {failure.code for failure in Failure if failure.costs_attempt}
    for code in (*given_up, "batch_expired", "batch_cancelled"):
        assert f"| `{code}` |" in page("failures.md")


def test_every_code_of_a_fault_is_documented() -> None:
    source = "".join(
        (ROOT / "src/bulkrate" / name).read_text(encoding="utf-8")
        for name in ("core/validate.py", "engine/loops/reading.py", "engine/loops/admit.py")
    )
    known = re.findall(r"^\| `([a-z_]+)` \|", page("input-files.md"), re.MULTILINE)
    codes = {
        "invalid_json_line",
        "missing_required_parameter",
        "invalid_type",
        "invalid_value",
        "invalid_url",
        "duplicate_custom_id",
        "model_not_found",
        "invalid_request",
        "streaming_unsupported",
        "empty_file",
        "too_many_tasks",
        "too_many_errors",
        "internal_error",
    }
    assert codes <= set(known)
    assert all(f'"{code}"' in source for code in codes)


def test_the_picture_of_the_lifecycle_names_every_status() -> None:
    picture = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("## The life of a batch")[2]
    assert all(status.value in picture for status in Status)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_page_names_a_path_of_somebodys_machine(path: Path) -> None:
    assert not re.search(r"/(root|work|home/\w+)/", path.read_text(encoding="utf-8"))
