"""What fits into one batch of each provider: one dated table, read on `READ_ON`.

None stands for a limit that is unknown or that does not exist; it is learnt from a refusal, or never met.
What a batch costs is in `core.money.sellers`.
Every limit can be replaced by a setting of the upstream; nothing here is asked for over the network.
"""

from __future__ import annotations

from typing import Any

import msgspec

#: When the sources were last read.
READ_ON = "2026-11-21"

_DAY = "24h"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one provider, or a family of its models. To change some: `msgspec.structs.replace`."""

    #: Lines in one batch.
    lines_max: int
    #: Bytes of the input file, or of the body where there are no files.
    bytes_max: int
    #: Input tokens in one batch; a user may set it lower, so that one shard is not the whole of a quota.
    tokens_max: int | None = None
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
    #: Where this was read.
    source: str = ""

    @property
    def window(self) -> str:
        """The window that is asked for where nobody says: a day, which a shorter one may cost more than."""
        return _DAY if _DAY in self.windows else self.windows[0]


# Where only "MB" is said, the smaller of the two is meant, to be safe.
_MB = 1_000_000

_OPENAI = Limits(
    lines_max=50_000,
    bytes_max=209_715_200,
    creates_per_hour=2_000,
    embedding_inputs_max=50_000,
    source="platform.openai.com/docs/guides/batch; the batch input's files expire after 30 days",
)
_ANTHROPIC = Limits(
    lines_max=100_000,
    # 256 MB with the frame around the requests.
    bytes_max=255 * _MB,
    one_model=False,
    source="platform.claude.com/docs/en/build-with-claude/batch-processing",
)
_GEMINI = Limits(
    # No number of lines is documented; the file is. A shard of this many is still looked at in one go.
    lines_max=100_000,
    bytes_max=2_000 * _MB,
    batches_max=100,
    windows=("48h",),
    source="ai.google.dev/gemini-api/docs/batch-api and /rate-limits",
)
_MISTRAL = Limits(
    lines_max=100_000,
    bytes_max=512 * _MB,
    windows=("24h", "48h", "72h", "96h", "120h", "144h", "168h"),
    source="docs.mistral.ai/resources/known-limitations (the guide says a million lines; the smaller counts)",
)

#: Per provider and family of models: the longest name that a model begins with counts; "" is for all others.
LIMITS: dict[str, dict[str, Limits]] = {
    "openai": {"": _OPENAI},
    "azure": {
        "": Limits(
            lines_max=100_000,
            bytes_max=200 * _MB,
            creates_per_hour=None,
            embedding_inputs_max=50_000,
            source="learn.microsoft.com/azure/ai-foundry/openai/how-to/batch; batches there do not expire",
        )
    },
    "groq": {
        "": Limits(
            lines_max=50_000,
            # Its pages disagree, 100 MB or 200 MB; the smaller is always taken.
            bytes_max=100 * _MB,
            windows=("24h", "48h", "72h", "96h", "120h", "144h", "7d"),
            source="console.groq.com/docs/batch",
        )
    },
    "deepinfra": {
        "": Limits(
            lines_max=50_000,
            bytes_max=200 * _MB,
            source="deepinfra.com/blog/batch-api; sizes are not documented, OpenAI's are assumed",
        )
    },
    "alibaba": {
        "": Limits(
            lines_max=50_000,
            bytes_max=500 * _MB,
            windows=("24h", "48h", "72h", "168h", "336h"),
            source="alibabacloud.com/help/en/model-studio/batch-interfaces-compatible-with-openai",
        )
    },
    "doubleword": {
        "": Limits(
            lines_max=50_000,
            bytes_max=200 * _MB,
            one_model=False,
            windows=("1h", "24h"),
            source="docs.doubleword.ai; sizes are OpenAI's",
        )
    },
    "bulkrate": {
        "": Limits(
            lines_max=50_000,
            bytes_max=209_715_200,
            one_model=False,
            source="docs/api.md of the server",
        )
    },
    "anthropic": {"": _ANTHROPIC},
    "gemini": {"": _GEMINI},
    "mistral": {"": _MISTRAL},
}


def limits_for(provider: str, model: str) -> Limits:
    """The limits of a provider for a model."""
    families = LIMITS[provider]
    return families[max((family for family in families if model.startswith(family)), key=len)]


class _Embedding(msgspec.Struct):
    input: str | list[Any]


_embedding = msgspec.json.Decoder(_Embedding)


def embedding_inputs(body: bytes) -> int:
    """How many inputs the body of an embeddings line has, as OpenAI counts them.

    A text or one list of tokens is one; a list of texts or of lists of tokens is as many as it holds. Raises
    `ValueError` when there is no input.
    """
    try:
        given = _embedding.decode(body).input
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise ValueError('the body has no "input": a text, tokens, or a list of either') from cause
    return 1 if isinstance(given, str) or not given or isinstance(given[0], int) else len(given)
