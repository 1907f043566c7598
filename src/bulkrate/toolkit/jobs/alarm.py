"""Raising the alarm: each time a job ends with too many failures, and once when it is late."""

from __future__ import annotations

import os
import subprocess
from datetime import timedelta
from typing import Any

import msgspec
from pyreqwest.client import SyncClientBuilder
from pyreqwest.exceptions import PyreqwestError
from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from bulkrate.toolkit.jobs.record import JobRecord
from bulkrate.toolkit.jobs.spec import Watch
from bulkrate.wording import typed

_CALL_S = 15
_COMMAND_S = 300
# What it says is not the result of ours.
_STANDARD_ERROR = 2
LATE, FAILURES = "late", "failures"


def success_rate(record: JobRecord) -> float | None:
    """Answered rows of those that were worth sending, from 0 to 1; None when there were none."""
    counts = record.counts
    sent = sum(counts.get(name, 0) for name in ("answered", "failed", "invalid", "pending"))
    return counts.get("answered", 0) / sent if sent else None


def is_good(record: JobRecord) -> bool:
    """Whether enough rows were answered: all of them, unless the job was told what is enough."""
    rate = success_rate(record)
    return rate is None or rate >= (
        1.0 if record.spec.watch.fail_under is None else record.spec.watch.fail_under
    )


def at_the_end(record: JobRecord) -> None:
    """Tell of too many failures, if somebody wants to know."""
    if not is_good(record):
        _raise(record, FAILURES)


def when_late(record: JobRecord, now: float) -> None:
    """Tell once of a job that is not done in the time it was to be."""
    late = record.spec.watch.late_after_s
    told_already = any(alert.startswith(LATE) for alert in record.alerted)
    if late is not None and not told_already and now - record.created_at > late:
        _raise(record, LATE)


def told(record: JobRecord, why: str) -> dict[str, Any]:
    """What is told of a job."""
    return {
        "type": f"job.{why}",
        "job": record.id,
        "name": record.spec.name,
        "state": record.state,
        "rows": record.rows,
        "counts": record.counts,
        "success_rate": success_rate(record),
        "fail_under": record.spec.watch.fail_under,
        "created_at": record.created_at,
        "trouble": typed(record.trouble) if record.trouble else None,
    }


def _raise(record: JobRecord, why: str) -> None:
    watch = record.spec.watch
    body = msgspec.json.encode(told(record, why))
    if watch.webhook:
        record.alerted.append(f"{why}: webhook {_post(watch, body)}")
    if watch.command:
        record.alerted.append(f"{why}: command {_run(watch, body, record, why)}")


def _post(watch: Watch, body: bytes) -> str:
    client = SyncClientBuilder().timeout(timedelta(seconds=_CALL_S)).build()
    try:
        for attempt in Retrying(
            retry=retry_if_exception_type(PyreqwestError),
            stop=stop_after_attempt(4),
            wait=wait_exponential(multiplier=0.5, max=5),
        ):
            with attempt:
                request = client.post(watch.webhook or "").header("content-type", "application/json")
                status = request.body_bytes(body).build().send().status
                return f"answered {status}"
    except RetryError:
        return "could not be reached"
    except ValueError:
        return "has no address that is one"
    finally:
        client.close()
    raise AssertionError  # the loop above returns or raises


def _run(watch: Watch, body: bytes, record: JobRecord, why: str) -> str:
    environ = {**os.environ, "JOB_ALARM": why, "JOB_ID": record.id}
    try:
        done = subprocess.run(  # noqa: S602  # the user's own command line
            watch.command or "",
            shell=True,
            input=body,
            env=environ,
            timeout=_COMMAND_S,
            check=False,
            stdout=_STANDARD_ERROR,
        )
    except subprocess.TimeoutExpired:
        return f"took over {_COMMAND_S} s"
    return f"ended with {done.returncode}"
