"""Whether a URL and headers are ones that HTTP can carry.

Asked of settings before anything is started with them: what no request can be made of would end the process
that tries, and with it all that this process does for others. Nothing is looked up and nothing is sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

# A label of a host's name, international ones too; brackets around IPv6 are urlsplit's to judge.
_HOST = re.compile(r"\w([\w-]*\w)?(\.\w([\w-]*\w)?)*\.?")
_BLANK = re.compile(r"[\s\x00-\x1f\x7f]")
# RFC 9110, section 5: a token, and a value without control characters.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# A request's length and whether its connection stays are for whoever sends it to say.
_FRAMING = frozenset(
    {"connection", "content-length", "expect", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)


def misread_url(url: str) -> str | None:
    """What keeps a URL from being the address of an API; None when nothing does. Never repeats the URL."""
    if not url.startswith(("http://", "https://")):
        return "it does not begin with http:// or https://"
    if _BLANK.search(url):
        return "it has a space or a control character in it"
    if "?" in url or "#" in url:
        return "paths are put after it, so it may have no ? or #"
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return "its host cannot be read"
    if ":" not in host and not _HOST.fullmatch(host):
        return "its host cannot be read" if host else "it names no host"
    return None if _has_port(url) else "its port is no number from 1 to 65535"


def _has_port(url: str) -> bool:
    """Whether the port is one, or left out."""
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def misread_headers(headers: Mapping[str, str]) -> tuple[str, str] | None:
    """The first header that no request can have, and why; None when there is none. Never repeats a value."""
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            return name, "is no name of a header"
        if name.lower() in _FRAMING:
            return name, "is for each request to say, not for settings"
        if (reason := misread_value(value)) is not None:
            return name, reason
    return None


def misread_value(value: str) -> str | None:
    """What keeps a text from being the value of a header; None when nothing does."""
    return "has a line break or another control character in it" if _CONTROL.search(value) else None
