"""File names from strangers, made safe to show, store and send back."""

from __future__ import annotations

import re
from urllib.parse import quote

NAME_CHARS_MAX = 255
#: What a file without a name is called; the Python SDK calls it the same.
NAMELESS = "upload"

# C0 and C1 controls, line separators, and the marks that turn text around ("gpj.exe" shown as "exe.jpg").
_INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def safe_filename(given: str) -> str:
    """The last component of a name, without control characters, at most `NAME_CHARS_MAX` long; never empty.

    A name that is too long keeps its extension.
    """
    name = _INVISIBLE.sub("", re.split(r"[/\\]", given)[-1]).strip()
    if name.strip(". ") == "":
        return NAMELESS
    if len(name) <= NAME_CHARS_MAX:
        return name
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension) > 16:
        return name[:NAME_CHARS_MAX]
    return stem[: NAME_CHARS_MAX - len(extension) - 1] + dot + extension


def attachment(filename: str) -> str:
    """A Content-Disposition header that offers `filename`, whatever is in it."""
    name = safe_filename(filename)
    plain = re.sub(r"[^ !#-\[\]-~]", "_", name)
    if plain == name:
        return f'attachment; filename="{plain}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
