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
from bulkrate.store.records import LessonRecord, RemoteRecord

HOUR_S = 3_600
_ENDED = {state.value for state in RemoteState if state.ended}


class Quotas:
    """The limits of one upstream: the provider's table, the settings above it, and what refusals taught.

    `lessons` is what they taught those who drove it before, as the store has it.
    """

    def __init__(
        self, name: str, upstream: Upstream, vendor: Vendor, lessons: Iterable[LessonRecord] = ()
    ) -> None:
        self._name = name
        self._upstream = upstream
        self._vendor = vendor
        self._kept = {lesson.model: lesson for lesson in lessons}
        self._quotas = {model: _quota_of(lesson) for model, lesson in self._kept.items()}

    def limits(self, model: str) -> Limits:
        """The limits for a model, as the provider calls it."""
        table = self._vendor.limits(model)
        given = {
            "lines_max": self._upstream.batch_lines_max,
            "bytes_max": self._upstream.batch_bytes_max,
            "tokens_max": self._upstream.batch_tokens_max,
            "embedding_inputs_max": self._upstream.batch_inputs_max,
            "batches_max": self._upstream.batches_max,
            "creates_per_hour": self._upstream.creates_per_hour,
        }
        return msgspec.structs.replace(
            table, **{name: value for name, value in given.items() if value is not None}
        )

    def unkept(self) -> list[LessonRecord]:
        """What was learnt and is not `kept` yet."""
        told = {model: self._lesson(model, quota) for model, quota in self._quotas.items()}
        return [told[model] for model in told if told[model] != self._kept.get(model, self._nothing(model))]

    def kept(self, lesson: LessonRecord) -> None:
        """A lesson is in the store."""
        self._kept[lesson.model] = lesson

    def enqueued_tokens_max(self, model: str, *, now: float) -> int | None:
        """How many tokens may be enqueued for a model, as far as that is known."""
        return self._quota(model, now).limit

    def room(self, model: str, portion: Portion, *, now: float) -> Room:
        """How much fits into one batch, within a portion of the quota."""
        limits = self.limits(model)
        most = [value for value in (limits.tokens_max, portion.tokens) if value is not None]
        return Room(
            lines=min(limits.lines_max, self._quota(model, now).lines_max or limits.lines_max),
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
        quota = self._quota(model, now)
        return portion(quota, batch_id, enqueued=enqueued, waiting=waiting, model=model, now=now)

    def wait_s(self, model: str, *, now: float) -> float:
        """How long nothing shall be created for a model, after a refusal."""
        return max(0.0, self._quota(model, now).not_before - now)

    def why(self, model: str) -> str:
        """What was said when nothing more was taken for a model."""
        return self._quotas[model].why or "its quota of enqueued tokens was full"

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
        quota = self._quota(remote.sent_as, now).refused(
            enqueued=sum(one.tokens for one in others),
            asked=remote.tokens,
            limit=refusal.limit_tokens,
            retry_after_s=refusal.retry_after_s,
            now=now,
            jitter=random.random(),  # noqa: S311  # spreads retries
            why=refusal.message,
        )
        self._quotas[remote.sent_as] = quota
        return quota.limit is not None and remote.tokens > quota.limit and remote.lines > 1

    def heard(
        self, remote: RemoteRecord, state: RemoteState, *, remotes: Iterable[RemoteRecord], now: float
    ) -> None:
        """The provider said where a remote batch is: behind validation its tokens fitted in, after its end
        they are free.
        """
        quota = self._quota(remote.sent_as, now)
        if state.ended:
            self._quotas[remote.sent_as] = quota.released()
        elif state is not RemoteState.VALIDATING and remote.state in {None, RemoteState.VALIDATING.value}:
            there = sum(one.tokens for one in remotes if one.sent_as == remote.sent_as and is_under_way(one))
            self._quotas[remote.sent_as] = quota.accepted(enqueued=there)

    def hold(self, remote: RemoteRecord, refusal: Refusal, *, now: float) -> None:
        """Nothing gets in, for a reason that lies with the account: wait a while."""
        self._quotas[remote.sent_as] = self._quota(remote.sent_as, now).held(now=now, why=refusal.message)

    def too_large(self, remote: RemoteRecord, *, now: float) -> None:
        """A remote batch had more lines or bytes than the provider takes: the next have half."""
        quota = self._quota(remote.sent_as, now)
        self._quotas[remote.sent_as] = quota.too_large(lines=remote.lines, now=now)

    def _quota(self, model: str, now: float) -> Quota:
        given = self._given(model)
        self._quotas[model] = self._quotas.get(model, given).recalled(given, now=now)
        return self._quotas[model]

    def _given(self, model: str) -> Quota:
        """What is known without having been refused anything."""
        given = self._upstream.enqueued_tokens
        limit = given.get(model) if isinstance(given, dict) else given
        return Quota(limit=limit, told=limit is not None)

    def _lesson(self, model: str, quota: Quota) -> LessonRecord:
        # A limit of the settings is no lesson: they may say another one the next time.
        learnt = quota.learnt_at is not None and quota.limit != self._given(model).limit
        return LessonRecord(
            upstream=self._name,
            model=model,
            tokens_max=quota.limit if learnt else None,
            told=quota.told and learnt,
            lines_max=quota.lines_max,
            learnt_at=quota.learnt_at,
            refusals=quota.refusals,
            not_before=quota.not_before,
        )

    def _nothing(self, model: str) -> LessonRecord:
        return self._lesson(model, Quota())


def _quota_of(lesson: LessonRecord) -> Quota:
    return Quota(
        limit=lesson.tokens_max,
        told=lesson.told,
        lines_max=lesson.lines_max,
        learnt_at=lesson.learnt_at,
        refusals=lesson.refusals,
        not_before=lesson.not_before,
    )


def is_under_way(remote: RemoteRecord) -> bool:
    """Whether its tokens are enqueued, or about to be."""
    return remote.collected_at is None and remote.state not in _ENDED
