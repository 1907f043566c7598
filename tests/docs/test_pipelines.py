"""The examples of pipelines run as they stand: with a real Celery worker that is killed, and where Airflow is
installed, with that.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import bulkrate
from tests.support.command import environment, hosts_stopped, record_of
from tests.support.processes import Server, running, sandbox, wait_until

PIPELINES = Path(__file__).parents[2] / "examples" / "pipelines"
ROWS = 200
#: The example's app, with messages in a folder in place of a broker.
APP = """
import celery_tasks
from celery_tasks import app, go_on, label
app.conf.update(
    broker_url="filesystem://",
    broker_transport_options={"data_folder_in": "queue", "data_folder_out": "queue",
                              "control_folder": "control", "store_processed": True,
                              "processed_folder": "taken"},
    result_backend="file://" + __import__("os").path.abspath("results"),
)
label.default_retry_delay = go_on.default_retry_delay = 1
"""

pytestmark = pytest.mark.server


class Desk:
    """A folder in which workers work, with everything they need, and the books of what was asked for."""

    def __init__(self, folder: Path, server: Server, journal: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.output = folder / "labelled.csv"
        self._journal = journal
        self.env = environment(
            {
                "BULKRATE_HOME": str(self.home),
                "OPENAI_BASE_URL": server.url,
                "OPENAI_API_KEY": "any",
                "PYTHONPATH": f"{PIPELINES}{os.pathsep}{folder}",
            }
        )
        for name in ("queue", "taken", "control", "results"):
            (folder / name).mkdir()
        (folder / "here.py").write_text(APP)
        lines = (json.dumps({"id": n, "text": f"review {n}"}) for n in range(ROWS))
        (folder / "rows.jsonl").write_text("\n".join(lines))

    def send(self, task: str, *arguments: str) -> str:
        """Put a message into the queue; the task's id."""
        program = f"import here; print(here.{task}.delay(*{arguments!r}).id)"
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=self.folder, env=self.env, capture_output=True, check=True
        )
        return done.stdout.decode().strip()

    def label(self) -> str:
        """Ask for the labels."""
        return self.send("label", str(self.folder / "rows.jsonl"), str(self.output))

    @contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        """A worker with two processes."""
        words = ["-A", "here", "worker", "-c", "2", "--loglevel", "INFO"]
        with (self.folder / "worker.log").open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "celery", *words, "--without-gossip", "--without-mingle"],
                cwd=self.folder,
                env=self.env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield worker
        finally:
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()

    def result(self, task: str) -> Any:
        """What a task came to, once it has."""
        file = self.folder / "results" / f"celery-task-meta-{task}"

        def told() -> dict[str, Any]:
            try:
                found: dict[str, Any] = json.loads(file.read_bytes())
            except (FileNotFoundError, ValueError):
                found = {"status": "PENDING"}
            return found

        ended = wait_until(told, lambda seen: seen["status"] in {"SUCCESS", "FAILURE"})
        assert ended["status"] == "SUCCESS", ended
        return ended["result"]

    def calls(self) -> Counter[str]:
        """How often each row was asked for."""
        lines = self._journal.read_bytes().splitlines() if self._journal.exists() else []
        return Counter(json.loads(line)["body_sha256"] for line in lines)

    def wait_for_calls(self, count: int) -> None:
        """Until so many rows were asked for."""
        wait_until(lambda: self.calls().total(), lambda total: total >= count)

    def driver(self) -> int:
        """The process of the worker that moves the job on."""
        (lock,) = (self.home / "jobs").glob("*/lock")
        return int(lock.read_text())

    def is_whole(self) -> None:
        """Every row is labelled once, and was asked for once."""
        assert self.output.read_text(encoding="utf-8").count(",answered,") == ROWS
        assert len(list((self.home / "jobs").iterdir())) == 1
        calls = self.calls()
        assert (len(calls), set(calls.values())) == (ROWS, {1})


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    journal = tmp_path / "journal.jsonl"
    with (
        running(sandbox("--journal", str(journal), "--latency-ms", "100", "--capacity", "8")) as upstream,
        running(Server(tmp_path / "data", upstream.url)) as server,
    ):
        yield Desk(tmp_path, server, journal)


def test_a_task_goes_on_in_another_process_when_its_own_is_killed(desk: Desk) -> None:
    with desk.worker():
        task = desk.label()
        desk.wait_for_calls(40)
        os.kill(desk.driver(), signal.SIGKILL)
        told = desk.result(task)
        assert (told["answered"], told["adds_up"]) == (ROWS, True)
        desk.is_whole()
        # Delivered once more, by a broker that never heard of the end.
        assert desk.result(desk.label())["job"] == told["job"]
        assert desk.result(desk.send("go_on", told["job"]))["answered"] == ROWS
    desk.is_whole()


def test_a_task_that_is_delivered_twice_at_once_is_one_job(desk: Desk) -> None:
    first, second = desk.label(), desk.label()
    with desk.worker():
        assert desk.result(first)["job"] == desk.result(second)["job"]
    desk.is_whole()


def test_a_task_of_a_worker_that_is_killed_is_taken_by_another(desk: Desk) -> None:
    task = desk.label()
    with desk.worker() as worker:
        desk.wait_for_calls(40)
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    assert record_of(desk.home)["state"] == "running"
    # A folder delivers nothing again by itself, as Redis and RabbitMQ do.
    (message,) = (desk.folder / "taken").glob("*.celery.msg")
    shutil.move(message, desk.folder / "queue" / message.name)
    with desk.worker():
        assert desk.result(task)["answered"] == ROWS
    desk.is_whole()


@pytest.mark.parametrize("path", sorted(PIPELINES.glob("*.py")), ids=lambda path: path.name)
def test_what_a_pipeline_calls_is_there(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "bulkrate"
        ):
            assert hasattr(bulkrate, node.attr), node.attr


def test_the_dag_runs(tmp_path: Path) -> None:
    pytest.importorskip("airflow")
    (tmp_path / "dags").mkdir()
    (tmp_path / "jobs").mkdir()
    shutil.copy(PIPELINES / "airflow_dag.py", tmp_path / "dags")
    job = (PIPELINES.parent / "rows" / "nightly" / "bulkrate.toml").read_text(encoding="utf-8")
    rows = PIPELINES.parent / "reviews.jsonl"
    (tmp_path / "jobs" / "bulkrate.toml").write_text(job.replace("../../reviews.jsonl", str(rows)))
    env = environment(
        {
            "AIRFLOW_HOME": str(tmp_path / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "JOBS_FOLDER": str(tmp_path / "jobs"),
            "POKE_S": "2",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
    )
    with hosts_stopped(tmp_path / "jobs" / ".bulkrate"):
        for words in (["db", "migrate"], ["dags", "test", "nightly_reviews", "2026-11-21"]):
            done = subprocess.run(
                ["airflow", *words],
                env=env,
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=300,
                check=True,
            )
    assert "state=success" in done.stdout + done.stderr
    assert (tmp_path / "jobs" / "labelled.csv").exists()
