"""What is different at Azure, before the same real server: after learn.microsoft.com, how-to/batch.

The key comes as `api-key` and in no other way; files and batches are under `/openai/v1`, or under `/openai`
with an `api-version`; a model is the name of a deployment (`Faults.models` are those there are). A file is
looked at before it can be used. Batches do not expire. What is not there has the id "", each batch has an
error file that may have no bytes, and result lines have no `id`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from bulkrate.testing.providers.double import Refused, answer
from bulkrate.testing.providers.jobs import Job, Line, Outcome
from bulkrate.testing.providers.openai import OpenAIProxy

_OLD_ROOT = "/openai"


class AzureProxy(OpenAIProxy):
    """The Batch API of Azure OpenAI."""

    name = "azure"
    # The longer one is looked for first.
    roots = ("/openai/v1", _OLD_ROOT)

    def key_in(self, request: Request) -> str | None:
        """In a header of its own. The older surface has a version in each address."""
        path = request.url.path
        old = not path.startswith("/openai/v1/")
        if old != bool(request.query_params.get("api-version")):
            raise Refused(404, "Resource not found", "404")
        return request.headers.get("api-key")

    def error(self, refused: Refused) -> Response:
        """An error body of two fields; a key that is not right has a code of its own."""
        code, message = refused.code or str(refused.status), refused.message
        if refused.status == 401:
            code = "401"
            message = "Access denied due to invalid subscription key or wrong API endpoint."
        return answer({"error": {"code": code, "message": message}}, refused.status)

    def quota_full(self, room: int | None) -> Refused:
        """A bad request, where a region fails fast."""
        return Refused(400, super().quota_full(room).message, "token_limit_exceeded")

    async def upload(self, request: Request) -> Response:
        """A file is pending at first; how it ends is seen when it is looked at."""
        response = await super().upload(request)
        if response.status_code == 200:
            file = msgspec.json.decode(bytes(response.body))
            self.files[file["id"]]["status"] = "error" if self.faults.spend("break_upload") else "processed"
            response = answer(file | {"status": "pending"})
        return response

    async def look_file(self, request: Request) -> Response:
        """A file and how it ended."""
        response = await super().look_file(request)
        status = self.files[request.path_params["id"]].get("status", "processed")
        return answer(msgspec.json.decode(bytes(response.body)) | {"status": status})

    def add_job(self, ident: str, lines: list[Line], about: dict[str, Any]) -> Job:
        """A job that does not expire, with empty ids for what it has not."""
        job = super().add_job(ident, lines, about)
        job.faults = msgspec.structs.replace(job.faults, empty_ids=True, expire_after=None)
        return job

    def written(self, outcome: Outcome, job: Job) -> bytes:
        """A result line without an `id`."""
        line = msgspec.json.decode(super().written(outcome, job), type=dict[str, msgspec.Raw])
        line.pop("id", None)
        return msgspec.json.encode(line)
