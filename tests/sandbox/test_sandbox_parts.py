"""The parts that need no server: options, directives, faults, limits, labels, schemas, texts and dice."""

import asyncio
import statistics

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.sandbox import SandboxOptions
from bulkrate.sandbox.answers import ENDPOINTS, answer
from bulkrate.sandbox.dice import Dice
from bulkrate.sandbox.directives import Directives, Failure, directives_in, read_directives
from bulkrate.sandbox.faults import FailedSoFar, Mishaps, dressed, failed
from bulkrate.sandbox.labels import choose, labels_in
from bulkrate.sandbox.limits import Gate, Latency, RateLimit
from bulkrate.sandbox.refusals import RefusalError
from bulkrate.sandbox.request import read_request
from bulkrate.sandbox.schemas import SchemaFitter
from bulkrate.sandbox.texts import last_text, prompt_tokens

DICE = Dice.of(0, b"test")


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 70000},
        {"error_rate": 1.5},
        {"latency_ms": -1},
        {"capacity": -1},
        {"queue": -1},
        {"idle_ms": -1},
        {"restart_s": -1},
        {"key": ""},
    ],
)
def test_options_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=f"sandbox: {next(iter(wrong))} is "):
        SandboxOptions(**wrong)


def test_options_are_frozen():
    with pytest.raises(AttributeError):
        SandboxOptions().port = 1


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("nothing", Directives()),
        ("[[sandbox:status=503]]", Directives(failure=Failure.STATUS, status=503)),
        ("[[sandbox:html=502]]", Directives(failure=Failure.HTML, status=502)),
        ("[[sandbox:fail_first=2]]", Directives(failure=Failure.STATUS, fail_first=2)),
        ("[[sandbox:fail_first=2,drop]]", Directives(failure=Failure.DROP, fail_first=2)),
        ("[[sandbox:slow=70]]", Directives(failure=Failure.SLOW, slow_ms=70)),
        ("[[sandbox:sleep_ms=9,crash]]", Directives(failure=Failure.CRASH, sleep_ms=9)),
        ("[[sandbox:reset]]", Directives(failure=Failure.RESET)),
        ("[[sandbox:close]]", Directives(close=True)),
        (
            "a [[sandbox:pretty]] b [[sandbox:sleep_ms=5, bytes=9]]",
            Directives(pretty=True, sleep_ms=5, size=9),
        ),
    ],
)
def test_directives_are_read(text, asked):
    assert read_directives(text) == asked


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[[sandbox:explode]]", "unknown; known are: .*sleep_ms=N.*truncate"),
        ("[[sandbox:]]", "unknown"),
        ("[[sandbox:drop=1]]", "unknown"),
        ("[[sandbox:status=200]]", "from 400 to 599"),
        ("[[sandbox:status]]", "whole number"),
        ("[[sandbox:bytes=1e6]]", "whole number"),
        ("[[sandbox:drop,garbage]]", "drop and garbage at once"),
        ("[[sandbox:fail_first=1,crash]]", "fail_first and crash"),
    ],
)
def test_directives_not_understood_are_refused(text, complaint):
    with pytest.raises(RefusalError, match=complaint) as caught:
        read_directives(text)
    assert caught.value.status == 400


def test_only_the_last_user_text_directs():
    messages = [
        {"role": "user", "content": "[[sandbox:drop]]"},
        {"role": "assistant", "content": "[[sandbox:drop]]"},
        {"role": "user", "content": "now [[sandbox:pretty]]"},
    ]
    request = read_request("/", msgspec.json.encode({"messages": messages}))
    assert directives_in(request, "messages") == Directives(pretty=True)


def test_fail_first_counts_every_body_apart():
    so_far = FailedSoFar()
    asked = Directives(failure=Failure.STATUS, fail_first=1)
    assert [so_far.fails(asked, body) for body in (b"a", b"b", b"a", b"b")] == [True, True, False, False]
    assert not so_far.fails(Directives(), b"a")


def test_a_dropped_call_has_no_reply():
    assert failed(Directives(failure=Failure.DROP), b"{}") is None


