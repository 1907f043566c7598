"""A batch from file to files, over raw HTTP."""

from __future__ import annotations

import json
from typing import Any

from tests.support.http import Answer, Http
from tests.support.processes import wait_until

ENDED = {"completed", "failed", "expired", "cancelled"}


def create(http: Http, content: bytes | str, **more: Any) -> Answer:
    """Ask for a batch over `content`, or over a file id."""
    file_id = http.upload(content)["id"] if isinstance(content, bytes) else content
    headers = more.pop("headers", None)
    asked = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    return http.post("/v1/batches", asked | more, headers)


def begin(http: Http, content: bytes | str, **more: Any) -> Any:
    """A batch that was begun."""
    answer = create(http, content, **more)
    assert answer.status == 200, answer.body
    return answer.json


def ended(http: Http, batch: Any) -> Any:
    """The batch, once it has ended."""
    return wait_until(
        lambda: http.get(f"/v1/batches/{batch['id']}").json, lambda seen: seen["status"] in ENDED
    )


def ran(http: Http, content: bytes | str, **more: Any) -> Any:
    """A batch that was begun and has ended."""
    return ended(http, begin(http, content, **more))


def lines(http: Http, file_id: str | None) -> list[Any]:
    """The parsed lines of an output or error file."""
    if file_id is None:
        return []
    answer = http.get(f"/v1/files/{file_id}/content")
    assert answer.status == 200, answer.body
    return [json.loads(line) for line in answer.body.splitlines()]
