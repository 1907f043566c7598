"""What is said to a model about a row, as the body of the three endpoints that write.

A text is made of parts: templates over the row, and plain text of ours that is no template (labels, rules). A
schema goes into the request where the endpoint can enforce it, else into the text. A row that is asked again
gets the same conversation, the model's last answer and what was wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import msgspec

from bulkrate.errors import RecipeError
from bulkrate.toolkit import json_text
from bulkrate.toolkit.questions.prompts import Prompt
from bulkrate.toolkit.questions.schemas import Form
from bulkrate.toolkit.recipes.base import Again
from bulkrate.toolkit.rows.table import Row

Part: TypeAlias = str | Prompt

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
COMPLETIONS = "/v1/completions"
#: The endpoints that write; the first is the one used unless another is named.
WRITERS = (CHAT, RESPONSES, COMPLETIONS)

# A body's own fields, and those that would ask for an answer that is not read.
_OURS = {
    "model": "give the model beside the recipe",
    "messages": "give a prompt and a system text",
    "input": "give a prompt or a column",
    "prompt": "give a prompt",
    "stream": "answers of a batch come whole",
    "background": "answers of a batch come whole",
}


class Conversation:
    """What is asked of every row. Raises `RecipeError` for an endpoint or a parameter it cannot use."""

    def __init__(
        self,
        *,
        endpoint: str | None,
        system: Sequence[Part],
        user: Sequence[Part],
        form: Form | None,
        params: dict[str, Any],
    ) -> None:
        self.endpoint = endpoint_of(endpoint, WRITERS)
        self._params = usable(params)
        if self._params.get("n", 1) != 1:
            raise RecipeError("params: n asks for several answers, of which one would be read; leave it out")
        self._form = form
        self._enforced = form is not None and self.endpoint != COMPLETIONS and "response_format" not in params
        if form is not None and not self._enforced:
            shape = json_text.encode(form.sent).decode()
            user = [*user, f"Answer with JSON only, fitting this JSON schema:\n{shape}"]
        self._system = tuple(system)
        self._user = tuple(user)

    def shown(self) -> str:
        """The system text, the prompt and the schema, with the cells still as names."""
        sections = [("system", _as_written(self._system)), ("prompt", _as_written(self._user))]
        if self._form is not None and self._enforced:
            shape = msgspec.json.format(json_text.encode(self._form.sent), indent=2).decode()
            sections.append(("answers fit", shape))
        if self._form is not None and self._form.notes:
            sections.append(("about the schema", "\n".join(self._form.notes)))
        return "\n\n".join(f"{title}:\n{_indented(text)}" for title, text in sections if text)

    def body(self, row: Row, model: str, again: Again | None) -> bytes:
        """The request body. Raises `RecipeError` when the row lacks a column."""
        system, user = _said(self._system, row), _said(self._user, row)
        if not user.strip():
            raise RecipeError("the prompt is empty for a row")
        match self.endpoint:
            case "/v1/responses":
                asked = self._response(system, user, again)
            case "/v1/completions":
                asked = {"prompt": _on_paper(system, user, again)}
            case _:
                asked = self._chat(system, user, again)
        return json_text.encode({"model": model, **asked, **self._params})

    def _chat(self, system: str, user: str, again: Again | None) -> dict[str, Any]:
        opening = [{"role": "system", "content": system}] if system else []
        asked: dict[str, Any] = {"messages": [*opening, *_turns(user, again)]}
        if self._form is not None and self._enforced:
            inner = {"name": self._form.name, "strict": self._form.strict, "schema": self._form.sent}
            asked["response_format"] = {"type": "json_schema", "json_schema": inner}
        return asked

    def _response(self, system: str, user: str, again: Again | None) -> dict[str, Any]:
        asked: dict[str, Any] = {"instructions": system} if system else {}
        asked["input"] = _turns(user, again)
        if self._form is not None and self._enforced:
            shape = {"name": self._form.name, "strict": self._form.strict, "schema": self._form.sent}
            asked["text"] = {"format": {"type": "json_schema", **shape}}
        return asked


def endpoint_of(asked: str | None, known: Sequence[str]) -> str:
    """The endpoint asked for, else the first of those a recipe knows. Raises `RecipeError`."""
    if asked is not None and asked not in known:
        raise RecipeError(f"endpoint {asked!r} cannot be used here; use {' or '.join(known)}")
    return asked or known[0]


def usable(params: dict[str, Any]) -> dict[str, Any]:
    """`params`, if they may stand in a body of ours. Raises `RecipeError` for those that may not."""
    for name in params.keys() & _OURS.keys():
        if params[name] is not False or name not in ("stream", "background"):
            raise RecipeError(f"params: {name} cannot be set: {_OURS[name]}")
    try:
        msgspec.json.encode(json_text.whole(params))
    except TypeError as error:
        raise RecipeError(f"params are not JSON: {error}") from error
    return params


def _turns(user: str, again: Again | None) -> list[dict[str, str]]:
    turns = [{"role": "user", "content": user}]
    if again is None:
        return turns
    if again.text.strip():
        turns.append({"role": "assistant", "content": again.text})
    return [*turns, {"role": "user", "content": _objection(again)}]


def _on_paper(system: str, user: str, again: Again | None) -> str:
    last = [again.text, _objection(again)] if again is not None else []
    return "\n\n".join(part for part in (system, user, *last) if part.strip())


def _objection(again: Again) -> str:
    return f"Your answer cannot be used: {again.fault}. Answer once more, as asked at first."


def _said(parts: Iterable[Part], row: Row) -> str:
    return _joined(part.render(row) if isinstance(part, Prompt) else part for part in parts)


def _as_written(parts: Iterable[Part]) -> str:
    return _joined(part.text if isinstance(part, Prompt) else part for part in parts)


def _joined(parts: Iterable[str]) -> str:
    return "\n\n".join(part for part in parts if part)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" if line else "" for line in text.splitlines())
