"""What an image costs, by OpenAI's published rules."""

from __future__ import annotations

import base64
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkrate.core.tokens.guess import Guess
from bulkrate.core.tokens.images import image_tokens, size_of


def png(wide, high):
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", wide, high)


def gif(wide, high):
    return b"GIF89a" + struct.pack("<HH", wide, high) + b"\x00" * 6


def jpeg(wide, high):
    profile = b"\xff\xe2" + struct.pack(">H", 402) + b"\xc0" * 400
    return b"\xff\xd8" + profile + b"\xff\xc2" + struct.pack(">HBHH", 17, 8, high, wide) + b"\x00" * 9


def url(content, kind="png"):
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


@pytest.mark.parametrize("made", [png, gif, jpeg])
def test_the_size_is_read_from_the_first_bytes(made):
    assert size_of(url(made(640, 480))) == (640, 480)


@pytest.mark.parametrize(
    "address", ["https://example.com/a.png", "", "data:image/png;base64,%%%", url(b"RIFF")]
)
def test_no_size_is_made_up(address):
    assert size_of(address) is None


@given(st.binary(max_size=200))
def test_no_bytes_are_too_strange(content):
    for head in (b"", b"\xff\xd8", b"GIF89a", b"\x89PNG\r\n\x1a\n"):
        assert size_of(url(head + content)) is None or min(size_of(url(head + content))) > 0


@pytest.mark.parametrize(
    ("model", "size", "tokens"),
    [
        ("gpt-4o", (1024, 1024), 765),  # the guide's own examples: 768 px square, 4 tiles
        ("gpt-4o", (2048, 4096), 1105),  # 768 by 1536, 6 tiles
        ("gpt-4o", (512, 512), 255),  # one tile; small images are not made larger
        ("gpt-4o-mini", (1024, 1024), 25501),
        ("gpt-5", (1024, 1024), 630),
        ("gpt-4.1-mini", (1024, 1024), 1659),  # 1,024 patches at 1.62
        ("gpt-4.1-mini", (8000, 8000), 2489),  # no more than 1,536 patches
    ],
)
def test_an_image_of_a_known_size_has_a_known_price(model, size, tokens):
    assert image_tokens(model, url(png(*size)), "high") == Guess(tokens, tokens, tokens)


def test_low_detail_costs_the_base():
    assert image_tokens("gpt-4o", url(png(4096, 4096)), "low") == Guess(85, 85, 85)


def test_an_image_that_is_elsewhere_is_guessed():
    assert image_tokens("gpt-4o", "https://example.com/a.png", None) == Guess(85, 765, 1445)
