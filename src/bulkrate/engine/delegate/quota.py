"""What fits into a provider at this moment: enqueued tokens by model, and batches at a time."""

from __future__ import annotations

import random
from collections.abc import Iterable, Set

import msgspec

from bulkrate.config import Upstream
from bulkrate.core.delegation import Room
from bulkrate.core.enqueued import Portion, Quota, portion
from bulkrate.providers.batch.base import Refusal, RemoteState, Vendor
from bulkrate.providers.batch.limits import Limits
from bulkrate.store.records import RemoteRecord

HOUR_S = 3_600
_ENDED = {state.value for state in RemoteState if state.ended}


class Quotas:
    """The limits of one upstream: the provider's table, the settings above it, and what refusals taught."""

    def __init__(self, upstream: Upstream, vendor: Vendor) -> None:
        self._upstream = upstream
        self._vendor = vendor
        self._quotas: dict[str, Quota] = {}
        # By model, how many lines fitted into a batch once one with more was refused for its size.
        self._lines_max: dict[str, int] = {}

    def limits(self, model: str) -> Limits:
        """The limits for a model, as the provider calls it."""
        table = self._vendor.limits(model)
        given = {
            "lines_max": self._upstream.batch_lines_max,
            "bytes_max": self._upstream.batch_bytes_max,
            "tokens_max": self._upstream.batch_tokens_max,
            "creates_per_hour": self._upstream.creates_per_hour,
        }
        return msgspec.structs.replace(
            table, **{name: value for name, value in given.items() if value is not None}
        )

    def room(self, model: str, portion: Portion) -> Room:
        """How much fits into one batch, within a portion of the quota."""
        limits = self.limits(model)
        most = [value for value in (limits.tokens_max, portion.tokens) if value is not None]
        return Room(
            lines=min(limits.lines_max, self._lines_max.get(model, limits.lines_max)),
            bytes=limits.bytes_max,
            tokens=min(most) if most else None,
            alone=portion.alone,
            inputs=limits.embedding_inputs_max,
        )

    def portion(
        self, model: str, batch_id: str, *, remotes: Iterable[RemoteRecord], waiting: Set[str], now: float
    ) -> Portion:
        """What a batch may enqueue now, by the remote batches that are on their way."""
        there = [one for one in remotes if is_under_way(one)]
        batches_max = self.limits(model).batches_max
        if batches_max is not None and len(there) >= batches_max:
            return Portion(0, why=f"{len(there)} batches are on their way, and no more fit")
        enqueued: dict[str, int] = {}
        for one in there:
            if one.sent_as == model:
                enqueued[one.batch_id] = enqueued.get(one.batch_id, 0) + one.tokens
        quota = self._quota(model)
        return portion(quota, batch_id, enqueued=enqueued, waiting=waiting, model=model, now=now)

    def wait_s(self, model: str, *, now: float) -> float:
        """How long nothing shall be created for a model, after a refusal."""
        return max(0.0, self._quota(model).not_before - now)

    def refused(
        self, remote: RemoteRecord, refusal: Refusal, *, remotes: Iterable[RemoteRecord], now: float
    ) -> bool:
        """A remote batch did not fit into the quota. Whether it is too large ever to fit, and has to be cut
        smaller.
        """
        others = [
            one
            for one in remotes
            if one.seq != remote.seq and one.sent_as == remote.sent_as and one.remote_id and is_under_way(one)
        ]
        quota = self._quota(remote.sent_as).refused(
            enqueued=sum(one.tokens for one in others),
            asked=remote.tokens,
            limit=refusal.limit_tokens,
            retry_after_s=refusal.retry_after_s,
            now=now,
            jitter=random.random(),  # noqa: S311  # spreads retries
        )
        self._quotas[remote.sent_as] = quota
        return quota.limit is not None and remote.tokens > quota.limit and remote.lines > 1

    def heard(self, remote: RemoteRecord, state: RemoteState, *, remotes: Iterable[RemoteRecord]) -> None:
        """The provider said where a remote batch is: behind validation its tokens fitted in, after its end
        they are free.
        """
        quota = self._quota(remote.sent_as)
        if state.ended:
            self._quotas[remote.sent_as] = quota.released()
        elif state is not RemoteState.VALIDATING and remote.state in {None, RemoteState.VALIDATING.value}:
            there = sum(one.tokens for one in remotes if one.sent_as == remote.sent_as and is_under_way(one))
            self._quotas[remote.sent_as] = quota.accepted(enqueued=there)

    def hold(self, remote: RemoteRecord, *, now: float) -> None:
        """Nothing gets in, for a reason that lies with the account: wait a while."""
        quota = self._quota(remote.sent_as)
        self._quotas[remote.sent_as] = quota.held(now=now)

    def too_large(self, remote: RemoteRecord) -> None:
        """A remote batch had more lines or bytes than the provider takes: the next have half."""
        self._lines_max[remote.sent_as] = max(1, remote.lines // 2)

    def _quota(self, model: str) -> Quota:
        if model not in self._quotas:
            given = self._upstream.enqueued_tokens
            limit = given.get(model) if isinstance(given, dict) else given
            told = limit is not None
            self._quotas[model] = Quota(
                limit=limit if told else self.limits(model).enqueued_tokens_max, told=told
            )
        return self._quotas[model]


def is_under_way(remote: RemoteRecord) -> bool:
    """Whether its tokens are enqueued, or about to be."""
    return remote.collected_at is None and remote.state not in _ENDED
