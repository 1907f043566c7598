"""A DAG that begins a job, waits for hours without holding a worker, and loads the result.

The job is that of a configuration file, as in ../rows/nightly/bulkrate.toml, in the folder `JOBS_FOLDER`.
A task that Airflow runs twice does no harm: the same job over the same rows is begun once. The job goes on in
the background of the machine on which `begin` ran, so that the sensor has to run there too (`queue=`).
"""

import csv
import json
import os
import subprocess
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow.sdk import PokeReturnValue, dag, task

import bulkrate
from bulkrate.errors import JobError, TimedOut

FOLDER = Path(os.environ.get("JOBS_FOLDER", "/srv/reviews"))
JOB = "nightly-reviews"
POKE_S = float(os.environ.get("POKE_S", "60"))
NOT_DONE, TAKEN = 7, 8


def command(*words):
    """Run a command in the job's folder."""
    return subprocess.run(["bulkrate", *words], cwd=FOLDER, capture_output=True, text=True, check=False)


@dag(
    schedule="15 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
)
def nightly_reviews():
    """Labels for last night's reviews."""

    @task(retries=3, retry_delay=timedelta(minutes=5))
    def begin():
        begun = command("run", "--job", JOB, "--detach", "--quiet")
        if begun.returncode == TAKEN:  # by an earlier try of this task, perhaps
            running = command("status", JOB, "--json")
            begun = running if running.returncode == NOT_DONE else begun
        if begun.returncode not in {0, NOT_DONE}:
            raise RuntimeError(f"the job was not begun ({begun.returncode}): {begun.stderr[-500:]}")
        return json.loads(begun.stdout)["job"]

    @task.sensor(mode="reschedule", poke_interval=POKE_S, timeout=24 * 3600)
    def ended(job):
        try:
            summary = bulkrate.Job.from_id(job, data=FOLDER / ".bulkrate").wait(timeout=0).summary
        except TimedOut:
            return PokeReturnValue(is_done=False)
        except JobError:  # nobody is at it: the machine was started anew
            command("resume", job, "--detach", "--quiet", "--yes")
            return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=True, xcom_value=summary)

    @task
    def load(summary):
        if summary["success_rate"] < 0.99:
            raise RuntimeError(f"{summary['failed']} rows of {summary['job']} have no answer")
        with (FOLDER / summary["output"]).open(newline="", encoding="utf-8") as file:
            return dict(Counter(row["label"] for row in csv.DictReader(file)))

    load(ended(begin()))


run_by_airflow = nightly_reviews()
