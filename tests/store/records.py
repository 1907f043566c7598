"""Short ways to records, for tests of the store and of what is built on it."""

from __future__ import annotations

from bulkrate.store import Store
from bulkrate.store.records import BatchCommit, BatchRecord, FileRecord, LogEnds, ShardRecord

NOW = 1_000_000
DAY = 86_400


def a_file(name: str = "1", **fields) -> FileRecord:
    """An uploaded input with bytes of its own; `batch_id` and `stream` make it a result."""
    given = {
        "id": f"file-{name}",
        "project": "default",
        "filename": "input.jsonl",
        "purpose": "batch",
        "bytes": 10,
        "created_at": NOW,
        "blob": None if "stream" in fields else f"files/file-{name}",
    }
    return FileRecord(**(given | fields))


def a_batch(name: str = "1", **fields) -> BatchRecord:
    given = {
        "id": f"batch_{name}",
        "project": "default",
        "endpoint": "/v1/chat/completions",
        "input_file_id": "file-1",
        "completion_window": "24h",
        "status": "validating",
        "created_at": NOW,
        "expires_at": NOW + DAY,
        "family": f"batch_{name}",
    }
    return BatchRecord(**(given | fields))


def a_shard(batch_id: str, shard: int = 0, *, lines: int = 10, model: str = "m") -> ShardRecord:
    return ShardRecord(batch_id=batch_id, shard=shard, model=model, plan=f"{batch_id}/{shard}", lines=lines)


def nothing_of(batch_id: str) -> BatchCommit:
    """The bad lines of a batch that has none."""
    return BatchCommit(batch_id=batch_id, since=LogEnds(), until=LogEnds())


def admit(store: Store, batch_id: str, *shards: ShardRecord, epoch: int, now: int = NOW) -> bool:
    return store.batches.admit(
        shards,
        nothing_of(batch_id),
        epoch=epoch,
        model="m",
        total=sum(shard.lines for shard in shards),
        now=now,
    )


def a_worker(store: Store, role: str = "sender", *, now: float = NOW, lease_s: float = 15.0) -> int:
    return store.work.enlist(role, now=now, lease_s=lease_s)


def running(store: Store, name: str = "1", *, shards: int = 1, model: str = "m", **fields) -> str:
    """The id of a batch in progress, with so many shards of ten lines each."""
    batch = store.batches.create(a_batch(name, **fields))
    plan = [a_shard(batch.id, number, model=model) for number in range(shards)]
    assert admit(store, batch.id, *plan, epoch=a_worker(store, "clerk", lease_s=1e9))
    return batch.id
