"""One attempt at a line: its body goes to an upstream, and what comes back is judged.

Whatever happens, an outcome comes of it, unless the attempt is cancelled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from bulkrate.config import Upstream
from bulkrate.core.body import edited
from bulkrate.core.health import Health
from bulkrate.core.outcome import Answer, Answered, Failed, Failure, Outcome, Refused, judge
from bulkrate.core.retry import Retry
from bulkrate.dispatch.base import Load, Work
from bulkrate.dispatch.client import Client
from bulkrate.dispatch.http import AttemptError
from bulkrate.errors import BlobError
from bulkrate.providers.usage import read_usage
from bulkrate.telemetry import traces

# What a server answers that knows no such path.
_NOT_THERE = {404, 405}


class Attempts:
    """Attempts at one upstream.

    `name_for` gives the name of a model there, None if it has none; `health` says whether lines are answered
    there.
    """

    def __init__(
        self,
        name: str,
        upstream: Upstream,
        client: Client,
        retry: Retry,
        *,
        name_for: Callable[[str], str | None],
        health: Health,
    ) -> None:
        self._name = name
        self._upstream = upstream
        self._client = client
        self._retry = retry
        self._name_for = name_for
        self._health = health
        self._edits = bool(upstream.set_fields or upstream.drop_fields)

    async def make(self, load: Load, work: Work) -> Outcome:
        """Send a line once."""
        span = traces.attempt(load.batch_id, upstream=self._name, model=load.model)
        outcome: Outcome
        try:
            headers = None if span is None else span.headers
            answer = await self._client.post(load.endpoint, self._body(load, work), headers)
            outcome = judge(answer, read_usage)
        except AttemptError as error:
            outcome = error.failed
        except BlobError as error:
            outcome = Failed(Failure.ERROR, f"the line could not be read: {error}")
        except MemoryError:
            detail = "no memory here for the answer; lower limits.answer_bytes_max or max_in_flight"
            outcome = Failed(Failure.ERROR, detail)
        except Exception as bug:  # noqa: BLE001  # a line that trips us is given up, not tried for ever
            outcome = Failed(Failure.ERROR, f"the line could not be sent ({type(bug).__name__})")
        if not isinstance(outcome, Answered):
            outcome = await self._second_look(outcome, load.endpoint)
        if span is not None:
            span.end(outcome)
        return outcome

    def _body(self, load: Load, work: Work) -> bytes:
        body = load.body(work)
        name = self._name_for(load.model)
        put: dict[str, Any]
        if name is not None and name != load.model:
            put = {"model": name, **self._upstream.set_fields}
        elif self._edits:
            put = self._upstream.set_fields
        else:
            return body
        return edited(body, put=put, drop=self._upstream.drop_fields)

    async def _second_look(self, outcome: Refused | Failed, endpoint: str) -> Outcome:
        """What does not show in the answer alone."""
        if isinstance(outcome, Refused):
            return await self._not_the_line(outcome.answer, endpoint) or outcome
        if outcome.failure is Failure.KEY_REFUSED and outcome.answer and outcome.answer.status == 401:
            # A model list that anybody may read says nothing for our key, but answers to lines do.
            if self._health.answers_others() and not await self._refuses_our_key():
                detail = "the upstream does not accept our key for this line (401), and answers others"
                return Failed(Failure.ERROR, detail, outcome.answer)
        elif outcome.retry_after_s is not None:
            cut = min(outcome.retry_after_s, self._retry.retry_after_s_max)
            return msgspec.structs.replace(outcome, retry_after_s=cut)
        return outcome

    async def _not_the_line(self, answer: Answer, endpoint: str) -> Failed | None:
        """What a refusal is about, where it is not its line."""
        if answer.status == 403 and await self._refuses_our_key():
            return Failed(Failure.KEY_REFUSED, "the upstream does not accept our key (403)", answer)
        if self._health.has_answered or answer.status not in _NOT_THERE or b"model" in answer.body:
            return None
        if not await self._lists_nothing() or self._health.has_answered:
            return None  # an API, which has no such endpoint, or answers others
        where = self._upstream.address + endpoint.removeprefix("/v1")
        detail = f"{where} answers {answer.status}, and lists no models: the URL may be wrong"
        return Failed(Failure.UNREACHABLE, detail, answer)

    async def _lists_nothing(self) -> bool:
        try:
            return await self._client.models() is None
        except AttemptError:
            return False

    async def _refuses_our_key(self) -> bool:
        """Whether a 403 is about us rather than about the line: then even the model list is refused."""
        try:
            await self._client.models()
        except AttemptError as error:
            return error.failed.failure is Failure.KEY_REFUSED
        return False
