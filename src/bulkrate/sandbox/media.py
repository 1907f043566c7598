"""Images and videos: a picture of one pixel, and a video job that is already done.

Pixels have a colour by hash and no likeness to the prompt. Videos have no content to download.
"""

import struct
import zlib
from base64 import b64encode

from bulkrate.sandbox.dice import Dice
from bulkrate.sandbox.marks import CREATED, NOTICE
from bulkrate.sandbox.refusals import missing
from bulkrate.sandbox.request import Fields, positive, text_field
from bulkrate.sandbox.texts import prompt_tokens

_MOST_IMAGES = 10
# Tokens of a square gpt-image-1 picture by quality, and a plausible number for one shown to it.
_TOKENS_MADE = {"low": 272, "medium": 1056, "high": 4160}
_TOKENS_SHOWN = 323


def generated_images(fields: Fields, _model: str, dice: Dice) -> Fields:
    return _images(fields, dice, shown=0)


def edited_images(fields: Fields, _model: str, dice: Dice) -> Fields:
    given = fields.get("images") or fields.get("image")
    if not given:
        raise missing("images")
    return _images(fields, dice, shown=len(given) if isinstance(given, list) else 1)


def video(fields: Fields, model: str, dice: Dice) -> Fields:
    return {
        "id": dice.identity("video_sandbox_"),
        "object": "video",
        "created_at": CREATED,
        "completed_at": CREATED,
        "expires_at": None,
        "error": None,
        "model": model,
        "progress": 100,
        "prompt": fields["prompt"],
        "remixed_from_video_id": None,
        "seconds": str(fields.get("seconds") or "4"),
        "size": text_field(fields, "size", "720x1280"),
        "status": "completed",
        "sandbox": NOTICE,
    }


def _images(fields: Fields, dice: Dice, *, shown: int) -> Fields:
    count = positive(fields, "n", 1, _MOST_IMAGES)
    quality = text_field(fields, "quality", "low")
    quality = quality if quality in _TOKENS_MADE else "low"  # "auto" and the words of older models
    made = count * _TOKENS_MADE[quality]
    text = prompt_tokens(fields["prompt"])
    linked = fields.get("response_format") == "url"
    return {
        "created": CREATED,
        "background": "opaque",
        "output_format": "png",
        "quality": quality,
        "size": text_field(fields, "size", "1024x1024"),
        "data": [_image(dice.bytes_of(f"image.{index}", 3), linked=linked) for index in range(count)],
        "usage": {
            "input_tokens": text + shown * _TOKENS_SHOWN,
            "input_tokens_details": {"text_tokens": text, "image_tokens": shown * _TOKENS_SHOWN},
            "output_tokens": made,
            "output_tokens_details": {"text_tokens": 0, "image_tokens": made},
            "total_tokens": text + shown * _TOKENS_SHOWN + made,
        },
        "sandbox": NOTICE,
    }


def _image(colour: bytes, *, linked: bool) -> Fields:
    if linked:
        # RFC 2606: names under .invalid resolve nowhere.
        return {"url": f"https://sandbox.invalid/{colour.hex()}.png"}
    return {"b64_json": b64encode(_pixel(colour)).decode()}


def _pixel(colour: bytes) -> bytes:
    """A PNG of one pixel of this RGB colour."""
    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)  # 1 x 1, 8 bits a channel, RGB
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" + colour)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
