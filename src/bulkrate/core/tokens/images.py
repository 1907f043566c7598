"""How many tokens an image costs, by OpenAI's published rules, and how large it is, from its first bytes.

The rules are those of the "Images and vision" guide: a base and a price per 512 px tile for most models,
32 px patches for the small ones. Other vendors count in their own ways; their images are guessed by the same
rule. Decodes no picture and fetches none.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct

from bulkrate.core.tokens.guess import Guess

# What an image whose size nobody knows is taken to be: a square that costs as much as most photos do.
_USUAL = (1024, 1024)
# Tokens of a tile model: the base, which is all that low detail costs, and each tile. The first prefix that
# fits counts.
_TILES = (
    ("gpt-4o-mini", (2833, 5667)),
    ("gpt-5", (70, 140)),
    ("o1", (75, 150)),
    ("o3", (75, 150)),
    ("computer-use", (65, 129)),
    ("", (85, 170)),
)
# Tokens per patch of a patch model.
_PATCHES = (
    ("gpt-4.1-mini", 1.62),
    ("gpt-4.1-nano", 2.46),
    ("gpt-5-mini", 1.62),
    ("gpt-5-nano", 2.46),
    ("o4-mini", 1.72),
)
_PATCH_PX = 32
_PATCHES_MAX = 1536
_TILE_PX = 512
_FIT_PX = 2048
_SHORT_SIDE_PX = 768
# No image has more tiles: 768 by 2048.
_TILES_MAX = 8
# A JPEG's size stands behind its colour profile and thumbnail, rarely further in than this.
_LOOK_CHARS = 1 << 17
_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,")


def image_tokens(model: str, url: str, detail: str | None) -> Guess:
    """Tokens of one image; the band is zero wide where its size and detail are known."""
    base, tile = next(costs for prefix, costs in _TILES if model.startswith(prefix))
    patch = next((times for prefix, times in _PATCHES if model.startswith(prefix)), None)
    size = size_of(url)
    if patch is not None:
        if size is None:
            return Guess(math.ceil(patch), _patch_tokens(_USUAL, patch), math.ceil(_PATCHES_MAX * patch))
        exact = _patch_tokens(size, patch)
        return Guess(exact, exact, exact)
    if detail == "low":
        return Guess(base, base, base)
    likely = base + tile * _tiles(size or _USUAL)
    if size is not None:
        # What "auto" becomes is the model's affair: high is the rule, low may happen.
        return Guess(likely if detail == "high" else base, likely, likely)
    return Guess(base, likely, base + tile * _TILES_MAX)


def _tiles(size: tuple[int, int]) -> int:
    """Tiles of an image at high detail: shrunk into 2048 px, then to a short side of 768 px."""
    wide, high = size
    shrink = min(1.0, _FIT_PX / max(wide, high))
    shrink = min(shrink, _SHORT_SIDE_PX / min(wide, high))
    return math.ceil(wide * shrink / _TILE_PX) * math.ceil(high * shrink / _TILE_PX)


def _patch_tokens(size: tuple[int, int], times: float) -> int:
    patches = math.ceil(size[0] / _PATCH_PX) * math.ceil(size[1] / _PATCH_PX)
    return math.ceil(min(patches, _PATCHES_MAX) * times)


def size_of(url: str) -> tuple[int, int] | None:
    """Width and height in pixels of the PNG, JPEG or GIF in a data URL; None for any other URL."""
    head = _DATA_URL.match(url)
    if head is None:
        return None
    encoded = url[head.end() : head.end() + _LOOK_CHARS]
    try:
        content = base64.b64decode(encoded[: len(encoded) // 4 * 4])
    except (binascii.Error, ValueError):
        return None
    found = _png(content) or _gif(content) or _jpeg(content)
    return found if found and min(found) > 0 else None


def _png(content: bytes) -> tuple[int, int] | None:
    if not content.startswith(b"\x89PNG\r\n\x1a\n") or len(content) < 24:
        return None
    wide, high = struct.unpack(">II", content[16:24])
    return wide, high


def _gif(content: bytes) -> tuple[int, int] | None:
    if not content.startswith((b"GIF87a", b"GIF89a")) or len(content) < 10:
        return None
    wide, high = struct.unpack("<HH", content[6:10])
    return wide, high


def _jpeg(content: bytes) -> tuple[int, int] | None:
    """From the first frame header; segments before it are stepped over by their lengths."""
    at = 2
    while content.startswith(b"\xff\xd8") and at + 9 <= len(content) and content[at] == 0xFF:
        kind = content[at + 1]
        # Frame headers are C0 to CF, without DHT (C4), JPG (C8) and DAC (CC).
        if 0xC0 <= kind <= 0xCF and kind not in {0xC4, 0xC8, 0xCC}:
            high, wide = struct.unpack(">HH", content[at + 5 : at + 9])
            return wide, high
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return None
