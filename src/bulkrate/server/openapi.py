"""The OpenAPI document, made from the table of operations.

Nothing is described here that the table or the wire shapes already say; only the limits of fields, which the types
cannot carry, are added.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from bulkrate import __version__
from bulkrate.server.operations import Form, Json, Operation, Query
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
        "filename": {"minLength": 1},
        "bytes": {"minimum": 1},
    },
    "CompleteUpload": {"part_ids": {"minItems": 1}, "md5": {"pattern": "^[0-9a-fA-F]{32}$"}},
    "CreateBatch": {"metadata": _METADATA},
    "CreateBatchFromFile": {"metadata": _METADATA},
    "RunRequests": {"metadata": _METADATA, "requests": {"minItems": 1, "items": {"type": "object"}}},
    "CreateWebhook": {
        "name": {"minLength": 1},
        "url": {"format": "uri"},
        "event_types": _EVENT_TYPES,
    },
    "UpdateWebhook": {"event_types": _EVENT_TYPES, "url": {"format": "uri"}},
    "TestWebhook": {"event_type": {"enum": list(EVENT_TYPES)}},
}


def openapi_document(operations: Iterable[Operation], *, prefix: str) -> Node:
    """The document of all operations, those that need a key under `prefix`."""
    operations = tuple(operations)
    references, components = _schemas(operations)
    paths: dict[str, Node] = {}
    for operation in operations:
        path = re.sub(r":path\}", "}", operation.path if operation.open else prefix + operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation, references)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "bulkrate",
            "version": __version__,
            "summary": "OpenAI's Files, Uploads and Batches API, served by yourself.",
            "description": "Every address also works under /openai/v1 and /openai, as Azure's clients expect it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"api_key": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "api_key": {"type": "apiKey", "in": "header", "name": "api-key"},
            },
        },
    }


def _schemas(operations: tuple[Operation, ...]) -> tuple[dict[Any, Node], dict[str, Node]]:
    shapes = {operation.answer for operation in operations if operation.answer is not None} | {ErrorBody}
    asks: set[Any] = set()
    for operation in operations:
        for body in operation.takes:
            asks |= {body.ask} if isinstance(body, Json) else {body.fields} - {None}
    ordered = sorted(shapes | asks, key=str)
    references, components = msgspec.json.schema_components(ordered, ref_template=_REF)
    ask_names = _ask_names()
    for name, schema in components.items():
        if name not in ask_names:
            # Defaults are for us: in an answer, every key is always there.
            schema["required"] = list(schema.get("properties", {}))
        _tidy(name, schema)
    return dict(zip(ordered, references, strict=True)), components


def _ask_names() -> set[str]:
    return {ask.__name__ for ask in Ask.__subclasses__()}


def _tidy(name: str, schema: Node) -> None:
    if "description" in schema:
        schema["description"] = inspect.cleandoc(schema["description"])
    for field, limits in _LIMITS.get(name, {}).items():
        node = schema["properties"][field]
        # An optional field is `anyOf: [what it is, null]`; the limits are for what it is.
        target = next((arm for arm in node.get("anyOf", ()) if arm.get("type") != "null"), node)
        target.update(limits)


def _operation(operation: Operation, references: dict[Any, Node]) -> Node:
    node: Node = {
        "operationId": operation.name,
        "tags": [operation.name.split("_", maxsplit=1)[0]],
        "summary": operation.summary,
        "parameters": [*_path_parameters(operation.path), *map(_query_parameter, operation.query)],
        "responses": {"200": _answer(operation, references), **_errors(operation, references)},
    }
    if operation.open:
        node["security"] = []
    if operation.takes:
        node["requestBody"] = {
            "required": any(isinstance(body, Form) or body.required for body in operation.takes),
            "content": dict(_body(body, references) for body in operation.takes),
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


def _body(body: Json | Form, references: dict[Any, Node]) -> tuple[str, Node]:
    if isinstance(body, Json):
        return "application/json", {"schema": references[body.ask]}
    part = {"type": "string", "contentMediaType": "application/octet-stream"}
    schema: Node = {"type": "object", "properties": {body.part: part}, "required": [body.part]}
    if body.fields is not None:
        # Closed on its own, the shape of the fields would forbid the file; so they are spread out.
        schema = {"allOf": [schema, references[body.fields]]}
    return "multipart/form-data", {"schema": schema}


def _answer(operation: Operation, references: dict[Any, Node]) -> Node:
    if operation.answer is not None:
        schema = references[operation.answer]
    else:
        schema = {"type": "object"} if operation.media_type == "application/json" else {"type": "string"}
    node: Node = {"description": "Done.", "content": {operation.media_type: {"schema": schema}}}
    if operation.headers:
        node["headers"] = {
            name: {"description": about, "schema": {"type": "string"}}
            for name, about in operation.headers.items()
        }
    return node


def _errors(operation: Operation, references: dict[Any, Node]) -> dict[str, Node]:
    statuses = operation.errors if operation.open else sorted({*operation.errors, *_KEYED_ERRORS})
    content = {"application/json": {"schema": references[ErrorBody]}}
    return {str(status): {"description": _ERROR_WORDS[status], "content": content} for status in statuses}
