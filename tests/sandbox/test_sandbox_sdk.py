"""The official SDK finds a server it knows."""

import math
from collections.abc import Iterator
from datetime import date
from typing import Literal

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def client(sandbox) -> Iterator[OpenAI]:
    with OpenAI(base_url=sandbox.url, api_key="any", max_retries=0, timeout=30) as one:
        yield one


def asked(text: str):
    return [{"role": "user", "content": text}]


def test_a_chat_says_it_is_a_sandbox_and_counts_its_tokens(client):
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=asked("Write about the sea."))
    assert answer.choices[0].message.content.startswith("sandbox: ")
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.model, answer.system_fingerprint) == ("gpt-4o-mini", "bulkrate-sandbox")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.prompt_tokens == 3 + 4 + 5
    assert answer.usage.prompt_tokens_details.cached_tokens == 0
    assert answer.usage.completion_tokens_details.reasoning_tokens == 0


def test_a_chat_asked_to_classify_answers_with_the_label_alone(client):
    task = "Classify the review as positive, negative or neutral."
    for review, label in (("I love it", "positive"), ("It broke", "negative"), ("A chair", "neutral")):
        messages = [{"role": "system", "content": task}, *asked(review)]
        answer = client.chat.completions.create(model="sandbox", messages=messages)
        assert answer.choices[0].message.content == label


def test_a_chat_reads_text_parts(client):
    parts = [{"type": "text", "text": "Answer yes or no: is it day?"}]
    answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": parts}])
    assert answer.choices[0].message.content in {"yes", "no"}


def test_a_chat_gives_as_many_choices_as_asked(client):
    answer = client.chat.completions.create(model="m", messages=asked("hi"), n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]


def test_a_chat_stops_at_its_limit(client):
    for limit in ({"max_tokens": 2}, {"max_completion_tokens": 2}):
        answer = client.chat.completions.create(model="m", messages=asked("hi"), **limit)
        assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 2)
        assert answer.choices[0].message.content == "sandbox:"


class Part(BaseModel):
    name: str
    price: float


class Review(BaseModel):
    sentiment: Literal["positive", "negative"]
    stars: int
    written: date
    verified: bool
    summary: str | None
    parts: list[Part]


def test_a_chat_fits_the_json_schema_it_is_given(client):
    answer = client.chat.completions.parse(
        model="m", messages=asked("What a great lamp"), response_format=Review
    )
    review = answer.choices[0].message.parsed
    assert review.sentiment == "positive"
    assert len(review.parts) == 2
    assert "sandbox" in review.summary


def test_a_response_fits_the_json_schema_it_is_given(client):
    answer = client.responses.parse(model="m", input="What a terrible lamp", text_format=Review)
    assert answer.output_parsed.sentiment == "negative"


def test_a_response_says_it_is_a_sandbox_and_counts_its_tokens(client):
    answer = client.responses.create(model="gpt-4o", input="Write about the sea.", instructions="Be kind.")
    assert answer.output_text.startswith("sandbox: ")
    assert answer.status == "completed"
    assert answer.usage.input_tokens == 5 + 2
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert answer.usage.input_tokens_details.cached_tokens == 0
    assert answer.usage.output_tokens_details.reasoning_tokens == 0


def test_a_response_cut_short_is_incomplete(client):
    answer = client.responses.create(model="m", input=asked("hi"), max_output_tokens=2)
    assert answer.status == "incomplete"
    assert answer.incomplete_details.reason == "max_output_tokens"


def test_completions_answer_every_prompt(client):
    answer = client.completions.create(model="m", prompt=["one", "two"], n=2, max_tokens=64)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.choices[0].text.startswith("sandbox: ")
    assert '"two"' in answer.choices[3].text
    assert answer.usage.prompt_tokens == 2


def test_embeddings_are_unit_vectors_of_the_size_asked(client):
    for wanted, size in (({}, 8), ({"dimensions": 256}, 256)):
        answer = client.embeddings.create(model="m", input=["a", "b"], **wanted)
        assert [len(one.embedding) for one in answer.data] == [size, size]
        assert math.isclose(math.hypot(*answer.data[0].embedding), 1, rel_tol=1e-5)
        assert answer.usage.total_tokens == answer.usage.prompt_tokens == 2


def test_embeddings_in_base64_are_the_same_vectors(client):
    # The SDK asks for base64 by itself and decodes it, unless told to ask for floats.
    packed = client.embeddings.create(model="m", input="a")
    plain = client.embeddings.create(model="m", input="a", encoding_format="float")
    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding, rel=1e-6)


def test_an_input_has_the_same_vector_wherever_it_stands(client):
    alone = client.embeddings.create(model="m", input="a").data[0].embedding
    among = client.embeddings.create(model="m", input=["z", "a"]).data[1].embedding
    other = client.embeddings.create(model="other", input="a").data[0].embedding
    assert alone == among != other


def test_embeddings_take_tokens(client):
    one = client.embeddings.create(model="m", input=[1, 2, 3])
    many = client.embeddings.create(model="m", input=[[1, 2, 3], [4]])
    assert (len(one.data), one.usage.prompt_tokens) == (1, 3)
    assert (len(many.data), many.usage.prompt_tokens) == (2, 4)
    assert one.data[0].embedding == many.data[0].embedding


def test_moderations_flag_plain_words(client):
    answer = client.moderations.create(input=["a nice day", "I will kill you"])
    assert [result.flagged for result in answer.results] == [False, True]
    assert answer.results[1].categories.violence
    assert answer.results[1].category_scores.violence > 0.9


def test_images_are_pictures_with_a_count_of_tokens(client):
    answer = client.images.generate(model="gpt-image-1", prompt="a cat", n=2, quality="high")
    assert all(image.b64_json.startswith("iVBORw0KGgo") for image in answer.data)
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (2, 8320)
    assert answer.usage.input_tokens_details.text_tokens == 2


def test_models_are_listed_and_any_name_is_served(client):
    assert {"sandbox", "gpt-4o-mini", "*"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("org/anything").id == "org/anything"


def test_a_stream_is_refused(client):
    with pytest.raises(openai.BadRequestError, match="sandbox does not stream") as caught:
        client.chat.completions.create(model="m", messages=asked("hi"), stream=True)
    assert caught.value.param == "stream"


def test_the_sdk_retries_its_way_through_failures(sandbox):
    with OpenAI(base_url=sandbox.url, api_key="any", max_retries=2) as patient:
        text = "[[sandbox:fail_first=1,status=429,retry_after=0]] through the SDK"
        answer = patient.chat.completions.create(model="m", messages=asked(text))
    assert answer.system_fingerprint == "bulkrate-sandbox"
