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

from airflow.exceptions import AirflowFailException
from airflow.sdk import PokeReturnValue, dag, task

FOLDER = Path(os.environ.get("JOBS_FOLDER", "/srv/reviews"))
JOB = "nightly-reviews"
POKE_S = float(os.environ.get("POKE_S", "60"))
# What the exit codes say: the rows are done; or it has not come to an end, but may.
DONE, ROWS_FAILED = 0, 6
UNREACHABLE, NOT_DONE, INTERRUPTED, TERMINATED = 5, 7, 130, 143


def command(*words):
    """Run a command in the job's folder. What another try would not mend fails the task for good."""
    ran = subprocess.run(["bulkrate", *words], cwd=FOLDER, capture_output=True, text=True, check=False)
    passing = {DONE, ROWS_FAILED, UNREACHABLE, NOT_DONE, INTERRUPTED, TERMINATED}
    if ran.returncode >= 0 and ran.returncode not in passing:
        said = (ran.stderr or ran.stdout)[-500:]
        raise AirflowFailException(f"bulkrate {words[0]} ended with {ran.returncode}: {said}")
    return ran


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
        if begun.returncode == NOT_DONE:  # it runs already: an earlier try of this task began it
            begun = command("status", JOB, "--json")
        if not begun.stdout:
            raise RuntimeError(f"the job was not begun yet ({begun.returncode}): {begun.stderr[-500:]}")
        return json.loads(begun.stdout)["job"]

    @task.sensor(mode="reschedule", poke_interval=POKE_S, timeout=24 * 3600)
    def ended(job):
        looked = command("status", job, "--json")
        if looked.returncode in {DONE, ROWS_FAILED}:
            return PokeReturnValue(is_done=True, xcom_value=json.loads(looked.stdout))
        if json.loads(looked.stdout)["process"] is None:
            # Nobody is at it: the machine was started anew, or nobody answered. What waiting does not mend,
            # such as a key that is refused, was told by the exit code, and has failed this task.
            command("resume", job, "--detach", "--quiet", "--yes")
        return PokeReturnValue(is_done=False)

    @task
    def load(summary):
        if summary["success_rate"] < 0.99:
            raise RuntimeError(f"{summary['failed']} rows of {summary['job']} have no answer")
        with (FOLDER / summary["output"]).open(newline="", encoding="utf-8") as file:
            return dict(Counter(row["label"] for row in csv.DictReader(file)))

    load(ended(begin()))


run_by_airflow = nightly_reviews()
