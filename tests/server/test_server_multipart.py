"""Multipart bodies: however they are cut and filled, the parts come out as they went in."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkrate.errors import InvalidRequest
from bulkrate.server.multipart import PartBegins, PartBytes, PartEnds, Parts, boundary_of

BOUNDARY = b"xYz"
# What a parser stumbles over: boundaries that are nearly one, and ends of lines.
tricky = st.lists(
    st.sampled_from(
        [b"\r", b"\n", b"-", b"--", b"xYz", b"\r\n--xY", b"\r\n--xYzz", b"\r\n-", b"\0", b"a", b"{}"]
    ),
    max_size=12,
).map(b"".join)
contents = st.one_of(st.binary(max_size=64), tricky).filter(
    lambda content: b"\r\n--xYz" not in b"\r\n" + content
)
names = st.text(
    st.characters(codec="utf-8", exclude_characters='"\\\r\n;', exclude_categories=["Cs"]), min_size=1
)
bodies = st.lists(st.tuples(names, st.none() | names, contents), min_size=1, max_size=4)


def build(parts, boundary=BOUNDARY):
    body = b""
    for name, filename, content in parts:
        extra = "" if filename is None else f'; filename="{filename}"'
        head = f'Content-Disposition: form-data; name="{name}"{extra}\r\nContent-Type: text/plain'
        body += b"--" + boundary + b"\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n"
    return body + b"--" + boundary + b"--\r\n"


def parse(pieces, boundary=BOUNDARY):
    parser = Parts(boundary)
    parts = []
    for piece in pieces:
        for event in parser.feed(piece):
            match event:
                case PartBegins(name, filename):
                    parts.append([name, filename, b"", False])
                case PartBytes(data):
                    assert not parts[-1][3]
                    parts[-1][2] += data
                case PartEnds():
                    parts[-1][3] = True
    parser.finish()
    assert all(whole for *_, whole in parts)
    return [tuple(part[:3]) for part in parts]


def cut(body, places):
    edges = [0, *sorted({place % (len(body) + 1) for place in places}), len(body)]
    return [body[start:end] for start, end in pairwise(edges)]


@given(bodies, st.lists(st.integers(0, 2**16), max_size=20))
def test_any_cutting_of_a_body_gives_the_same_parts(parts, places):
    assert parse(cut(build(parts), places)) == parts


@given(bodies)
def test_a_body_may_come_byte_by_byte(parts):
    body = build(parts)
    assert parse(body[i : i + 1] for i in range(len(body))) == parts


@given(bodies, st.integers(1, 2**16))
@example([("file", "a", b"abc")], 3)
def test_a_body_that_ends_early_is_refused(parts, missing):
    body = build(parts)
    # The last two bytes, a line end, may be missing.
    shortened = body[: -2 - missing % (len(body) - 2)] if missing % (len(body) - 2) else b""
    with pytest.raises(InvalidRequest):
        parse([shortened])


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_garbage_is_refused_and_nothing_worse(garbage, places):
    with pytest.raises(InvalidRequest):
        parse(cut(garbage, places), boundary=b"a boundary that garbage does not hold")


@pytest.mark.parametrize(
    ("disposition", "name", "filename"),
    [
        (b"form-data; name=purpose", "purpose", None),  # .NET does not quote
        (b'form-data; name="file"; filename="a b.jsonl"', "file", "a b.jsonl"),
        (
            'form-data; name="file"; filename="ü.jsonl"'.encode(),
            "file",
            "ü.jsonl",
        ),  # raw UTF-8, as httpx and undici
        (b"form-data; name=file; filename=x; filename*=utf-8''%C3%BC.jsonl", "file", "ü.jsonl"),  # .NET
        (b'form-data; name="file"; filename="a\\"b"', "file", 'a"b'),  # curl, Go
        (b'form-data; name="expires_after[seconds]"', "expires_after[seconds]", None),
        (b'form-data; name="file"; filename=""', "file", ""),
    ],
)
def test_names_are_read_as_clients_write_them(disposition, name, filename):
    parser = Parts(b"B")
    events = parser.feed(b"--B\r\ncontent-disposition: " + disposition + b"\r\n\r\n")
    assert events == [PartBegins(name, filename)]


@pytest.mark.parametrize(
    ("header", "word"),
    [
        (b"Content-Type: text/plain", "no name"),
        (b"Content-Disposition: form-data", "no name"),
        (b"Content-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64", "Transfer-Encoding"),
    ],
)
def test_a_part_we_would_misread_is_refused(header, word):
    with pytest.raises(InvalidRequest, match=word):
        Parts(b"B").feed(b"--B\r\n" + header + b"\r\n\r\n")


def test_headers_of_a_part_are_bounded():
    with pytest.raises(InvalidRequest):
        Parts(b"B").feed(b"--B\r\nX: " + b"a" * 100_000)


@pytest.mark.parametrize(
    ("content_type", "found"),
    [
        (None, "no Content-Type"),
        ("application/json", "application/json"),
        ("application/x-www-form-urlencoded", "urlencoded"),
        ("multipart/form-data", "without a boundary"),
        ("multipart/mixed; boundary=B", "multipart/mixed"),
    ],
)
def test_another_content_type_is_told_what_to_send(content_type, found):
    with pytest.raises(InvalidRequest, match=f"{found}.*a part named 'data'|{found}.*boundary"):
        boundary_of(content_type, part="data")


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data; boundary=B", 'Multipart/Form-Data; boundary="B"']
)
def test_the_boundary_is_found(content_type):
    assert boundary_of(content_type, part="file") == b"B"


def test_a_boundary_beyond_reason_is_refused():
    with pytest.raises(InvalidRequest, match="boundary"):
        Parts(b"B" * 1000)
