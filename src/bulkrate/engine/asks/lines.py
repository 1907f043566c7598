"""One line of a batch, found by its `custom_id`; and all its results in the order of the input."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bulkrate.blobs import Blobs
from bulkrate.core.plan import Fate, Planned, digest_of, find_planned, find_settled
from bulkrate.engine import paths
from bulkrate.engine.context import Context
from bulkrate.engine.log import ledger_stretches, read_fates, read_pieces
from bulkrate.store.records import BatchRecord, Extent
from bulkrate.wire.batches import LinePair


def find_line(context: Context, batch: BatchRecord, custom_id: str) -> LinePair | None:
    """The request and, if there is one, the result.

    Searches the compact indexes, never the data. Raises `BlobMissing`.
    """
    store, blobs = context.store, context.blobs
    planned = _find_in_plans(
        blobs, [shard.plan for shard in store.work.shards(batch.id)], digest_of(custom_id)
    )
    if planned is None:
        return None
    file = store.files.place(batch.project, batch.input_file_id)
    if file is None or file.blob is None:
        return None
    reader = blobs.open(file.blob)
    try:
        request = reader.read_at(planned.offset, planned.length)
    finally:
        reader.close()
    result = _find_result(blobs, store.work.extents(batch.id), planned.line)
    return LinePair(
        custom_id=custom_id,
        line=planned.line,
        request=msgspec.Raw(request),
        result=msgspec.Raw(result) if result is not None else None,
    )


def results_by_line(context: Context, batch_id: str) -> dict[int, bytes]:
    """Every result of a small batch, by line number."""
    extents = context.store.work.extents(batch_id)
    return {
        line: _read_result(context.blobs, extent, Fate(fate), offset, length)
        for extent, line, fate, offset, length in read_fates(context.blobs, extents)
    }


def _find_in_plans(blobs: Blobs, plans: Sequence[str], digest: int) -> Planned | None:
    for plan in plans:
        reader = blobs.open(plan)
        try:
            for piece in read_pieces(reader, 0, reader.size):
                if (found := find_planned(piece, digest)) is not None:
                    return found
        finally:
            reader.close()
    return None


def _find_result(blobs: Blobs, extents: Sequence[Extent], line: int) -> bytes | None:
    for extent in extents:
        for piece in ledger_stretches(blobs, extent):
            if (settled := find_settled(piece, line)) is not None:
                return _read_result(blobs, extent, Fate(settled.fate), settled.offset, settled.length)
    return None


def _read_result(blobs: Blobs, extent: Extent, fate: Fate, offset: int, length: int) -> bytes:
    stream = "output" if fate.in_output else "errors"
    reader = blobs.open(paths.of_log(extent.batch_id, extent.epoch, stream))
    try:
        return reader.read_at(offset, length).rstrip(b"\n")
    finally:
        reader.close()
