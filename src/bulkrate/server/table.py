"""Every operation, once.

The routes, their checks and the OpenAPI document are all made from this table, so they cannot differ.
"""

from __future__ import annotations

from bulkrate.server import batches, files, health, metrics, models, news, uploads, webhooks
from bulkrate.server.operations import Form, Json, Operation, Query
from bulkrate.wire.base import Page
from bulkrate.wire.batches import Batch, CreateBatch, LinePair, RunAnswers, RunRequests
from bulkrate.wire.files import CompleteUpload, CreateUpload, File, FileDeleted, Upload, UploadPart
from bulkrate.wire.models import Model, ModelList
from bulkrate.wire.webhooks import (
    CreateWebhook,
    Delivery,
    EventTypeList,
    RotateSecret,
    TestWebhook,
    UpdateWebhook,
    WebhookDeleted,
    WebhookEndpoint,
    WebhookEndpointWithSecret,
    WebhookTestResult,
)

RUN_BYTES_MAX = 32 * 1024 * 1024


def _limit(default: int, maximum: int) -> Query:
    return Query(
        name="limit", kind="integer", default=default, minimum=1, maximum=maximum, about="How many to list."
    )


_AFTER = Query(name="after", about="List what follows this id: the last one of the page before.")
_ORDER = Query(name="order", choices=("asc", "desc"), default="desc", about="By time of creation.")
_INPUT_ORDER = Query(name="order", choices=("input",), about="`input`: in the order of the input file.")
_PURPOSE = Query(name="purpose", about="List only files with this purpose.")
_OFFSET = Query(
    name="offset",
    kind="integer",
    default=0,
    minimum=0,
    about="Answer from this byte on; take it from `x-next-offset`.",
)
_CUSTOM_ID = Query(name="custom_id", required=True, about="The line's own `custom_id`.")

_GROWING = {
    "x-next-offset": "The offset after the last byte of this answer.",
    "x-complete": "`true` when nothing follows `x-next-offset`, now or later.",
}
_BYTES = "application/octet-stream"

FILES = (
    Operation(
        method="POST",
        path="/files",
        summary="Upload a file.",
        handler=files.create,
        answer=File,
        takes=(Form(part="file", fields=files.CreateFile),),
        errors=(400, 413),
    ),
    Operation(
        method="GET",
        path="/files",
        summary="List files.",
        handler=files.listing,
        answer=Page[File],
        query=(_PURPOSE, _limit(10_000, 10_000), _ORDER, _AFTER),
        errors=(400, 404),
    ),
    Operation(
        method="GET",
        path="/files/{file_id}",
        summary="Describe a file.",
        handler=files.get,
        answer=File,
        errors=(404,),
    ),
    Operation(
        method="DELETE",
        path="/files/{file_id}",
        summary="Delete a file.",
        handler=files.delete,
        answer=FileDeleted,
        errors=(404, 409),
    ),
    Operation(
        method="GET",
        path="/files/{file_id}/content",
        summary="Read a file; `Range` works.",
        handler=files.content,
        media_type=_BYTES,
        query=(_INPUT_ORDER,),
        errors=(400, 404, 416),
    ),
)

UPLOADS = (
    Operation(
        method="POST",
        path="/uploads",
        summary="Begin a file that is sent in parts.",
        handler=uploads.create,
        answer=Upload,
        takes=(Json(ask=CreateUpload),),
        errors=(400, 413),
    ),
    Operation(
        method="POST",
        path="/uploads/{upload_id}/parts",
        summary="Send a part; several may be sent at once.",
        handler=uploads.add_part,
        answer=UploadPart,
        takes=(Form(part="data"),),
        errors=(400, 404, 409, 413),
    ),
    Operation(
        method="POST",
        path="/uploads/{upload_id}/complete",
        summary="Join the parts to a file.",
        handler=uploads.complete,
        answer=Upload,
        takes=(Json(ask=CompleteUpload),),
        errors=(400, 404, 409, 413),
    ),
    Operation(
        method="POST",
        path="/uploads/{upload_id}/cancel",
        summary="Give an upload up.",
        handler=uploads.cancel,
        answer=Upload,
        errors=(400, 404, 409),
    ),
)