@given(st.integers(min_value=1, max_value=5000))
def test_a_padded_answer_is_json_of_the_size_asked(size):
    plain = b'{"id":"x"}'
    padded = dressed(Directives(size=size), plain).body
    assert len(padded) == max(size, len(plain) + len(b',"sandbox_padding":""'))
    assert msgspec.json.decode(padded)["id"] == "x"


def test_mishaps_come_as_often_as_asked():
    def falls(call):
        try:
            Mishaps(3, 0.25).check(call)
        except RefusalError:
            return True
        return False

    assert 0.2 < statistics.mean(falls(call) for call in range(2000)) < 0.3
    Mishaps(3, 0.0).check(1)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def taken(limit: RateLimit) -> bool:
    try:
        limit.take()
    except RefusalError:
        return False
    return True


def test_a_rate_limit_lets_one_second_burst_and_then_refills():
    clock = Clock()
    limit = RateLimit(2, clock)
    assert [taken(limit) for _ in range(3)] == [True, True, False]
    clock.now = 0.5
    assert [taken(limit) for _ in range(2)] == [True, False]
    clock.now = 60
    assert [taken(limit) for _ in range(3)] == [True, True, False]


def test_a_rate_limit_says_when_to_come_back():
    limit = RateLimit(2, Clock())
    limit.take()
    limit.take()
    with pytest.raises(RefusalError) as caught:
        limit.take()
    assert caught.value.status == 429
    assert dict(caught.value.headers) == {b"retry-after": b"1", b"retry-after-ms": b"500"}
    assert dict(limit.headers())[b"x-ratelimit-reset-requests"] == b"1000ms"


def test_no_rate_limit_has_no_headers():
    limit = RateLimit(0, Clock())
    assert all(taken(limit) for _ in range(100))
    assert limit.headers() == ()


def test_a_full_queue_refuses_with_503():
    async def crowd() -> list[object]:
        gate, leave = Gate(capacity=2, queue=1), asyncio.Event()

        async def call() -> str:
            async with gate:
                await leave.wait()
            return "worked"

        calls = [asyncio.create_task(call()) for _ in range(5)]
        await asyncio.sleep(0)  # every call has run until it works, waits or is refused
        assert (gate.working, gate.waiting) == (2, 1)
        leave.set()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert (gate.working, gate.waiting) == (0, 0)
        return ended

    *worked, first, second = asyncio.run(crowd())
    assert worked == ["worked"] * 3
    for refusal in (first, second):
        assert isinstance(refusal, RefusalError)
        assert (refusal.status, dict(refusal.headers)) == (503, {b"retry-after": b"1"})


def test_waiting_calls_are_served_in_order():
    async def crowd() -> list[int]:
        gate, served = Gate(capacity=1, queue=None), []

        async def call(number: int) -> None:
            async with gate:
                await asyncio.sleep(0)
                served.append(number)

        await asyncio.gather(*map(call, range(10)))
        return served

    assert asyncio.run(crowd()) == list(range(10))


def test_latency_spreads_around_its_mean():
    assert Latency(0, 200, 0).seconds(b"any") == 0.2
    spread = Latency(0, 200, 0.5)
    drawn = [spread.seconds(b"%d" % number) for number in range(4000)]
    assert 0.19 < statistics.mean(drawn) < 0.21
    assert min(drawn) < 0.1 < 0.4 < max(drawn)
    assert drawn[0] == spread.seconds(b"0")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("Classify as positive, negative or neutral", ["positive", "negative", "neutral"]),
        ("Hi, please classify as 'spam', or 'ham'.", ["spam", "ham"]),
        ("Answer yes or no", ["yes", "no"]),
        ("Reply with one of these labels: a-b, c, d", ["a-b", "c", "d"]),
        ("Categories: news, sport, art. Pick.", ["news", "sport", "art"]),
        ("Tea or coffee is nice", []),
        ("Write a poem", []),
    ],
)
def test_labels_are_found_where_a_task_offers_them(text, labels):
    assert labels_in(text) == labels


