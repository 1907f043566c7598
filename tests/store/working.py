"""Short ways to claim and to commit, for tests of what workers do."""

from __future__ import annotations

from bulkrate.store.records import BatchCommit, LogEnds, Range, RangeNews, Want
from tests.store.records import NOW

LEASE_S = 15.0


def want(lines: int = 100, shard: int = 0, batch_id: str = "batch_1") -> Want:
    return Want(batch_id=batch_id, shard=shard, lines=lines)


def claim(store, epoch: int, *wants: Want, now: float = NOW) -> list[Range]:
    return store.work.claim(epoch, wants or [want()], now=now, lease_s=LEASE_S)


def places(claimed: list[Range]) -> list[tuple[int, int, int]]:
    """Shard, start and number of lines of each range."""
    return [(one.shard, one.start, one.lines) for one in claimed]


def all_of(claimed: list[Range], **became: bool) -> tuple[RangeNews, ...]:
    return tuple(RangeNews(shard=one.shard, start=one.start, **became) for one in claimed)


def ends(output: int = 0, errors: int = 0, ledger: int = 0) -> LogEnds:
    return LogEnds(output=output, errors=errors, ledger=ledger)


def commit(
    store, epoch: int, since: LogEnds, until: LogEnds, *ranges: RangeNews, now: float = NOW, **told
) -> None:
    made = BatchCommit(batch_id="batch_1", since=since, until=until, ranges=ranges, **told)
    store.work.commit(epoch, [made], now=now, lease_s=LEASE_S)


def let_go(store, epoch: int, claimed: list[Range]) -> None:
    commit(store, epoch, ends(), ends(), *all_of(claimed, released=True))


def counted(store) -> tuple[int, int]:
    batch = store.batches.by_id("batch_1")
    return batch.completed, batch.failed


def offered(store, *models: str, limit: int = 100) -> list[tuple[str, int]]:
    offers = store.work.offers(serves=lambda model: not models or model in models, limit=limit)
    return [(offer.shard.batch_id, offer.shard.shard) for offer in offers]
