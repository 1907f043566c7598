"""Moderations: flags a text that holds one of a few plain words, and nothing else.

It never protects anyone; it exists so that both branches of a pipeline get rehearsed.
"""

import re

from bulkrate.sandbox.dice import Dice
from bulkrate.sandbox.marks import NOTICE
from bulkrate.sandbox.request import Fields
from bulkrate.sandbox.texts import texts_of

_CATEGORIES = {
    "harassment": frozenset({"idiot", "stupid", "loser"}),
    "harassment/threatening": frozenset[str](),
    "hate": frozenset({"hate", "vermin"}),
    "hate/threatening": frozenset[str](),
    "illicit": frozenset({"shoplift", "counterfeit"}),
    "illicit/violent": frozenset[str](),
    "self-harm": frozenset({"suicide"}),
    "self-harm/intent": frozenset[str](),
    "self-harm/instructions": frozenset[str](),
    "sexual": frozenset({"porn"}),
    "sexual/minors": frozenset[str](),
    "violence": frozenset({"kill", "murder", "shoot", "stab"}),
    "violence/graphic": frozenset({"gore"}),
}
_WORD = re.compile(r"[a-z]+")


def moderation(fields: Fields, model: str, dice: Dice) -> Fields:
    return {
        "id": dice.identity("modr-sandbox-"),
        "model": model,
        "results": [_judged(text, dice) for text in _judged_apart(fields["input"])],
        "sandbox": NOTICE,
    }


def _judged_apart(value: object) -> list[str]:
    """Every string of a list gets a result of its own; the parts of one multi-modal input share one."""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    return ["\n".join(texts_of(value))]


def _judged(text: str, dice: Dice) -> Fields:
    words = set(_WORD.findall(text.lower()))
    flags = {name: not words.isdisjoint(listed) for name, listed in _CATEGORIES.items()}
    return {
        "flagged": any(flags.values()),
        "categories": flags,
        "category_scores": {
            name: round(0.9 + dice.share(name) / 10 if flag else dice.share(name) / 100, 6)
            for name, flag in flags.items()
        },
        "category_applied_input_types": {name: ["text"] for name in flags},
    }
