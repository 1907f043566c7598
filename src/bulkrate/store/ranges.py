"""Ranges of lines: who holds them, how they are cut, and how they end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, delete, exists, insert, select, update

from bulkrate.errors import Fenced
from bulkrate.store.records import BatchCommit, Range
from bulkrate.store.schema import ranges, shards


def is_range(batch_id: str, shard: int, start: int) -> ColumnElement[bool]:
    """Which row is the range that begins there."""
    return and_(ranges.c.batch_id == batch_id, ranges.c.shard == shard, ranges.c.start == start)


def range_of(row: RowMapping, *, lines: int | None = None) -> Range:
    """The range in a row, or so many lines at its front. Somebody had it before, so it is not fresh."""
    return Range(
        batch_id=row["batch_id"],
        shard=row["shard"],
        start=row["start"],
        lines=row["lines"] if lines is None else lines,
        fresh=False,
        suspect=row["suspect"],
        generation=row["generation"],
        rejections=row["rejections"],
    )


def cut(
    connection: Connection,
    whole: RowMapping,
    lines: int,
    *,
    first: Mapping[str, Any],
    rest: Mapping[str, Any] | None = None,
) -> None:
    """Give the first lines of a range these columns; what is behind them is a range apart, with those of
    `rest`. All other columns stay as they are.
    """
    this = is_range(whole["batch_id"], whole["shard"], whole["start"])
    connection.execute(update(ranges).where(this).values(lines=lines, **first))
    if lines < whole["lines"]:
        behind = {"start": whole["start"] + lines, "lines": whole["lines"] - lines}
        connection.execute(insert(ranges).values({**whole, **(rest or {}), **behind}))


def settle(connection: Connection, holder: int, commit: BatchCommit, *, must_hold: bool) -> None:
    """Forget the ranges that are done, free those that are let go, and see that the worker holds the rest.

    A shard without a range left, all of whose lines were taken, is done. Raises `Fenced`.
    """
    ended: set[int] = set()
    for news in commit.ranges:
        mine = and_(is_range(commit.batch_id, news.shard, news.start), ranges.c.epoch == holder)
        if news.done:
            found = connection.execute(delete(ranges).where(mine)).rowcount
            ended.add(news.shard)
        elif news.released or must_hold:
            held = connection.execute(select(ranges).where(mine)).mappings().all()
            found = len(held)
            for whole in held if news.released else ():
                lines = min(news.suspect, whole["lines"]) or whole["lines"]
                free = {"epoch": None, "suspect": news.suspect > 0}
                cut(connection, whole, lines, first=free, rest={"epoch": None, "suspect": False})
        else:
            continue
        if must_hold and not found:
            raise Fenced(
                f"{_named(holder)} does not hold the lines from {news.start} of shard {news.shard} "
                f"of {commit.batch_id}; another worker does"
            )
    for shard in sorted(ended):
        left = exists().where(ranges.c.batch_id == commit.batch_id, ranges.c.shard == shard)
        all_done = and_(
            shards.c.batch_id == commit.batch_id,
            shards.c.shard == shard,
            shards.c.taken == shards.c.lines,
            ~left,
        )
        connection.execute(update(shards).where(all_done).values(done=True))


def _named(holder: int) -> str:
    return f"epoch {holder}" if holder > 0 else f"the remote batch {-holder}"
