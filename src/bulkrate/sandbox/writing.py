"""Writes what a model would have said: a label, JSON that fits a schema, or a sentence that says "sandbox".

Chat, completions and responses share it. It never writes more than was allowed, and counts what it wrote.
"""

from msgspec import Struct, json

from bulkrate.sandbox.dice import Dice
from bulkrate.sandbox.labels import choose, labels_in
from bulkrate.sandbox.refusals import bad
from bulkrate.sandbox.request import Fields, object_field
from bulkrate.sandbox.schemas import SchemaFitter
from bulkrate.sandbox.texts import cut_to, last_text, texts_of, tokens_in

_EXCERPT = 48
_SENTENCES = (
    "a model would now reply to",
    "here would stand an answer to",
    "no model is here to answer",
    "this fills the place of an answer to",
    "rehearsed, not thought, in reply to",
)


class Written(Struct, frozen=True):
    text: str
    tokens: int
    complete: bool


def write(prompt: object, wanted: Fields, limit: int | None, dice: Dice) -> Written:
    """Answer `prompt` (any of OpenAI's shapes) in the format `wanted` (`response_format`, `text.format`)."""
    kind = wanted.get("type")
    if kind == "json_schema":
        text = _structured(prompt, wanted, dice)
    elif kind == "json_object":
        text = json.encode({"sandbox": True, "answer": _sentence(prompt, dice)}).decode()
    else:
        text = _plain(prompt, dice)
    if limit is not None and tokens_in(text) > limit:
        return Written(cut_to(text, limit), limit, complete=False)
    return Written(text, tokens_in(text), complete=True)


def _plain(prompt: object, dice: Dice) -> str:
    labels = labels_in("\n".join(texts_of(prompt)))
    return choose(labels, last_text(prompt), dice) if labels else _sentence(prompt, dice)


def _sentence(prompt: object, dice: Dice) -> str:
    words = last_text(prompt)[: 4 * _EXCERPT].split()
    excerpt = " ".join(words)[:_EXCERPT] or "nothing"
    return f'sandbox: {dice.pick("sentence", _SENTENCES)} "{excerpt}"'


def _structured(prompt: object, wanted: Fields, dice: Dice) -> str:
    # Chat nests name and schema one level deeper than Responses does.
    described = object_field(wanted, "json_schema") or wanted
    schema = described.get("schema")
    if not isinstance(schema, dict):
        raise bad("the json_schema format came without a 'schema' object", "response_format", "invalid_value")
    return json.encode(SchemaFitter(schema, last_text(prompt), dice).value()).decode()
