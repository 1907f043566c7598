"""Where everything is kept: the blob keys, all of our own making."""

from __future__ import annotations

FILES = "files"
PARTS = "parts"


def of_file(file_id: str) -> str:
    """The bytes of an uploaded file."""
    return f"{FILES}/{file_id}"


def of_part(part_id: str) -> str:
    """The bytes of one part of an upload."""
    return f"{PARTS}/{part_id}"


def of_batch(batch_id: str) -> str:
    """The folder of all that a batch has made."""
    return f"batches/{batch_id}"


def of_plan(batch_id: str, attempt: str, shard: int) -> str:
    """The plan of a shard. `attempt` keeps apart two passes over the same input, of which one died."""
    return f"{of_batch(batch_id)}/{attempt}.{shard}.plan"


def of_content(batch_id: str, remote: str) -> str:
    """What a remote batch is created from."""
    return f"{of_batch(batch_id)}/{remote}.content"


def of_log(batch_id: str, epoch: int, stream: str) -> str:
    """A worker's own log for a batch: `output`, `errors` or `ledger`."""
    return f"{of_batch(batch_id)}/{epoch}.{stream}"
