"""Errors as OpenAI writes them: {"error": {"message", "type", "param", "code"}}.

A refusal is raised where the trouble is seen and becomes a reply in one place, the app. Messages say what
was found and what to do; they never repeat a prompt.
"""

from msgspec import json

from bulkrate.sandbox.asgi import Header, Reply

_KINDS = {429: "requests"}
_CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded"}


class RefusalError(Exception):
    """An answer other than 200, said in OpenAI's words."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str | None = None,
        param: str | None = None,
        code: str | None = None,
        headers: tuple[Header, ...] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind or _kind(status)
        self.param = param
        self.code = code
        self.headers = headers

    def reply(self) -> Reply:
        return Reply(self.status, self.body(), self.headers)

    def body(self) -> bytes:
        error = {
            "message": f"sandbox: {self.message}",
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return json.encode({"error": error})


def _kind(status: int) -> str:
    return "server_error" if status >= 500 else "invalid_request_error"


def asked_for(status: int, headers: tuple[Header, ...]) -> RefusalError:
    """The error a directive in the request asked for."""
    return RefusalError(
        status,
        f"status {status}, because a directive in the request asked for it",
        kind=_KINDS.get(status),
        code=_CODES.get(status),
        headers=headers,
    )


def bad(message: str, param: str | None = None, code: str | None = None) -> RefusalError:
    return RefusalError(400, message, param=param, code=code)


def missing(param: str) -> RefusalError:
    """OpenAI's own words for a missing field, so that clients which look for them find them."""
    return bad(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def unknown_model(name: str, served: tuple[str, ...]) -> RefusalError:
    return RefusalError(
        404,
        f"The model `{name}` does not exist here; served are: {', '.join(served)}",
        param="model",
        code="model_not_found",
    )
