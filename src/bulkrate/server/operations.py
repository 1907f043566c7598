"""What an operation is: the row that a route, its checks and its documentation are all made from.

Only the shape of a row is here; the rows are in `table.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from bulkrate.wire.base import Ask

if TYPE_CHECKING:
    from bulkrate.engine import Engine

JSON_BYTES_MAX = 8 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Query:
    """A parameter after the question mark."""

    name: str
    kind: Literal["integer", "string"] = "string"
    default: int | str | None = None
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()
    required: bool = False
    about: str


@dataclass(frozen=True, kw_only=True)
class Json:
    """A body of JSON. One that is not `required` may also be empty, and is then `ask()`."""

    ask: type[Ask]
    required: bool = True
    bytes_max: int = JSON_BYTES_MAX


@dataclass(frozen=True, kw_only=True)
class Form:
    """A multipart body: the part named `part` carries the bytes of a file, the others are small `fields`."""

    part: str
    fields: type[Ask] | None = None


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, checked as far as its operation says.

    `ask` is an instance of the operation's `Json.ask`, or None where a form came or nothing was asked.
    """

    engine: Engine
    request: Request
    project: str
    path: Mapping[str, str]
    query: Mapping[str, Any]
    ask: Any = None

    @property
    def idempotency_key(self) -> str | None:
        """The caller's own name for this request, so that a repeat does not act twice."""
        return self.request.headers.get("idempotency-key") or None


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method on one path.

    `answer` is the shape of a 200; None means bytes or text. `errors` are the statuses it can refuse with,
    beyond those that any operation has. An `open` operation needs no key and stands outside the prefixes.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    summary: str
    handler: Callable[[Call], Awaitable[msgspec.Struct | Response]]
    answer: Any = None
    media_type: str = "application/json"
    takes: tuple[Json | Form, ...] = ()
    query: tuple[Query, ...] = ()
    errors: tuple[int, ...] = ()
    open: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The operation's id in the OpenAPI document."""
        noun = self.handler.__module__.rsplit(".", 1)[-1]
        return f"{noun}_{getattr(self.handler, '__name__', 'call')}"
