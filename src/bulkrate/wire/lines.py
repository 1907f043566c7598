"""The lines of output and error files.

They are spliced, not re-encoded: the `custom_id` and the body keep the bytes they came with.
"""

from __future__ import annotations

import msgspec

_encode = msgspec.json.encode


def line_id(batch_id: str, line: int) -> str:
    """The `id` of a line's answer: the same each time it is asked for, and shared by no other line."""
    return f"batch_req_{batch_id[-24:]}{line:08x}"


def response_line(
    ident: str, custom_id: bytes, status: int, request_id: str, body: bytes, *, delegated: str | None = None
) -> bytes:
    """A line that an upstream answered, with success or with an HTTP error.

    `custom_id` and `body` are JSON. `delegated` names the upstream whose batch API gave the answer: it has
    another price than one that came at once.
    """
    return (
        b'{"id":"%b","custom_id":%b,"response":{"status_code":%d,"request_id":%b,"body":%b},"error":null%b}\n'
        % (
            ident.encode(),
            custom_id,
            status,
            _encode(request_id),
            body,
            b"" if delegated is None else b',"delegated":' + _encode(delegated),
        )
    )


def failure_line(ident: str, custom_id: bytes, code: str, message: str) -> bytes:
    """A line that has no HTTP answer."""
    return b'{"id":"%b","custom_id":%b,"response":null,"error":{"code":%b,"message":%b}}\n' % (
        ident.encode(),
        custom_id,
        _encode(code),
        _encode(message),
    )


def error_object(message: str) -> bytes:
    """OpenAI's error body around what an upstream said in plain text."""
    return _encode({"error": {"message": message, "type": "upstream_error", "param": None, "code": None}})
