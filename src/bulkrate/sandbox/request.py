"""One POST call as received: its bytes, their hash and the JSON object in them.

It never judges the fields; the endpoint it was sent to does. A body that is no JSON object is kept as a
`trouble` instead of raised, so that the journal can note the call before it is refused.
"""

from hashlib import sha256

import msgspec
from msgspec import Struct

from bulkrate.sandbox.refusals import RefusalError, bad

Fields = dict[str, object]


class Request(Struct, frozen=True):
    path: str
    raw: bytes
    digest: bytes
    fields: Fields
    trouble: RefusalError | None = None


def read_request(path: str, raw: bytes) -> Request:
    fields, trouble = _decoded(raw)
    return Request(path, raw, sha256(raw).digest(), fields, trouble)


def _decoded(raw: bytes) -> tuple[Fields, RefusalError | None]:
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError) as error:
        return {}, bad(f"the body is not JSON ({error}); send a JSON object (forms are not read here)")
    if not isinstance(found, dict):
        return {}, bad(f"the body is JSON but no object: found {type(found).__name__}; send a JSON object")
    return found, None


def positive(fields: Fields, name: str, default: int, most: int) -> int:
    """A field that counts something: absent or null is the default."""
    value = fields.get(name)
    if value is None:
        return default
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most:
        return value
    raise bad(f"'{name}' must be a whole number from 1 to {most}", name, "invalid_value")


def text_field(fields: Fields, name: str, default: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) and value else default


def object_field(fields: Fields, name: str) -> Fields:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}
