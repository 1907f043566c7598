"""What a job came to, for people and for programs. The rows add up, or it says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from bulkrate.core.money.actual import ModelActual
from bulkrate.toolkit.jobs.alarm import success_rate
from bulkrate.toolkit.jobs.money import told_of
from bulkrate.toolkit.jobs.record import JobRecord, JobState, doing

_SHOWN_MAX = 12

#: `typed` or `called` of `wording.py`.
Words: TypeAlias = Callable[[str], str]


def summary(record: JobRecord, words: Words) -> dict[str, Any]:
    """The facts of a job, as plain values, in the `words` of who reads them.

    `rows` is `answered` + `failed` + `skipped` + `waiting`; `adds_up` says whether it is.
    """
    counts = record.counts
    failed = counts.get("failed", 0) + counts.get("invalid", 0)
    parts = (counts.get("answered", 0), failed, counts.get("skipped", 0), counts.get("pending", 0))
    actual, before = told_of(record)
    return {
        "job": record.id,
        "name": record.spec.name,
        "recipe": record.spec.asking.recipe,
        "state": record.state.value,
        "rows": record.rows,
        "answered": parts[0],
        "failed": parts[1],
        "skipped": parts[2],
        "waiting": parts[3],
        "adds_up": record.rows is None or sum(parts) == record.rows,
        "reused": record.reused,
        "left_out": record.left_out,
        "success_rate": success_rate(record),
        "failures": record.failures,
        "values": record.values,
        "rounds": [each.purpose.value for each in record.rounds],
        "usage": msgspec.to_builtins(actual.usage) if actual else None,
        "cost_usd": str(actual.usd) if actual and actual.usd is not None else None,
        "cost_mark": actual.mark.value if actual else None,
        "purchases": [_purchase(each) for each in actual.models] if actual else [],
        "estimate_usd": _likely(before),
        "output": record.spec.sink.what,
        "where": record.where,
        "created_at": record.created_at,
        "ended_at": record.ended_at,
        "alarms": record.alerted,
        "trouble": words(record.trouble) if record.trouble else None,
        "waiting_for": record.waiting if record.state is JobState.RUNNING else None,
    }


def summary_lines(record: JobRecord, words: Words, seconds: float | None) -> list[str]:
    """The same for people."""
    told = summary(record, words)
    took = f" in {seconds:,.1f} s" if seconds is not None else ""
    lines = [
        f"job       {record.id}: {record.state}{took}",
        f"rows      {told['rows'] or 0:,} = {told['answered']:,} answered + {told['failed']:,} failed "
        f"+ {told['skipped']:,} skipped" + (f" + {told['waiting']:,} waiting" if told["waiting"] else ""),
    ]
    if not told["adds_up"]:
        lines.append("          THEY DO NOT ADD UP; please report this with the job's folder")
    if record.reused:
        lines.append(f"reused    {record.reused:,} of the answers are from earlier runs: not sent, not paid")
    if record.values:
        lines.append(f"answers   {_counted(record.values)}")
    if record.failures:
        lines.append(f"failures  {_counted(record.failures)}")
    actual, before = told_of(record)
    if actual is not None and actual.purchases:
        money = actual.lines(before.estimate if before else None)
        lines += [f"{'cost' if at == 0 else '':<10}{line}" for at, line in enumerate(money)]
    if record.left_out:
        lines.append(f"left out  {record.left_out:,} rows without a vector")
    if record.spec.sink.what:
        lines.append(f"output    {record.spec.sink.what}")
    lines += [f"alarm     {alert}" for alert in record.alerted]
    if record.trouble:
        lines.append(f"trouble   {told['trouble']}")
    if told["waiting_for"]:
        lines.append(f"waits     {told['waiting_for']}")
    if record.state.ended and told["failed"]:
        again = words(doing("retry", record.id, "retry_failed"))
        lines.append(f"next      {again}   sends the failed rows again, and only those")
    return lines


def _purchase(bought: ModelActual) -> dict[str, Any]:
    """The answers of one model at one price: at once, or through a provider's batch API."""
    return {
        "model": bought.model,
        "price": bought.tier,
        "answers": bought.purchases,
        "usage": msgspec.to_builtins(bought.usage),
        "cost_usd": str(bought.usd) if bought.usd is not None else None,
        "cost_mark": bought.mark.value,
    }


def _likely(before: Any) -> str | None:
    if before is None:
        return None
    money = before.money
    return str(money.likely) if money.likely is not None else None


def _counted(counts: dict[str, int]) -> str:
    shown = [f"{count:,} {value}" for value, count in list(counts.items())[:_SHOWN_MAX]]
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f", and {more} more" if more > 0 else "")
