"""News in the outbox, put there the way they are in earnest."""

from bulkrate.store.records import BatchRecord


def fail_a_batch(context, name: str = "a") -> None:
    """End a batch, of which its project is told."""
    batch = BatchRecord(
        id=f"batch_{name}",
        project="default",
        endpoint="/v1/chat/completions",
        input_file_id="file-1",
        completion_window="24h",
        status="validating",
        created_at=context.now(),
        expires_at=context.now() + 86_400,
        family=f"batch_{name}",
    )
    context.store.batches.create(batch)
    context.store.batches.reject(batch.id, b"[]", b"[]", now=context.now(), event_id=f"evt_{name}")