def test_a_label_follows_the_mood_of_the_text():
    labels = ["Positive", "Negative", "Neutral"]
    assert choose(labels, "What a great day", DICE) == "Positive"
    assert choose(labels, "The worst day", DICE) == "Negative"
    assert choose(labels, "A day", DICE) == "Neutral"
    assert choose(["a", "b"], "great", DICE) in {"a", "b"}


@given(st.text(alphabet="ab, or:\n'\"", max_size=300).map("one of label: {} or x".format))
def test_any_text_is_searched_for_labels_without_trouble(text):
    assert all("," not in label for label in labels_in(text))


SCHEMAS = [
    ({"type": "integer", "minimum": 3, "maximum": 4}, lambda made: made in {3, 4}),
    ({"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5}, lambda made: made == 4),
    ({"type": "integer", "maximum": -5}, lambda made: made <= -5),
    ({"type": "number", "minimum": 0, "maximum": 1}, lambda made: 0 < made < 1),
    ({"type": "string", "maxLength": 5}, lambda made: len(made) == 5),
    ({"type": "string", "minLength": 80}, lambda made: len(made) == 80),
    ({"type": "string", "format": "date"}, lambda made: made == "2026-01-01"),
    ({"type": "boolean"}, lambda made: made in {True, False}),
    ({"type": ["null", "string"]}, lambda made: made.startswith("sandbox: ")),
    ({"enum": [1, "a", None]}, lambda made: made in {1, "a", None}),
    ({"const": 7}, lambda made: made == 7),
    ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, lambda made: isinstance(made, int)),
    ({"type": "array", "items": {"type": "null"}}, lambda made: made == [None, None]),
    ({"type": "array", "minItems": 3, "items": {"type": "null"}}, lambda made: made == [None] * 3),
    ({"type": "array", "maxItems": 1, "items": {"type": "null"}}, lambda made: made == [None]),
    ({"properties": {"a": {"const": 1}}}, lambda made: made == {"a": 1}),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"const": 1}}}, lambda made: made == 1),
    ({"$ref": "#/$defs/gone"}, lambda made: made is None),
    ({}, lambda made: isinstance(made, str)),
]


@pytest.mark.parametrize(("schema", "fits"), SCHEMAS)
def test_json_fits_its_schema(schema, fits):
    assert fits(SchemaFitter(schema, "", DICE).value())


def test_a_schema_that_refers_to_itself_ends():
    node = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    assert "next" in SchemaFitter(node, "", DICE).value()


@pytest.mark.parametrize(
    ("asked", "text", "tokens"),
    [
        ("abcd", "abcd", 1),
        (["a", "b"], "b", 2),
        ([1, 2, 3], "", 3),
        ([[1, 2], [3]], "", 3),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": None}], "a", 9),
        ([{"role": "user", "content": [{"type": "text", "text": "abcde"}]}], "abcde", 6),
        ([{"type": "input_text", "text": "x"}], "x", 1),
        ([{"role": "system", "content": "x"}], "", 5),
        (None, "", 0),
    ],
)
def test_texts_and_tokens_are_found_in_every_shape(asked, text, tokens):
    assert (last_text(asked), prompt_tokens(asked)) == (text, tokens)


def test_dice_repeat_themselves_and_nobody_else():
    assert Dice.of(1, b"a").number("x") == Dice.of(1, b"a").number("x")
    different = [Dice.of(2, b"a"), Dice.of(1, b"b"), Dice.of(1, b"a", b"")]
    assert all(dice.number("x") != Dice.of(1, b"a").number("x") for dice in different)
    assert Dice.of(1, b"a").number("x") != Dice.of(1, b"a").number("y")
    assert 0 <= DICE.share("x") < 1


def test_an_answer_is_the_same_in_every_process():
    """Written down once: a change of this text changes everybody's recorded rehearsals."""
    request = read_request("/v1/chat/completions", b'{"messages":[{"role":"user","content":"hi"}]}')
    made = msgspec.json.decode(answer(ENDPOINTS[request.path], request, "m", seed=0))
    assert made["id"] == "chatcmpl-sandbox-713390972a930e28463d253a"
