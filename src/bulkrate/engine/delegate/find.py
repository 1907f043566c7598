"""**find**: a create call, or an upload, may have been heard though its answer never came.

Nothing is bought before it is known that it was not.
"""

from __future__ import annotations

import logging
from enum import Enum

from bulkrate.core.lines import LineCutter
from bulkrate.engine.delegate.driven import Driven
from bulkrate.providers.batch.base import Found, Garbled, Remote, Shard, read_line_id
from bulkrate.store.records import RemoteRecord
from bulkrate.telemetry import log_event

# The provider's clock may differ by so much from what its last answer said.
_CLOCKS_S = 600
_LISTINGS_MAX = 3
# A list may lag behind a creation: so many first pauses must have passed before one that is not in it is
# taken not to be there.
_LAG_POLLS = 4
_FIRST_LINE_BYTES_MAX = 64 << 20


class Doubt(Enum):
    """What is known when the remote batch was not found."""

    #: It may still turn up, or one that may be it has not ended yet.
    OPEN = "open"
    #: It was never created.
    NONE = "none"


async def find(driven: Driven, remote: RemoteRecord, shard: Shard) -> Remote | Doubt:
    """The remote batch of an intent whose create call was perhaps heard. Raises `RemoteRefused`."""
    asked_at = remote.create_asked_at or remote.intended_at
    found = await _listed(driven, remote, shard)
    known = await driven.context.ask(driven.context.store.remotes.known_ids, driven.name)
    doubt = Doubt.NONE
    for one in found:
        if one.remote.id in known:
            continue
        belongs = await _belongs(driven, shard, one)
        if belongs:
            log_event(logging.WARNING, "remote_found", **driven.about(remote), found=one.remote.id)
            return one.remote
        if belongs is None:
            doubt = Doubt.OPEN
    if driven.context.clock() - asked_at < _LAG_POLLS * driven.upstream.poll_s:
        return Doubt.OPEN
    return doubt


async def _listed(driven: Driven, remote: RemoteRecord, shard: Shard) -> tuple[Found, ...]:
    """What the provider has since the intent, by its own clock. That is known once it has answered: if it is
    further behind ours than was thought, the list is asked for again, from further back.
    """
    # Our own clock may have been ahead when the intent was written.
    meant_at = min(remote.intended_at, driven.context.clock())
    found: tuple[Found, ...] = ()
    for _ in range(_LISTINGS_MAX):
        behind_s = driven.http.behind_s
        since = int(meant_at - behind_s) - _CLOCKS_S
        found = await driven.http.do(driven.vendor.find(shard, since=since, file_id=remote.file_id))
        if driven.http.behind_s <= behind_s + _CLOCKS_S / 2:
            break
    return found


async def _belongs(driven: Driven, shard: Shard, found: Found) -> bool | None:
    """Whether a remote batch is the shard's; None when nobody can tell yet."""
    if found.sure:
        return found.remote.fingerprint in {None, shard.fingerprint}
    if not found.remote.state.ended:
        return None
    cutter = LineCutter(_FIRST_LINE_BYTES_MAX)
    for call in driven.vendor.results(found.remote):
        async for chunk in driven.http.results(call):
            for line in cutter.feed(chunk):
                try:
                    result = driven.vendor.from_vendor(shard, line.data or b"", created=0)
                except Garbled:
                    return False
                whose = read_line_id(result.custom_id)
                return whose is not None and whose[0] == shard.id
    return False
