"""Which tokeniser a model has, by its name."""

from __future__ import annotations

import re
from enum import Enum

# Names of OpenAI's models, by tokeniser.
_CL100K = re.compile(r"gpt-4(?![\do.])|gpt-3|text-embedding-")
_O200K = re.compile(r"gpt-(?!2|j|neo)|o\d|chatgpt-|codex-|computer-use|omni-moderation")


class Vocabulary(Enum):
    """Which tokeniser is meant."""

    O200K = "o200k_base"  # gpt-4o, gpt-4.1, gpt-5, o1 and later
    CL100K = "cl100k_base"  # gpt-4, gpt-3.5, text-embedding-3
    OTHER = "another vendor's"  # of which we only know that it resembles the two


def vocabulary_of(model: str) -> Vocabulary:
    """Which tokeniser a model has, by its name."""
    name = bare(model)
    if _CL100K.match(name):
        return Vocabulary.CL100K
    return Vocabulary.O200K if _O200K.match(name) else Vocabulary.OTHER


def bare(model: str) -> str:
    """The name without provider, tag or the owner of a fine-tuned model."""
    name = model.removeprefix("ft:").rpartition("/")[2]
    first, _, second = name.partition(":")
    return second if _CL100K.match(second) or _O200K.match(second) else first
