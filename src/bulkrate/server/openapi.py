"""The OpenAPI document, made from the table of operations.

Nothing is described here that the table or the wire shapes already say; only the limits of fields, which the
types cannot carry, are added.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.responses import Response

from bulkrate import __version__
from bulkrate.providers.endpoints import ENDPOINTS
from bulkrate.server.operations import Call, Form, Json, Operation, Query
from bulkrate.wire.base import Ask
from bulkrate.wire.errors import ErrorBody
from bulkrate.wire.files import EXPIRES_AFTER_S_MAX, EXPIRES_AFTER_S_MIN, UPLOAD_PURPOSES
from bulkrate.wire.webhooks import EVENT_TYPES

Node = dict[str, Any]

_REF = "#/components/schemas/{name}"
_KEYED_ERRORS = (401, 500, 503)
_ERROR_WORDS = {
    400: "The request is malformed, or asks for what does not exist.",
    401: "There is no key, or not one we know.",
    404: "There is no such thing in your project.",
    409: "The thing is in a state that does not allow it.",
    413: "More bytes than the limit allows.",
    416: "The range lies outside the content.",
    422: "The request contradicts an earlier one with the same Idempotency-Key.",
    500: "The server failed.",
    503: "Not now; try again in a moment.",
}

_EVENT_TYPES = {"minItems": 1, "items": {"type": "string", "enum": list(EVENT_TYPES)}}
_ENDPOINT = {"enum": list(ENDPOINTS)}
_METADATA = {
    "type": ["object", "null"],
    "maxProperties": 16,
    "propertyNames": {"type": "string", "maxLength": 64},
    "additionalProperties": {"type": "string", "maxLength": 512},
}
#: What the types of the wire do not say, by shape and field.
_LIMITS: dict[str, dict[str, Node]] = {
    "ExpiresAfter": {"seconds": {"minimum": EXPIRES_AFTER_S_MIN, "maximum": EXPIRES_AFTER_S_MAX}},
    "CreateFile": {"purpose": {"enum": list(UPLOAD_PURPOSES)}},
    "CreateUpload": {
        "purpose": {"enum": list(UPLOAD_PURPOSES)},
        "bytes": {"minimum": 1},
    },
    "CompleteUpload": {"part_ids": {"minItems": 1}, "md5": {"pattern": "^[0-9a-fA-F]{32}$"}},
    "CreateBatch": {"metadata": _METADATA, "endpoint": _ENDPOINT},
    "CreateBatchFromFile": {"metadata": _METADATA, "endpoint": _ENDPOINT},
    "RunRequests": {
        "metadata": _METADATA,
        "endpoint": _ENDPOINT,
        "requests": {"minItems": 1, "items": {"type": "object"}},
    },
    "CreateWebhook": {
        "name": {"minLength": 1},
        "url": {"format": "uri"},
        "event_types": _EVENT_TYPES,
    },
    "UpdateWebhook": {"event_types": _EVENT_TYPES, "url": {"format": "uri"}},
    "TestWebhook": {"event_type": {"enum": list(EVENT_TYPES)}},
}


def describing(operations: Iterable[Operation], *, prefix: str) -> Operation:
    """The operation that describes all the others and itself, and so cannot stand among them."""

    async def document(_: Call) -> Response:
        return Response(body, media_type="application/json")

    described = Operation(
        method="GET", path="/openapi.json", summary="This document.", handler=document, open=True
    )
    body = msgspec.json.encode(openapi_document((*operations, described), prefix=prefix))
    return described


def openapi_document(operations: Iterable[Operation], *, prefix: str) -> Node:
    """The document of all operations, those that need a key under `prefix`."""
    operations = tuple(operations)
    schemas = _schemas(operations)
    paths: dict[str, Node] = {}
    for operation in operations:
        path = re.sub(r":path\}", "}", operation.path if operation.open else prefix + operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "bulkrate",
            "version": __version__,
            "summary": "OpenAI's Files, Uploads and Batches API, served by yourself.",
            "description": "Every address works under /openai/v1 and /openai too, as Azure's clients expect.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"api_key": []}],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "api_key": {"type": "apiKey", "in": "header", "name": "api-key"},
            },
        },
    }


@dataclass(frozen=True)
class _Schemas:
    """Every shape: how to refer to it, and what it is. Forms are written where they are used."""

    references: Mapping[Any, Node]
    components: Mapping[str, Node]
    forms: Mapping[Any, Node]


def _schemas(operations: tuple[Operation, ...]) -> _Schemas:
    shapes = {operation.answer for operation in operations if operation.answer is not None} | {ErrorBody}
    bodies = [body for operation in operations for body in operation.takes]
    asks = {body.ask for body in bodies if isinstance(body, Json)}
    fields = {body.fields for body in bodies if isinstance(body, Form) and body.fields is not None}
    ordered = sorted(shapes | asks | fields, key=str)
    references, components = msgspec.json.schema_components(ordered, ref_template=_REF)
    ask_names = {ask.__name__ for ask in Ask.__subclasses__()}
    for name, schema in components.items():
        if name not in ask_names:
            # Defaults are for us: in an answer, every key is always there.
            schema["required"] = list(schema.get("properties", {}))
        _tidy(name, schema)
    forms = {form: components.pop(form.__name__) for form in fields}
    return _Schemas(dict(zip(ordered, references, strict=True)), components, forms)


def _tidy(name: str, schema: Node) -> None:
    if "description" in schema:
        schema["description"] = inspect.cleandoc(schema["description"])
    for field, limits in _LIMITS.get(name, {}).items():
        node = schema["properties"][field]
        # An optional field is `anyOf: [what it is, null]`; the limits are for what it is.
        target = next((arm for arm in node.get("anyOf", ()) if arm.get("type") != "null"), node)
        target.update(limits)


def _operation(operation: Operation, schemas: _Schemas) -> Node:
    node: Node = {
        "operationId": operation.name,
        "tags": [operation.name.split("_", maxsplit=1)[0]],
        "summary": operation.summary,
        "parameters": [*_path_parameters(operation.path), *map(_query_parameter, operation.query)],
        "responses": {"200": _answer(operation, schemas), **_errors(operation, schemas)},
    }
    if operation.open:
        node["security"] = []
    if operation.takes:
        node["requestBody"] = {
            "required": any(isinstance(body, Form) or body.required for body in operation.takes),
            "content": dict(_body(body, schemas) for body in operation.takes),
        }
    return node


def _path_parameters(path: str) -> list[Node]:
    names = re.findall(r"\{([a-z_]+)", path)
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def _query_parameter(query: Query) -> Node:
    schema: Node = {"type": query.kind}
    for key, value in (
        ("default", query.default),
        ("minimum", query.minimum),
        ("maximum", query.maximum),
        ("enum", list(query.choices) or None),
    ):
        if value is not None:
            schema[key] = value
    if query.required:
        schema["minLength"] = 1
    return {
        "name": query.name,
        "in": "query",
        "required": query.required,
        "description": query.about,
        "schema": schema,
    }


def _body(body: Json | Form, schemas: _Schemas) -> tuple[str, Node]:
    if isinstance(body, Json):
        return "application/json", {"schema": schemas.references[body.ask]}
    fields = schemas.forms[body.fields] if body.fields is not None else {}
    part = {"type": "string", "contentMediaType": "application/octet-stream"}
    schema = {
        "type": "object",
        "properties": {body.part: part, **fields.get("properties", {})},
        "required": [body.part, *fields.get("required", ())],
    }
    return "multipart/form-data", {"schema": schema}


def _answer(operation: Operation, schemas: _Schemas) -> Node:
    if operation.answer is not None:
        schema = schemas.references[operation.answer]
    else:
        schema = {"type": "object"} if operation.media_type == "application/json" else {"type": "string"}
    node: Node = {"description": "Done.", "content": {operation.media_type: {"schema": schema}}}
    if operation.headers:
        node["headers"] = {
            name: {"description": about, "schema": {"type": "string"}}
            for name, about in operation.headers.items()
        }
    return node


def _errors(operation: Operation, schemas: _Schemas) -> dict[str, Node]:
    statuses = operation.errors if operation.open else sorted({*operation.errors, *_KEYED_ERRORS})
    content = {"application/json": {"schema": schemas.references[ErrorBody]}}
    return {str(status): {"description": _ERROR_WORDS[status], "content": content} for status in statuses}
