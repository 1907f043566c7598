"""The endpoints: for each path, what a request must hold and which function answers it.

An answer is a function of the seed, the path and the body alone; nothing here waits, counts or fails.
"""

from collections.abc import Callable

from msgspec import Struct, json

from bulkrate.sandbox import media, moderation, prose, vectors
from bulkrate.sandbox.dice import Dice
from bulkrate.sandbox.models import Models
from bulkrate.sandbox.refusals import bad, missing
from bulkrate.sandbox.request import Fields, Request


class Endpoint(Struct, frozen=True):
    asks_in: str
    """The field that holds what is asked."""

    answer: Callable[[Fields, str, Dice], Fields]
    model: str | None = None
    """The model OpenAI takes when none is named; None where naming one is required."""

    by_body: bool = True
    """Draw from the whole body. Without, equal parts of different requests get equal answers."""


ENDPOINTS = {
    "/v1/chat/completions": Endpoint("messages", prose.chat_completion),
    "/v1/completions": Endpoint("prompt", prose.completion),
    "/v1/responses": Endpoint("input", prose.response),
    "/v1/embeddings": Endpoint("input", vectors.embeddings, by_body=False),
    "/v1/moderations": Endpoint("input", moderation.moderation, "omni-moderation-latest"),
    "/v1/images/generations": Endpoint("prompt", media.generated_images, "gpt-image-1"),
    "/v1/images/edits": Endpoint("prompt", media.edited_images, "gpt-image-1"),
    "/v1/videos": Endpoint("prompt", media.video, "sora-2"),
}


def check(endpoint: Endpoint, fields: Fields, models: Models) -> str:
    """Refuse what a real server would refuse; return the name of the model asked."""
    name = fields.get("model", endpoint.model)
    if name is None:
        raise missing("model")
    if not isinstance(name, str) or not name:
        raise bad("'model' must be the name of a model", "model", "invalid_type")
    _check_asked(endpoint.asks_in, fields)
    if fields.get("stream"):
        raise bad("the sandbox does not stream; leave 'stream' out", "stream", "unsupported_value")
    models.check(name)
    return name


def _check_asked(where: str, fields: Fields) -> None:
    asked = fields.get(where)
    if asked is None:
        raise missing(where)
    if where == "messages":
        _check_messages(asked)
    elif not isinstance(asked, str | list) or asked == []:
        raise bad(f"'{where}' must be a text or a list that is not empty", where, "invalid_type")


def _check_messages(messages: object) -> None:
    if not isinstance(messages, list) or not messages:
        raise bad("'messages' must be a list that is not empty", "messages", "invalid_type")
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            param = f"messages[{place}]"
            raise bad(f"'{param}' must be an object with a 'role'", param, "invalid_type")


def answer(endpoint: Endpoint, request: Request, model: str, seed: int) -> bytes:
    drawn_from = (request.path.encode(), request.digest) if endpoint.by_body else (request.path.encode(),)
    return json.encode(endpoint.answer(request.fields, model, Dice.of(seed, *drawn_from)))
