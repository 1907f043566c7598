"""`bulkrate.batch`: bodies in, their answers or errors in the same order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import bulkrate
from bulkrate.errors import InvalidRequest, RecipeError, SourceError


@pytest.fixture
def here(tmp_path, server) -> dict[str, Any]:
    """A state folder of the test's own, on the server that tests share."""
    return {"data": tmp_path / "state", "server": server.url, "progress": False}


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


def said(result: bulkrate.RowResult) -> str:
    return result.value["choices"][0]["message"]["content"]


def test_each_answer_stands_where_its_request_stood(here):
    bodies = [chat(f"request {number} [[sandbox:sleep_ms={(number * 37) % 200}]]") for number in range(200)]
    there = bulkrate.batch(bodies, **here)
    back = bulkrate.batch(bodies[::-1], **here)
    assert [result.row["body"] for result in there] == bodies
    assert [said(result) for result in there] == [said(result) for result in back][::-1]
    assert len({said(result) for result in there}) == 200


def test_every_request_has_an_answer_or_an_error_and_none_takes_another_with_it(here):
    refused = chat("c [[sandbox:status=400]]")
    streamed = chat("d", stream=True)
    results = bulkrate.batch([chat("a"), refused, streamed, chat("e")], **here)
    assert [result.ok for result in results] == [True, False, False, True]
    assert [result.error.code if result.error else None for result in results] == [
        None, "http_400", "streaming_unsupported", None,
    ]  # fmt: skip
    assert [result.value is None for result in results] == [False, True, True, False]
    assert [result.index for result in results.failed] == [1, 2]


def test_what_fails_for_a_passing_reason_is_tried_again_until_it_is_answered(here):
    results = bulkrate.batch([chat("a"), chat("b [[sandbox:status=503]] [[sandbox:fail_first=2]]")], **here)
    assert all(result.ok for result in results)
    assert said(results[1])


def test_a_generator_is_read_once_and_a_model_may_be_given_for_all(here):
    def bodies() -> Iterator[dict[str, Any]]:
        for text in ("one", "two"):
            yield {"messages": [{"role": "user", "content": text}]}
        yield chat("three", model="own")

    results = bulkrate.batch(bodies(), model="common", **here)
    assert [result.model for result in results] == ["common", "common", "own"]


def test_embeddings_and_responses_have_endpoints_of_their_own(here):
    (vector,) = bulkrate.batch([{"model": "m", "input": "x"}], endpoint="/v1/embeddings", **here)
    assert vector.value["data"][0]["embedding"]
    (response,) = bulkrate.batch([{"model": "m", "input": "x"}], endpoint="/v1/responses", **here)
    assert response.value["output"]


@pytest.mark.parametrize(
    ("bodies", "options", "error", "says"),
    [
        ([], {}, SourceError, "no rows"),
        ([{"messages": []}], {}, SourceError, r"request 0 names no \"model\".*model=…"),
        ([chat("a"), chat("b", tools={1, 2, object})], {}, SourceError, "request 1 cannot be said in JSON"),
        ([chat("a"), None], {}, SourceError, "request 1 is a NoneType"),
        (chat("a"), {}, SourceError, "request 0 is a str"),
        ([chat("a")], {"endpiont": "/v1/responses"}, RecipeError, "did you mean 'endpoint'"),
        ([chat("a")], {"retires": 3}, RecipeError, "did you mean 'retries'"),
        ([chat("a")], {"endpoint": "/v1/nothing"}, InvalidRequest, "/v1/nothing"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_meant_raises(here, bodies, options, error, says):
    with pytest.raises(error, match=says):
        bulkrate.batch(bodies, **here, **options)


def test_an_error_of_the_programs_own_generator_reaches_it(here):
    def bodies() -> Iterator[dict[str, Any]]:
        yield chat("a")
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        bulkrate.batch(bodies(), **here)


def test_several_are_awaited_side_by_side(here):
    async def both() -> list[bulkrate.Results]:
        async def of(text: str) -> bulkrate.Results:
            return await bulkrate.submit([chat(f"{text} {number}") for number in range(3)], **here)

        return await asyncio.gather(of("left"), of("right"))

    left, right = asyncio.run(both())
    assert [result.row["body"]["messages"][0]["content"] for result in left] == ["left 0", "left 1", "left 2"]
    assert all(result.ok for result in [*left, *right])
