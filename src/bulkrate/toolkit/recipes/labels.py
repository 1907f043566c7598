"""Which label an answer means: leniently, but never by a guess between two."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_EDGES = " \t\r\n\"'`*_.,;:!?()[]{}<>\u201c\u201d\u201e\u2018\u2019«»|#=-"
_BETWEEN = re.compile(r"[\s_-]+")
# "not positive" names one label and means another.
_NEGATION = re.compile(r"\b(?:not|no|neither|nor|never|none|without|except|cannot|\w+n['\u2019]t)\b")


class Labels:
    """Some labels, and the rule by which a text means one of them."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._exact = frozenset(labels)
        self._plain: dict[str, list[str]] = {}
        for label in labels:
            self._plain.setdefault(_plain(label), []).append(label)
        longest_first = sorted((name for name in self._plain if name), key=len, reverse=True)
        words = "|".join(map(re.escape, longest_first)) or r"(?!)"
        self._named = re.compile(rf"(?<!\w)(?:{words})(?!\w)")

    def meant(self, text: str) -> str | None:
        """The label: exactly so; or but for case, quotes and punctuation; or the only one named.

        None if there is no such label, or more than one.
        """
        if text in self._exact:
            return text
        plain = _plain(text)
        alike = self._plain.get(plain, [])
        if not alike:
            named = set(self._named.findall(plain))
            around = self._named.sub(" ", plain)
            if len(named) == 1 and not _NEGATION.search(around):
                alike = self._plain[named.pop()]
        return alike[0] if len(alike) == 1 else None


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return _BETWEEN.sub(" ", folded.strip(_EDGES)).strip(_EDGES)
