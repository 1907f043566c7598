"""What fits into one batch of each provider: one dated table, read on `READ_ON`.

None stands for a limit that is unknown or that does not exist; it is learnt from a refusal, or never met.
Every number can be replaced by a setting of the upstream; nothing here is asked for over the network.
"""

from __future__ import annotations

import msgspec

#: When the sources were last read.
READ_ON = "2026-11-21"

_DAY_S = 86_400


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one provider, or a family of its models. To change some: `msgspec.structs.replace`."""

    #: Lines in one batch.
    lines_max: int
    #: Bytes of the input file, or of the body where there are no files.
    bytes_max: int
    #: Input tokens in one batch; a user may set it lower, so that one shard is not the whole of a quota.
    tokens_max: int | None = None
    #: Input tokens that may be enqueued at a time, per model. It differs by tier and is learnt from refusals.
    enqueued_tokens_max: int | None = None
    #: Batches that may be on their way at a time.
    batches_max: int | None = None
    #: Batches that may be created in an hour.
    creates_per_hour: int | None = None
    #: Embedding inputs in one batch, counted by `embedding_inputs`.
    embedding_inputs_max: int | None = None
    #: Whether all lines must name the same model.
    one_model: bool = True
    #: The windows that may be asked for, shortest first; a batch may end earlier, and is expired later.
    windows: tuple[str, ...] = ("24h",)
    #: How long results can be fetched after the end.
    retention_s: int | None = None
    #: The share of the standard price that a batched token costs.
    price_share: float = 0.5
    #: Whether a running batch can be cancelled, batches can be listed, and a batch can carry our metadata.
    cancels: bool = True
    lists: bool = True
    metadata: bool = True
    #: Where this was read.
    source: str = ""
