"""**submit**: the content of an intent goes up, and the remote batch is created.

That a call may be heard is written down before it is made. The create call is the one that buys.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace
from typing import NoReturn

from bulkrate.core.delegation import Wish
from bulkrate.engine.delegate.driven import Driven, facts_of
from bulkrate.engine.delegate.find import Doubt, find
from bulkrate.engine.points import reach
from bulkrate.providers.batch.base import RemoteFile, RemoteRefused, Shard, Why
from bulkrate.store.records import BatchRecord, RemoteRecord
from bulkrate.telemetry import log_event


class NotSubmitted(Exception):
    """Nothing was bought and nothing will be: the row is to be given up.

    `refused` says why, when the provider did not want it.
    """

    def __init__(self, refused: RemoteRefused | None = None) -> None:
        super().__init__()
        self.refused = refused


async def submit(driven: Driven, remote: RemoteRecord, batch: BatchRecord) -> RemoteRecord:
    """A step on the way to a remote batch that is known to exist.

    Raises `RemoteRefused` for what may work later, `NotSubmitted`.
    """
    shard = driven.shard(remote, batch)
    if remote.create_asked_at is not None:
        found = await find(driven, remote, shard)
        if found is Doubt.OPEN:
            waiting = f"{driven.name}: whether a batch was created there is not known; it is looked for"
            return await driven.note(remote, waiting=waiting, look_at=driven.next_look(0))
        if not isinstance(found, Doubt):
            return await driven.note(
                remote, **facts_of(found), created_at=driven.context.clock(), waiting=None
            )
        remote = await driven.note(remote, create_asked_at=None, waiting=None)
    if driven.wish(remote, batch) is Wish.STOP:
        raise NotSubmitted
    try:
        file = await _uploaded(driven, remote, shard)
    except RemoteRefused as refused:
        await _was_not_taken_in(driven, remote, refused)
        raise
    if file is not None and file.id != remote.file_id:
        remote = await driven.note(remote, file_id=file.id)
    if file is not None and not file.ready:
        return await driven.note(remote, look_at=driven.next_look(0))
    now = driven.context.clock()
    wait_s = driven.quotas.wait_s(remote.sent_as, now=now)
    if wait_s > 0:
        waiting = f"{driven.name}: {driven.quotas.why(remote.sent_as)}"
        return await driven.note(remote, waiting=waiting, look_at=now + wait_s)
    return await _create(driven, remote, shard)


async def _uploaded(driven: Driven, remote: RemoteRecord, shard: Shard) -> RemoteFile | None:
    """The content, at the provider; None where it goes along with the create call."""
    vendor, http = driven.vendor, driven.http
    upload = vendor.upload(shard)
    if upload is None:
        return None
    if remote.file_id is not None:
        return await http.do(vendor.look_file(remote.file_id))
    if remote.upload_asked_at is not None:
        look = vendor.find_file(shard)
        found = await http.do(look) if look is not None else None
        if found is not None:
            reach("delegate.uploaded")
            return found
    else:
        await driven.note(remote, upload_asked_at=driven.context.clock())
    content = driven.context.blobs.open(remote.content)
    try:
        file = await http.do(upload, content)
    finally:
        content.close()
    reach("delegate.uploaded")
    return file


async def _was_not_taken_in(driven: Driven, remote: RemoteRecord, refused: RemoteRefused) -> None:
    """Forget an upload that is gone, so that the content is sent up again. Raises `NotSubmitted` for one that
    is too large.
    """
    if refused.refusal.why is Why.GONE:
        if remote.file_id is not None:  # one that turned out to be broken is still there
            with contextlib.suppress(RemoteRefused):
                await driven.http.do(driven.vendor.remove_file(remote.file_id))
        await driven.note(driven.remotes[remote.seq], file_id=None, upload_asked_at=None)
    elif refused.refusal.why is Why.TOO_LARGE:
        _cut_smaller(driven, remote, refused)


async def _create(driven: Driven, remote: RemoteRecord, shard: Shard) -> RemoteRecord:
    create = driven.vendor.create(shard, remote.file_id)
    remote = await driven.note(remote, create_asked_at=driven.context.clock(), waiting=None)
    reach("delegate.asked")
    content = driven.context.blobs.open(remote.content)
    try:
        created = await driven.http.do(create, content)
    except RemoteRefused as refused:
        await _was_refused(driven, remote, refused)
        raise
    finally:
        content.close()
    reach("delegate.created")
    now = driven.context.clock()
    driven.quotas.heard(remote, created.state, remotes=driven.remotes.values(), now=now)
    remote = await driven.note(remote, **facts_of(created), created_at=now, look_at=driven.next_look(0))
    log_event(
        logging.INFO,
        "remote_created",
        **driven.about(remote),
        lines=remote.lines,
        generation=remote.generation,
    )
    return remote


async def _was_refused(driven: Driven, remote: RemoteRecord, refused: RemoteRefused) -> None:
    """Write down that nothing was created, where that is certain. Raises `NotSubmitted` for what cannot be
    created ever.
    """
    refusal, now = refused.refusal, driven.context.clock()
    if refusal.why.unsure:
        return
    remote = await driven.note(remote, create_asked_at=None)
    if refusal.why is Why.GONE:  # the file, not the batch: it is to be sent up again
        await driven.note(remote, file_id=None, upload_asked_at=None)
    elif refusal.why is Why.QUOTA:
        if driven.quotas.refused(remote, refusal, remotes=driven.remotes.values(), now=now):
            raise NotSubmitted from refused
    elif refusal.why is Why.TOO_LARGE:
        _cut_smaller(driven, remote, refused)
    elif refusal.why in {Why.MODEL, Why.INVALID, Why.CONFLICT}:
        raise _never(refused) from refused


def _cut_smaller(driven: Driven, remote: RemoteRecord, refused: RemoteRefused) -> NoReturn:
    """The next groups have fewer lines; a single line that is too large is one for good."""
    if remote.lines == 1:
        raise _never(refused) from refused
    driven.quotas.too_large(remote, now=driven.context.clock())
    raise NotSubmitted from refused


def _never(refused: RemoteRefused) -> NotSubmitted:
    """What was refused for good, as an error that the lines can have."""
    return NotSubmitted(RemoteRefused(replace(refused.refusal, status=refused.refusal.status or 400)))
