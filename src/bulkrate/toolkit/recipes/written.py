"""A recipe that has the model write about one row: a conversation, and a reading of what was said."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Sequence
from typing import Any

from bulkrate.errors import RecipeError
from bulkrate.toolkit.questions.asking import Asking
from bulkrate.toolkit.questions.prompts import OURS, Prompt
from bulkrate.toolkit.questions.schemas import Form
from bulkrate.toolkit.recipes.base import Again, Invalid, Reading
from bulkrate.toolkit.recipes.conversation import Conversation, Part
from bulkrate.toolkit.recipes.said import Said, said
from bulkrate.toolkit.rows.table import Column, Row
from bulkrate.wording import either

#: The settings of every such recipe.
WRITTEN = frozenset({"prompt", "system", "column", "answer", "endpoint", "params"})


class Written:
    """One row a request, one text back; `read_as` makes cells of it."""

    rows_per_request = 1

    def __init__(
        self,
        asking: Asking,
        *,
        columns: Sequence[Column],
        read_as: Callable[[Said, Row], Reading],
        rules: str = "",
        task: str = "",
        form: Form | None = None,
        counted: str | None = None,
        seen_as: Callable[[Row], Row] = dict,
    ) -> None:
        """`rules` follow the user's own system text; `task` stands before a column without a prompt.

        `seen_as` makes of a row what its prompt may use.
        """
        self.name = asking.recipe
        self.columns = tuple(columns)
        self.counted = counted
        self._read_as = read_as
        self._seen_as = seen_as
        self._asked = asked_text(asking)
        self._column = asking.column
        system: list[Part] = [Prompt(asking.system, what="system text")] if asking.system else []
        self._conversation = Conversation(
            endpoint=asking.endpoint,
            system=[*system, rules],
            user=[*([] if asking.prompt else [task]), *self._asked],
            form=form,
            params=asking.params,
        )
        self.endpoint = self._conversation.endpoint

    def shown(self) -> str:
        return self._conversation.shown()

    def skip(self, row: Row) -> str | None:
        return nothing_in(row, self._column, self._asked)

    def body(self, rows: Sequence[Row], model: str, again: Again | None = None) -> bytes:
        (row,) = rows
        return self._conversation.body(self._seen_as(row), model, again)

    def read(self, body: bytes, rows: Sequence[Row]) -> list[Reading]:
        (row,) = rows
        found = said(body)
        return [found if isinstance(found, Invalid) else self._read_as(found, row)]


def asked_text(asking: Asking) -> list[Prompt]:
    """What is asked of a row: the prompt, and the column's text where the prompt does not use it.

    Raises `RecipeError` when every row would be asked the same.
    """
    prompt = Prompt(asking.prompt) if asking.prompt else None
    parts = [prompt] if prompt is not None else []
    if asking.column is not None and (prompt is None or asking.column not in prompt.columns):
        parts.append(Prompt(f"{{{{ {_reference(asking.column)} }}}}", what=asking.recipe))
    if not parts:
        if asking.recipe == "map":
            raise RecipeError(
                f"what is to be asked of each row? give {either('--prompt', 'prompt=')} "
                "(requests in OpenAI's batch format are run as they are where they are a .jsonl file)"
            )
        raise RecipeError(
            f"{asking.recipe} needs to know the text; give {either('--column', 'column=')} or "
            f"{either('--prompt', 'prompt=')}"
        )
    if not any(part.columns or part.whole_row for part in parts):
        raise RecipeError(
            "the prompt uses no column, so that every row would be asked the same; "
            "write a column as {{ name }}, or name one beside the prompt"
        )
    return parts


def nothing_in(row: Row, column: str | None, parts: Sequence[Prompt]) -> str | None:
    """Why there is nothing to ask about `row`: its column, or all the columns of its prompt, are empty."""
    if column is not None:
        used = {column}
    elif any(part.whole_row for part in parts):
        used = set(row)
    else:
        used = set().union(*(part.columns for part in parts))
    if not used or not used <= row.keys() or not all(_is_blank(row[name]) for name in used):
        return None
    names = ", ".join(repr(name) for name in sorted(used))
    return f"column {names} is empty" if len(used) == 1 else f"columns {names} are empty"


def _is_blank(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip())


def _reference(name: str) -> str:
    """A column as a template names it."""
    taken = name in OURS or keyword.iskeyword(name) or keyword.iskeyword(name.capitalize())
    if name.isascii() and name.isidentifier() and not taken:
        return name
    return "row['" + name.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "']"