BATCHES = (
    Operation(
        method="POST",
        path="/batches",
        summary="Begin a batch, over an uploaded file or, as a form, with the file in the same request.",
        handler=batches.create,
        answer=Batch,
        takes=(Json(ask=CreateBatch), Form(part="file", fields=batches.CreateBatchFromFile)),
        errors=(400, 404, 409, 413, 422),
    ),
    Operation(
        method="GET",
        path="/batches",
        summary="List batches, newest first.",
        handler=batches.listing,
        answer=Page[Batch],
        query=(_limit(20, 100), _AFTER),
        errors=(400, 404),
    ),
    Operation(
        method="POST",
        path="/batches/run",
        summary="Run a small batch and wait for the answers; hanging up cancels it.",
        handler=batches.run,
        answer=RunAnswers,
        takes=(Json(ask=RunRequests, bytes_max=RUN_BYTES_MAX),),
        errors=(400, 409, 413),
    ),
    Operation(
        method="GET",
        path="/batches/{batch_id}",
        summary="Describe a batch.",
        handler=batches.get,
        answer=Batch,
        errors=(404,),
    ),
    Operation(
        method="POST",
        path="/batches/{batch_id}/cancel",
        summary="Cancel a batch; what is done is kept.",
        handler=batches.cancel,
        answer=Batch,
        errors=(404, 409),
    ),
    Operation(
        method="POST",
        path="/batches/{batch_id}/retry",
        summary="Begin a new batch over the lines of this one that have no answer.",
        handler=batches.retry,
        answer=Batch,
        errors=(400, 404, 409, 422),
    ),
    Operation(
        method="GET",
        path="/batches/{batch_id}/output",
        summary="Read the answers so far, also while the batch runs.",
        handler=batches.output,
        media_type=_BYTES,
        query=(_OFFSET, _INPUT_ORDER),
        errors=(400, 404, 409, 416),
        headers=_GROWING,
    ),
    Operation(
        method="GET",
        path="/batches/{batch_id}/errors",
        summary="Read the errors so far, also while the batch runs.",
        handler=batches.errors,
        media_type=_BYTES,
        query=(_OFFSET, _INPUT_ORDER),
        errors=(400, 404, 409, 416),
        headers=_GROWING,
    ),
    Operation(
        method="GET",
        path="/batches/{batch_id}/lines",
        summary="One line of the input, with its answer or error if there is one.",
        handler=batches.line,
        answer=LinePair,
        query=(_CUSTOM_ID,),
        errors=(400, 404, 409),
    ),
)

MODELS = (
    Operation(
        method="GET",
        path="/models",
        summary="List the models that the upstreams serve.",
        handler=models.listing,
        answer=ModelList,
    ),
    Operation(
        method="GET",
        path="/models/{model:path}",
        summary="Describe a model; its name may contain slashes.",
        handler=models.get,
        answer=Model,
        errors=(404,),
    ),
)

WEBHOOKS = (
    Operation(
        method="POST",
        path="/webhook_endpoints",
        summary="Register a receiver of events.",
        handler=webhooks.create,
        answer=WebhookEndpointWithSecret,
        takes=(Json(ask=CreateWebhook),),
        errors=(400, 413),
    ),
    Operation(
        method="GET",
        path="/webhook_endpoints",
        summary="List receivers.",
        handler=webhooks.listing,
        answer=Page[WebhookEndpoint],
        query=(_limit(20, 100), _AFTER, _ORDER),
        errors=(400,),
    ),
    Operation(
        method="GET",
        path="/webhook_endpoints/{webhook_endpoint_id}",
        summary="Describe a receiver.",
        handler=webhooks.get,
        answer=WebhookEndpoint,
        errors=(404,),
    ),
    Operation(
        method="POST",
        path="/webhook_endpoints/{webhook_endpoint_id}",
        summary="Change a receiver; what is left out stays.",
        handler=webhooks.update,
        answer=WebhookEndpoint,
        takes=(Json(ask=UpdateWebhook),),
        errors=(400, 404, 413),
    ),
    Operation(
        method="DELETE",
        path="/webhook_endpoints/{webhook_endpoint_id}",
        summary="Delete a receiver.",
        handler=webhooks.delete,
        answer=WebhookDeleted,
        errors=(404,),
    ),
    Operation(
        method="POST",
        path="/webhook_endpoints/{webhook_endpoint_id}/rotate_secret",
        summary="Make a new signing secret.",
        handler=webhooks.rotate_secret,
        answer=WebhookEndpointWithSecret,
        takes=(Json(ask=RotateSecret, required=False),),
        errors=(400, 404, 413),
    ),
    Operation(
        method="POST",
        path="/webhook_endpoints/{webhook_endpoint_id}/test",
        summary="Send the receiver an event now.",
        handler=webhooks.test,
        answer=WebhookTestResult,
        takes=(Json(ask=TestWebhook),),
        errors=(400, 404, 413),
    ),
    Operation(
        method="GET",
        path="/webhook_endpoints/{webhook_endpoint_id}/deliveries",
        summary="List what was sent to a receiver, and what came back.",
        handler=webhooks.deliveries,
        answer=Page[Delivery],
        query=(_limit(20, 100), _AFTER),
        errors=(400, 404),
    ),
    Operation(
        method="GET",
        path="/webhook_event_types",
        summary="List the types of events.",
        handler=webhooks.event_types,
        answer=EventTypeList,
    ),
)

OPEN = (
    Operation(
        method="POST",
        path="/upstreams/{upstream}/webhook",
        summary="Where a provider of batches says that something has changed, signed with `webhook_secret`.",
        handler=news.take,
        media_type="text/plain",
        errors=(400, 401, 404, 413),
        open=True,
    ),
    Operation(
        method="GET",
        path="/health",
        summary="Whether the server works; 200 as long as it answers at all.",
        handler=health.health,
        open=True,
    ),
    Operation(
        method="GET",
        path="/metrics",
        summary="Numbers for Prometheus, OpenMetrics or, asked for as `application/json`, for programs.",
        handler=metrics.metrics,
        media_type="text/plain",
        errors=(401,),
        open=True,
    ),
    Operation(
        method="GET",
        path="/",
        summary="What this is.",
        handler=health.about,
        media_type="text/plain",
        open=True,
    ),
)

OPERATIONS: tuple[Operation, ...] = (*BATCHES, *FILES, *UPLOADS, *MODELS, *WEBHOOKS, *OPEN)
