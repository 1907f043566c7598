"""Counters of tokens: one that guesses, and exact ones where a tokeniser's tables are on this machine.

Nothing is ever downloaded. tiktoken is used only with tables that lie in `TIKTOKEN_CACHE_DIR`, since it would
fetch missing ones; bpe-openai carries its tables in its package (`pip install 'bulkrate[tokens]'`).
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bulkrate.core.tokens.guess import Guess, guess, resembling
from bulkrate.core.tokens.request import Tokens, request_tokens
from bulkrate.core.tokens.vocabulary import Vocabulary
from bulkrate.errors import ConfigError

# Where tiktoken has its tables from; the names of the files in its cache are the SHA-1 of these.
_TIKTOKEN_URL = "https://openaipublic.blob.core.windows.net/encodings/{}.tiktoken"
# bpe-openai takes no more than 200,000 tokens at a time, and a character is no more than four bytes, so four
# tokens at most.
_PIECE_CHARS = 50_000

Exact = Callable[[str], int]


class Counter:
    """Counts the tokens of requests: by tokenisers, or else by guessing."""

    def __init__(self, exact: Mapping[Vocabulary, Exact] | None = None) -> None:
        self._exact = exact

    def text(self, text: str, vocabulary: Vocabulary = Vocabulary.O200K) -> Guess:
        """The tokens of a text. Of another vendor's tokeniser there is always but a band."""
        if self._exact is None:
            return guess(text, vocabulary)
        if vocabulary is not Vocabulary.OTHER:
            tokens = self._exact[vocabulary](text)
            return Guess(tokens, tokens, tokens)
        new, old = (self.text(text, known) for known in (Vocabulary.O200K, Vocabulary.CL100K))
        return resembling(new, old)

    def request(self, body: Mapping[str, Any] | bytes, endpoint: str) -> Tokens:
        """The tokens of a request to `endpoint`. Raises `InvalidRequest` when `body` is no JSON object."""
        return request_tokens(body, endpoint, self.text)


def counter(exact: bool | None = None) -> Counter:
    """A counter: exact where it can be (None), exact or nothing (True), or a guess (False).

    Raises `ConfigError` when `exact` is True and there are no tables.
    """
    if exact is False:
        return Counter()
    found = _tiktoken() or _bpe_openai()
    if found is None and exact:
        raise ConfigError(
            "there is no tokeniser to count exactly with; pip install 'bulkrate[tokens]', "
            "or tiktoken with its tables in TIKTOKEN_CACHE_DIR"
        )
    return found or Counter()


def _tiktoken() -> Counter | None:
    folder = os.environ.get("TIKTOKEN_CACHE_DIR")
    names = [vocabulary.value for vocabulary in (Vocabulary.O200K, Vocabulary.CL100K)]
    if not folder or not all(_has_table(Path(folder), name) for name in names) or not find_spec("tiktoken"):
        return None
    return Counter(_in_pieces("tiktoken"))


def _has_table(folder: Path, name: str) -> bool:
    url = _TIKTOKEN_URL.format(name)
    return (folder / hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest()).is_file()


def _bpe_openai() -> Counter | None:
    if not find_spec("bpe_openai"):
        return None
    return Counter(_in_pieces("bpe_openai"))


@contextmanager
def _without_deprecations() -> Iterator[None]:
    """bpe-openai opens its tables in a way that Python 3.11 and 3.12 call old; that is no news to a user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _in_pieces(library: str) -> dict[Vocabulary, Exact]:
    """An exact counter for each vocabulary of OpenAI's."""
    return {known: _Exact(library, known.value) for known in (Vocabulary.O200K, Vocabulary.CL100K)}


class _Exact:
    """A tokeniser, which takes half a second to load and is loaded when it is first asked."""

    def __init__(self, library: str, name: str) -> None:
        self._library = library
        self._name = name
        self._encode: Callable[[str], list[int]] | None = None

    def __call__(self, text: str) -> int:
        if self._encode is None:
            with _without_deprecations():
                self._encode = import_module(self._library).get_encoding(self._name).encode_ordinary
        encode = self._encode
        # A cut through a word may add a token to fifty thousand characters.
        return sum(
            len(encode(text[start : start + _PIECE_CHARS])) for start in range(0, len(text), _PIECE_CHARS)
        )
