"""The picture of `bulkrate top`: numbers in, something rich can print out."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bulkrate.core.histogram import quantile, since
from bulkrate.core.numbers import BatchNumbers, Numbers, UpstreamPace, batch_pace, pace
from bulkrate.core.stats import COMMIT_BOUNDS_S, UpstreamSnapshot

_STATE_STYLES = {"ok": "green", "trial": "yellow", "out": "red", "idle": "dim"}
# Lines that are neither the head nor a row: two empty ones, two headings, two that say how many are left out.
_FRAME_LINES = 6
_ROWS_MIN = 1
# Narrower than this, ids are cut in the middle and what matters least is left out.
_WIDE = 120
_ID_CHARS = 38


def picture(now: Numbers, before: Numbers, address: str, *, width: int, height: int | None) -> RenderableType:
    """The whole screen, fit for a terminal of this size; as long as it takes, without a `height`."""
    wide = width >= _WIDE
    paces = {name: pace(now, before, name) for name in now.upstreams}
    upstreams = sorted(
        now.upstreams.items(),
        key=lambda item: (
            -paces[item[0]].answers_per_s,
            -item[1].in_flight,
            item[1].state == "idle",
            item[0],
        ),
    )
    speeds = {batch.id: batch_pace(now, before, batch) for batch in now.batches}
    batches = sorted(now.batches, key=lambda batch: (-speeds[batch.id], -batch.in_flight, batch.deadline_s))
    head = _head(now, before, address, list(paces.values()))
    room = None if height is None else max(2 * _ROWS_MIN, height - _FRAME_LINES - len(head))
    upstream_rows, batch_rows = _share(room, len(upstreams), len(batches))
    return Group(
        *head,
        Text(),
        _upstream_table([(name, up, paces[name]) for name, up in upstreams[:upstream_rows]], wide=wide),
        *_more(len(upstreams) - upstream_rows, "upstreams"),
        Text(),
        _batch_table([(batch, speeds[batch.id]) for batch in batches[:batch_rows]], wide=wide),
        *_more(len(batches) - batch_rows, "batches"),
    )


def gone(why: str, last: RenderableType) -> RenderableType:
    """The last picture, under the word that the server does not answer."""
    return Group(Text(f"{why}; trying again", style="bold red", overflow="fold"), last)


def _share(room: int | None, upstreams: int, batches: int) -> tuple[int, int]:
    """How many rows each of the two tables gets; what one does not need the other may have."""
    if room is None:
        return upstreams, batches
    half = room // 2
    for_upstreams = min(upstreams, max(half, room - batches))
    return for_upstreams, min(batches, max(0, room - for_upstreams))


def _more(left_out: int, what: str) -> list[Text]:
    return [Text(f"  and {left_out} more {what}", style="dim")] if left_out > 0 else []


def _head(now: Numbers, before: Numbers, address: str, paces: Sequence[UpstreamPace]) -> list[Text]:
    first = Text(no_wrap=True, overflow="ellipsis")
    first.append(f"bulkrate {now.version}", style="bold")
    first.append(f"  {address}")
    running = sum(now.batches_by_status.get(status, 0) for status in _RUNNING)
    ended = sum(now.batches_by_status.values()) - running
    first.append(f"   {running} running, {ended} ended")
    second = Text(no_wrap=True, overflow="ellipsis")
    second.append(f"{sum(each.answers_per_s for each in paces):,.1f} answers/s", style="bold")
    second.append(f"   {_short(sum(each.tokens_per_s for each in paces))} tokens/s")
    commit = quantile(since(now.commits.seconds, before.commits.seconds), COMMIT_BOUNDS_S, 0.95)
    second.append(f"   commit p95 {_seconds(commit)}   {now.commits.queued:,} not committed")
    troubles = [
        f"{name}: {process.trouble or 'not at work'}"
        for name, process in now.processes.items()
        if process.trouble or not process.up
    ]
    if not now.records_up:
        troubles.append("the records cannot be read")
    return [first, second, *(Text(trouble, style="bold red", overflow="ellipsis") for trouble in troubles)]


_RUNNING = ("validating", "in_progress", "finalizing", "cancelling")


def _table() -> Table:
    return Table(box=None, pad_edge=False, expand=True, header_style="reverse", padding=(0, 2, 0, 0))


def _upstream_table(
    rows: Sequence[tuple[str, UpstreamSnapshot, UpstreamPace]], *, wide: bool
) -> RenderableType:
    table = _table()
    table.add_column("UPSTREAM", no_wrap=True, ratio=2)
    table.add_column("STATE", no_wrap=True)
    if wide:
        table.add_column("MODE", no_wrap=True)
    for heading in ("FLIGHT", "ANSW/S", "TOK/S", "P50", "P95"):
        table.add_column(heading, no_wrap=True, justify="right")
    if wide:
        table.add_column("RETRY", no_wrap=True, justify="right")
    table.add_column("FAILURES", no_wrap=True, overflow="ellipsis", ratio=3)
    for name, upstream, speed in rows:
        cells: list[str | Text] = [
            name,
            Text(upstream.state, style=_STATE_STYLES.get(upstream.state, "")),
            *([upstream.mode] if wide else []),
            f"{upstream.in_flight}/{upstream.window}",
            f"{speed.answers_per_s:,.1f}",
            _short(speed.tokens_per_s),
            _seconds(speed.p50_s),
            _seconds(speed.p95_s),
            *([f"{upstream.waiting:,}"] if wide else []),
            _failures(upstream, speed),
        ]
        table.add_row(*cells)
    return table


def _failures(upstream: UpstreamSnapshot, speed: UpstreamPace) -> Text:
    """Why it is out; else the failures of just now."""
    if upstream.reason is not None:
        return Text(upstream.reason, style="red")
    ordered = sorted(speed.failures.items(), key=lambda item: -item[1])
    words = (f"{code.removeprefix('upstream_').replace('_', ' ')} {count:,}" for code, count in ordered)
    return Text(", ".join(words), style="yellow")


def _batch_table(rows: Sequence[tuple[BatchNumbers, float]], *, wide: bool) -> RenderableType:
    table = _table()
    table.add_column("BATCH", no_wrap=True, min_width=_ID_CHARS if wide else None)
    table.add_column("STATUS", no_wrap=True)
    for heading in ("DONE", "TOTAL", "%", "FAILED", "LINES/S", "ETA", "SLACK"):
        table.add_column(heading, no_wrap=True, justify="right")
    if wide:
        table.add_column("MODEL", no_wrap=True, overflow="ellipsis", ratio=2)
    for batch, speed in rows:
        done = batch.answered + batch.failed
        left = batch.total - done
        eta = left / speed if speed > 0 else batch.remaining_s
        slack = None if eta is None else batch.deadline_s - eta
        cells: list[str | Text] = [
            batch.id if wide else f"batch_…{batch.id[-6:]}",
            batch.status,
            f"{done:,}",
            f"{batch.total:,}",
            f"{100 * done / batch.total:.0f}" if batch.total else "",
            Text(f"{batch.failed:,}", style="yellow" if batch.failed else ""),
            f"{speed:,.1f}",
            _duration(eta),
            Text(_duration(slack), style="bold red" if slack is not None and slack < 0 else ""),
            *([batch.model or ""] if wide else []),
        ]
        table.add_row(*cells)
    return table


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.0f}ms" if value < 1 else f"{value:.1f}s"


def _duration(value: float | None) -> str:
    """Two units at most: 45s, 12m30s, 3h05m, 2d04h."""
    if value is None:
        return "-"
    sign, seconds = ("-" if value < 0 else ""), round(abs(value))
    for size, unit, part, name in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s")):
        if seconds >= size:
            return f"{sign}{seconds // size}{unit}{seconds % size // part:02d}{name}"
    return f"{sign}{seconds}s"


def _short(value: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if unit == 'k' else size):,.1f}{unit}"
    return f"{value:,.0f}"
