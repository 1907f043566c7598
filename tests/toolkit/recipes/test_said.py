from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from bulkrate.toolkit.recipes import said as module
from bulkrate.toolkit.recipes.base import Invalid
from bulkrate.toolkit.recipes.said import Said, said
from tests.toolkit.recipes.answers import chat, completion, response

TEXT = {"type": "output_text", "text": "yes"}


@pytest.mark.parametrize(
    "body",
    [
        chat(" yes\n"),
        chat([{"type": "text", "text": "yes"}]),
        chat(
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": "no"}]},
                {"type": "text", "text": "yes"},
            ]
        ),
        chat("<think>no</think>\n\nyes"),
        chat("\n<thinking>no\n</thinking>yes"),
        chat("thinking whose start was in the prompt\n</think>\nyes"),
        chat("[THINK]no[/THINK]yes"),
        chat("yes", reasoning_content="no"),
        chat("yes", refusal=None, tool_calls=[]),
        completion("\nyes"),
        response(TEXT),
        response({"type": "output_text", "text": "y"}, {"type": "output_text", "text": "es"}),
    ],
)
def test_the_text_is_found_in_every_shape_of_answer(body: bytes) -> None:
    assert said(body) == Said(text="yes")


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (chat("ye", "length"), module.CUT_OFF),
        (completion("ye", "length"), module.CUT_OFF),
        (
            response(TEXT, status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
            module.CUT_OFF,
        ),
        (response(TEXT, status="incomplete", incomplete_details=None), module.CUT_OFF),
        (chat("", "content_filter"), module.WITHHELD),
        (response(status="incomplete", incomplete_details={"reason": "content_filter"}), module.WITHHELD),
        (chat(None, refusal="I cannot"), module.REFUSED),
        (response({"type": "refusal", "refusal": "I cannot"}), module.REFUSED),
        (chat(None, "tool_calls", tool_calls=[{"id": "1"}]), module.CALLED_A_TOOL),
        (response(output=[{"type": "function_call", "name": "f"}]), module.CALLED_A_TOOL),
        (chat(""), module.EMPTY),
        (chat(None), module.EMPTY),
        (completion(" \n"), module.EMPTY),
        (response(), module.EMPTY),
        (chat("<think>no"), module.ONLY_THOUGHT),
        (chat("", reasoning_content="no"), module.ONLY_THOUGHT),
        (chat("", "length", reasoning_content="no"), module.CUT_OFF),
        (response(TEXT, status="failed", error={"code": "server_error"}), module.NOT_AN_ANSWER),
        (b'{"choices":[]}', module.NOT_AN_ANSWER),
        (b'{"error":{"message":"x"}}', module.NOT_AN_ANSWER),
        (b"<html>", module.NOT_AN_ANSWER),
        (b"\xff\xfe", module.NOT_AN_ANSWER),
        (b"", module.NOT_AN_ANSWER),
    ],
)
def test_what_is_no_whole_answer_says_why(body: bytes, fault: str) -> None:
    found = said(body)
    assert isinstance(found, Invalid)
    assert found.fault == fault


def test_half_a_surrogate_pair_in_an_answer_is_replaced() -> None:
    assert said(rb'{"choices":[{"message":{"content":"a \ud83d b \ud83d\ude00"}}]}') == Said(
        text="a \ufffd b 😀"
    )


@pytest.mark.parametrize(
    ("body", "probability"),
    [
        (chat("yes", logprobs=[0.0, math.log(0.5)]), 0.75),
        (response({**TEXT, "logprobs": [{"logprob": math.log(0.5)}]}), 0.5),
        (completion("yes", logprobs={"token_logprobs": [None, math.log(0.5)]}), 0.5),
        (chat("yes", logprobs=[-(10**400)]), 0.0),
        (chat("yes", logprobs=[]), None),
    ],
)
def test_the_probability_is_the_mean_of_the_tokens(body: bytes, probability: Any) -> None:
    found = said(body)
    assert isinstance(found, Said)
    assert found.probability == (probability if probability is None else pytest.approx(probability))


def test_a_text_that_speaks_of_thinking_is_kept() -> None:
    text = "Write <think> first, then </think>."
    assert said(msgspec.json.encode({"choices": [{"message": {"content": text}}]})) == Said(text=text)
