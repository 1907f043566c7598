"""The error body that every route answers with, whatever goes wrong."""

from __future__ import annotations

from bulkrate.errors import RequestRefused
from bulkrate.wire.base import Shape


class ErrorDetail(Shape, frozen=True, kw_only=True):
    """What went wrong: all four keys are always there, `param` and `code` may be null."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(Shape, frozen=True, kw_only=True):
    """OpenAI's error body."""

    error: ErrorDetail


def error_body(refused: RequestRefused) -> ErrorBody:
    """The body for a refused request."""
    return ErrorBody(
        error=ErrorDetail(message=refused.message, type=refused.type, param=refused.param, code=refused.code)
    )
