"""A job as a Celery task that may be delivered twice: the second delivery goes on where the first one died.

    export CELERY_BROKER_URL=redis://localhost CELERY_RESULT_BACKEND=redis://localhost
    celery -A celery_tasks worker
    python -c "import celery_tasks; celery_tasks.label.delay('/srv/reviews.jsonl', '/srv/labelled.parquet')"

The same call over the same rows is the same job, so a task needs to remember nothing. All workers that may be
handed it must see the folder `BULKRATE_HOME`: where the job lives.
"""

import os

from celery import Celery

import bulkrate
from bulkrate.errors import JobTaken, ServerUnreachable, Unavailable

#: Somebody else is at it, nobody answers, or not now: what another try may mend. What was answered is kept.
#: Whatever else ends a job (a key, a budget, a column, a place for the result) ends its task.
PASSING = (JobTaken, ServerUnreachable, Unavailable)

app = Celery("pipelines")
app.conf.update(
    # Acknowledged when it is done, so that what a dead worker had goes to another.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    # A job takes hours: no worker keeps one waiting behind another.
    worker_prefetch_multiplier=1,
    # Redis delivers again what was not acknowledged for so long: longer than a job may take.
    broker_transport_options={"visibility_timeout": 86_400},
)


@app.task(bind=True, max_retries=None, default_retry_delay=60)
def label(self, source, output):
    """Label every review of `source` into `output`; the facts of the job."""
    try:
        job = bulkrate.classify(
            source,
            column="text",
            labels=["positive", "negative", "neutral"],
            model=os.environ.get("MODEL", "gpt-4o-mini"),
            params={"max_tokens": 20},
            max_cost=5,
            output=output,
            progress=False,
        )
        return job.wait().summary
    except PASSING as error:
        raise self.retry(exc=error) from error


@app.task(bind=True, max_retries=None, default_retry_delay=60)
def go_on(self, job_id):
    """See a job through that was begun elsewhere; then ask once more for the rows without an answer."""
    try:
        job = bulkrate.Job.from_id(job_id).resume().wait()
        return job.retry_failed().wait().summary if job.result().failed else job.summary
    except PASSING as error:
        raise self.retry(exc=error) from error
