"""Answers "classify as positive, negative or neutral" with one of the labels named.

It understands no language: it looks for a short list of words and picks by a handful of well known mood
words, or by hash. It never answers a word that was not offered.
"""

import re
from collections.abc import Sequence

from bulkrate.sandbox.dice import Dice

_ITEM = r"[\"'`]?[A-Za-z][\w-]*[\"'`]?"
# At most 20 repeats: without a bound, a long list of words costs the square of its length.
_ITEMS = rf"{_ITEM}(?:\s*[,/]\s*{_ITEM}){{0,20}}"
_WITH_OR = re.compile(rf"(?<![\w-])({_ITEMS},?\s+or\s+{_ITEM})(?![\w-])")
_OFFER = r"(?:one of|labels?|categor(?:y|ies)|classes|options)\b[^:\n]{0,40}:"
_AFTER_COLON = re.compile(rf"{_OFFER}\s*({_ITEM}(?:\s*,\s*{_ITEM}){{1,20}})", re.IGNORECASE)
_TASK = re.compile(
    r"classif|categor|label|sentiment|one of|answer|reply|respond|choose|pick|decide", re.IGNORECASE
)
_WORD = re.compile(r"[A-Za-z][\w-]*")
_READ_AT_MOST = 3000  # characters from either end: instructions stand there

_GOOD_WORDS = """
love loved loves great good excellent amazing wonderful perfect best happy recommend fantastic nice enjoyed
fast beautiful delicious superb helpful
"""
_BAD_WORDS = """
hate hated hates bad terrible awful worst broken broke poor disappointed disappointing waste refund slow never
boring useless horrible rude dirty late
"""
_GOOD = frozenset(_GOOD_WORDS.split())
_BAD = frozenset(_BAD_WORDS.split())


def labels_in(text: str) -> list[str]:
    """The labels a text offers to choose from; empty when it asks for something else."""
    if " or " not in text and ":" not in text:
        return []
    if len(text) > 2 * _READ_AT_MOST:
        text = text[:_READ_AT_MOST] + "\n" + text[-_READ_AT_MOST:]
    if not _TASK.search(text):
        return []
    found = _AFTER_COLON.search(text) or _WITH_OR.search(text)
    if found is None:
        return []
    labels = [word for word in _WORD.findall(found.group(1)) if word != "or"]
    return labels if len(labels) > 1 else []


def choose(labels: Sequence[str], text: str, dice: Dice) -> str:
    """The label the mood of the text suggests, else one by hash."""
    by_name = {label.lower(): label for label in labels}
    if "positive" in by_name and "negative" in by_name:
        words = set(_WORD.findall(text[:_READ_AT_MOST].lower()))
        mood = len(words & _GOOD) - len(words & _BAD)
        if mood:
            return by_name["positive" if mood > 0 else "negative"]
        if "neutral" in by_name:
            return by_name["neutral"]
    return dice.pick("label", labels)
