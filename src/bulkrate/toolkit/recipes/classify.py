"""Put every row into one of some classes; an answer that is none of them does not count."""

from __future__ import annotations

from typing import Any

from bulkrate.errors import RecipeError
from bulkrate.toolkit import json_text
from bulkrate.toolkit.questions.asking import Asking
from bulkrate.toolkit.questions.schemas import Form, Schema
from bulkrate.toolkit.recipes.base import Invalid, Reading, Recipe, Value
from bulkrate.toolkit.recipes.labels import Labels
from bulkrate.toolkit.recipes.said import Said
from bulkrate.toolkit.recipes.written import WRITTEN, Written
from bulkrate.toolkit.rows.table import Column, Row

SETTINGS = WRITTEN | {"labels", "other", "confidence"}

OTHER = "other"
_TOLD_MAX = 50


def recipe(asking: Asking) -> Recipe:
    """The label in `answer` (or "label"), and beside it the confidence from 0 to 1 if that is asked for.

    Raises `RecipeError` for fewer than two labels, or two that are the same.
    """
    labels = _labels(asking)
    name = asking.answer or "label"
    sure = confidence_column(asking)
    reader = _Reader(name, labels, sure)
    columns = [Column(name=name, kind="text")]
    if sure is not None:
        columns.append(Column(name=sure, kind="number"))
    return Written(
        asking,
        columns=columns,
        read_as=reader.read,
        rules=_rules(labels, asking),
        task="Classify this text:",
        form=Form(_schema(labels, asking.confidence)),
        counted=name,
    )


def confidence_column(asking: Asking) -> str | None:
    """Where the confidence goes: after a name of the user's own for the label, or "confidence"; None if it is
    not asked for.
    """
    if not asking.confidence:
        return None
    return f"{asking.answer}_confidence" if asking.answer else "confidence"


def _labels(asking: Asking) -> tuple[str, ...]:
    labels = tuple(label.strip() for label in asking.labels)
    if asking.other and OTHER not in labels:
        labels = (*labels, OTHER)
    if len(labels) < 2 or "" in labels:
        raise RecipeError("classify needs at least two labels, none of them empty")
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise RecipeError(f"label {twice[0]!r} is given twice; give each once")
    return labels


def _rules(labels: tuple[str, ...], asking: Asking) -> str:
    rules = [f"Classify. Answer with exactly one of these labels: {', '.join(labels)}."]
    if asking.other:
        rules.append(f'Answer "{OTHER}" only if none of the others fits.')
    if asking.confidence:
        rules.append("Say how confident you are, from 0 (a guess) to 1 (certain).")
    return " ".join(rules)


def _schema(labels: tuple[str, ...], confidence: bool) -> Schema:
    properties: dict[str, Any] = {"label": {"type": "string", "enum": list(labels)}}
    if confidence:
        properties["confidence"] = {"type": "number", "minimum": 0, "maximum": 1}
    return {
        "title": "label",
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


class _Reader:
    def __init__(self, name: str, labels: tuple[str, ...], sure: str | None) -> None:
        self._name = name
        self._labels = Labels(labels)
        self._sure = sure
        told = ", ".join(labels[:_TOLD_MAX]) + (", …" if len(labels) > _TOLD_MAX else "")
        self._fault = f"it does not name one label; answer with exactly one of: {told}"

    def read(self, found: Said, _row: Row) -> Reading:
        text, confidence = _parts(found.text)
        label = self._labels.meant(text)
        if label is None:
            return Invalid(fault=self._fault, text=found.text)
        cells: Row = {self._name: label}
        if self._sure is None:
            return Value(cells=cells, confidence=found.probability)
        return Value(cells=cells | {self._sure: confidence}, confidence=confidence)


def _parts(text: str) -> tuple[str, float | None]:
    """What stands for the label and the confidence: in JSON as asked, or the whole text."""
    start, end = text.find("{"), text.rfind("}")
    for candidate in (text, text[start : end + 1]):
        try:
            match json_text.decode(candidate):
                case {"label": str(label), **rest}:
                    return label, _share(rest.get("confidence"))
                case str(label):
                    return label, None
        except ValueError:
            continue
    return text, None


def _share(told: object) -> float | None:
    """A confidence from 0 to 1, also from a text or from per cent; None if it is no such number."""
    percent = isinstance(told, str) and told.strip().endswith("%")
    try:
        number = float(told.strip(" %") if isinstance(told, str) else told)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    share = number / 100 if percent else number
    return share if 0 <= share <= 1 else None
