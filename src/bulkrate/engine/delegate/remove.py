"""**remove**: what a remote batch leaves behind goes, here and at the provider."""

from __future__ import annotations

from bulkrate.engine.delegate.content import lines_key
from bulkrate.engine.delegate.driven import Driven
from bulkrate.engine.points import reach
from bulkrate.providers.batch.base import Ask, RemoteRefused, Why
from bulkrate.store.records import BatchRecord, RemoteRecord

# A provider that does not let us remove a file is asked so often; it forgets the file by itself some day.
_TRIES_MAX = 5


async def remove(driven: Driven, remote: RemoteRecord, batch: BatchRecord) -> RemoteRecord:
    """Remove the content and, unless they are to be kept, the provider's files. Raises `RemoteRefused`."""
    context = driven.context
    for key in (remote.content, lines_key(remote.content)):
        await context.ask(context.blobs.delete, key)
    if not driven.upstream.keep_remote_files:
        try:
            await _remove_there(driven, remote, batch)
        except RemoteRefused as refused:
            tries = driven.tries[remote.seq]
            if refused.refusal.why.waits and tries.failures < _TRIES_MAX:
                raise
    reach("delegate.removed")
    return await driven.note(remote, removed_at=context.clock(), waiting=None)


async def _remove_there(driven: Driven, remote: RemoteRecord, batch: BatchRecord) -> None:
    vendor, http = driven.vendor, driven.http
    if remote.remote_id is not None:
        try:
            seen = await http.do(vendor.look(remote.remote_id))
        except RemoteRefused as refused:
            if refused.refusal.why is not Why.GONE:
                raise
        else:
            for ask in vendor.clean(seen):
                await _unless_gone(driven, ask)
            return
    file_id = remote.file_id
    if file_id is None and remote.upload_asked_at is not None:
        look = vendor.find_file(driven.shard(remote, batch))
        found = await http.do(look) if look is not None else None
        file_id = found.id if found is not None else None
    if file_id is not None:
        await _unless_gone(driven, vendor.remove_file(file_id))


async def _unless_gone(driven: Driven, ask: Ask[None]) -> None:
    """Remove something; it is as good that somebody else did."""
    try:
        await driven.http.do(ask)
    except RemoteRefused as refused:
        if refused.refusal.why is not Why.GONE:
            raise
