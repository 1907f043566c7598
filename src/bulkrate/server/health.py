"""What can be asked without a key: is it there, is it well, and what is it."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from bulkrate import __version__
from bulkrate.server.operations import Call

_ABOUT = f"""\
bulkrate {__version__}: OpenAI's Files, Uploads and Batches API in front of your own inference servers.

  API           /v1   (also /openai/v1 and /openai, for Azure's clients)
  every route   /openapi.json
  health        /health
  numbers       /metrics

Point any OpenAI SDK here:

  OpenAI(base_url="http://this-host/v1").batches.list()
"""


async def health(call: Call) -> Response:
    return Response(msgspec.json.encode(await call.engine.health()), media_type="application/json")


async def about(call: Call) -> Response:  # noqa: ARG001  every handler takes the call
    return Response(_ABOUT, media_type="text/plain")
