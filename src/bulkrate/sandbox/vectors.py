"""Embeddings: unit vectors from a hash of each input.

Near in meaning is not near in these vectors; only equal inputs (to the same model) are equal. An input gets
the same vector whatever else is in the request, as from a real model.
"""

import math
import struct
from base64 import b64encode
from hashlib import shake_128

from msgspec import json

from bulkrate.sandbox.dice import Dice
from bulkrate.sandbox.marks import NOTICE
from bulkrate.sandbox.refusals import bad
from bulkrate.sandbox.request import Fields, positive
from bulkrate.sandbox.texts import prompt_tokens

_DIMENSIONS = 8  # small, so that a rehearsal's files stay small; ask for `dimensions` to get more
_MOST_DIMENSIONS = 16_384
_MOST_INPUTS = 2048  # OpenAI's own limit


def embeddings(fields: Fields, model: str, dice: Dice) -> Fields:
    inputs = _inputs(fields["input"])
    size = positive(fields, "dimensions", _DIMENSIONS, _MOST_DIMENSIONS)
    encoding = fields.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise bad("'encoding_format' must be 'float' or 'base64'", "encoding_format", "invalid_value")
    vectors = [_vector(one, size, dice.root + model.encode()) for one in inputs]
    tokens = prompt_tokens(inputs)
    return {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": vector if encoding == "float" else _packed(vector),
            }
            for index, vector in enumerate(vectors)
        ],
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "sandbox": NOTICE,
    }


def _inputs(value: object) -> list[object]:
    """One entry per input: a string and a list of tokens are one, other lists are many."""
    found = value if isinstance(value, list) and not isinstance(value[0], int) else [value]
    if len(found) > _MOST_INPUTS:
        raise bad(f"'input' holds {len(found)} inputs; send at most {_MOST_INPUTS}", "input", "invalid_value")
    for one in found:
        if not one or not isinstance(one, str | list):
            raise bad("'input' must be texts or lists of tokens, none empty", "input", "invalid_value")
    return found


def _vector(one: object, size: int, root: bytes) -> list[float]:
    drawn = shake_128(root + json.encode(one)).digest(2 * size)
    odd = [2 * number + 1 for number in struct.unpack(f"<{size}h", drawn)]  # never 0, so the length never is
    length = math.sqrt(sum(number * number for number in odd))
    return [number / length for number in odd]


def _packed(vector: list[float]) -> str:
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
