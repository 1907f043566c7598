"""The table of operations: the routes and the document made from it agree, and both are sound."""

import asyncio
import json
import re

import pytest

from bulkrate.server.app import PREFIXES, create_app
from bulkrate.server.openapi import openapi_document
from bulkrate.server.table import OPERATIONS

# These requests are answered before the engine would be reached.
APP = create_app(None)


def ask(method, path):
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b""}

    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": []}
    asyncio.run(APP(scope, receive, send))
    return (
        sent[0]["status"],
        dict(sent[0]["headers"]),
        b"".join(message.get("body", b"") for message in sent[1:]),
    )


def document():
    status, _, body = ask("GET", "/openapi.json")
    assert status == 200
    return json.loads(body)


def test_every_operation_is_documented_once():
    ids = [operation["operationId"] for path in document()["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids)) == len(OPERATIONS) + 1


def test_every_documented_address_exists_under_every_prefix():
    for path, methods in document()["paths"].items():
        aliases = (
            [path.replace("/v1", prefix, 1) for prefix in PREFIXES] if path.startswith("/v1") else [path]
        )
        for alias in aliases:
            status, headers, body = ask("PATCH", re.sub(r"\{.*?\}", "x", alias))
            assert status == 405, alias
            allowed = {method.strip().lower() for method in headers[b"allow"].decode().split(",")}
            assert set(methods) <= allowed
            assert ("head" in allowed) == ("get" in allowed)
            assert json.loads(body)["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "path", ["/v2/files", "/v1", "/v1/files/", "/v1/files/a/b", "/v1/batch", "//v1/files"]
)
def test_an_unknown_address_is_a_404_in_openais_words(path):
    status, _, body = ask("GET", path)
    assert status == 404
    error = json.loads(body)["error"]
    assert error["message"].startswith(f"Invalid URL (GET {path})")
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, None)


def test_every_reference_leads_somewhere():
    text = json.dumps(document())
    names = set(document()["components"]["schemas"])
    assert set(re.findall(r"#/components/schemas/([^\"]+)", text)) == names


def test_answers_promise_every_key_and_asks_only_the_required():
    schemas = document()["components"]["schemas"]
    assert set(schemas["Batch"]["required"]) == set(schemas["Batch"]["properties"])
    assert schemas["CreateBatch"]["required"] == ["input_file_id", "endpoint", "completion_window"]
    assert schemas["CreateBatch"]["additionalProperties"] is False


def test_the_file_and_its_fields_stand_in_one_form():
    content = document()["paths"]["/v1/files"]["post"]["requestBody"]["content"]
    assert set(content["multipart/form-data"]["schema"]["properties"]) == {"file", "purpose", "expires_after"}


def test_making_the_document_twice_gives_the_same():
    assert openapi_document(OPERATIONS, prefix="/v1") == openapi_document(OPERATIONS, prefix="/v1")


def test_the_root_says_what_this_is_and_needs_no_key():
    status, _, body = ask("GET", "/")
    assert status == 200
    assert b"/openapi.json" in body
