"""What happens to the lines of an ended remote batch that have no final result: another chance, or an error.

What a refusal teaches of a quota is learnt here as well; nothing else is done.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bulkrate.engine.delegate.driven import Driven
from bulkrate.providers.batch.base import Refusal, Remote, RemoteRefused, Why
from bulkrate.store.records import RemoteRecord

# A batch that fails at validation is created once more without the lines that were blamed. A provider names
# all of them at once; one that finds others the second time may do so for ever.
_REJECTIONS_MAX = 1
_REJECTED = (
    "{upstream} refused the batch of this line at validation for the faults of other lines, and refused it "
    "again without these for the faults of others still; this line did not run, retry to send it again"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What happens to lines without a final result.

    `error`: that is their error, as (code, message, status or None); with `unseen` only of those without a
    result of any kind. The others go out again, as lines of `generation` and with so many `rejections`.
    """

    generation: int
    rejections: int
    error: tuple[str, str, int | None] | None = None
    unseen: bool = False


def verdict_of(
    driven: Driven,
    remote: RemoteRecord,
    seen: Remote,
    *,
    answered: bool,
    last: bool,
    gone: RemoteRefused | None,
) -> Verdict:
    """What the lines that are left have to expect.

    `answered`: there were results of any kind. `last`: there is no further chance. `gone`: why results that
    there were cannot be had.
    """
    again = Verdict(generation=remote.generation, rejections=remote.rejections)
    if gone is not None:
        message = f"the results of {seen.id} at {driven.name} are gone: {gone.refusal.message}"
        return replace(again, error=("remote_results_gone", message, None), unseen=not last)
    if seen.refusal is not None and not answered:
        verdict = _refused(driven, remote, seen.refusal, named=bool(seen.faults))
        if verdict is not None:
            return verdict
    if last:
        said = f"; of the last it said: {seen.refusal.message}" if seen.refusal is not None else ""
        message = f"{driven.name} did not answer this line in {remote.generation} batches{said}"
        return replace(again, error=("not_answered", message, None))
    return again


def _refused(driven: Driven, remote: RemoteRecord, refusal: Refusal, *, named: bool) -> Verdict | None:
    """What a batch has to expect that failed as a whole, before a line of it ran; None: the usual.

    `named`: single lines were blamed, which the others go out without.
    """
    if refusal.why in {Why.QUOTA, Why.KEY} or (refusal.why is Why.TOO_LARGE and remote.lines > 1):
        now = driven.context.clock()
        if refusal.why is Why.TOO_LARGE:
            driven.quotas.too_large(remote, now=now)
        elif refusal.why is Why.QUOTA:
            driven.quotas.refused(remote, refusal, remotes=driven.remotes.values(), now=now)
        else:
            driven.quotas.hold(remote, refusal, now=now)
        return Verdict(generation=remote.generation - 1, rejections=remote.rejections)
    if refusal.why is Why.MODEL:  # all lines have the same
        named = False
    if named and remote.rejections < _REJECTIONS_MAX:
        return Verdict(generation=remote.generation - 1, rejections=remote.rejections + 1)
    again = Verdict(generation=remote.generation, rejections=remote.rejections)
    if named:
        return replace(again, error=("validation_failed", _REJECTED.format(upstream=driven.name), None))
    if refusal.why in {Why.MODEL, Why.INVALID, Why.CONFLICT, Why.TOO_LARGE}:
        return replace(again, error=(refusal.code or refusal.why.code, refusal.message, 400))
    return None


def ending(remote: RemoteRecord, error: tuple[str, str, int | None]) -> Verdict:
    """An error for every line that is left."""
    return Verdict(generation=remote.generation, rejections=remote.rejections, error=error)
