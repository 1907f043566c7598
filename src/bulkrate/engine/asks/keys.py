"""API keys: who is asking.

A key belongs to one project, and a project sees only its own files and batches. A key is looked up anew at
each request, so one that is made or revoked beside a running server counts at once. The key itself is shown
once, when it is made; what is kept of it is a digest and a hint.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import secrets
from collections.abc import Sequence

from bulkrate.engine.context import Context
from bulkrate.engine.ids import new_id
from bulkrate.errors import Conflict, InvalidRequest, NotFound, Unauthorized
from bulkrate.store.records import KeyRecord

PREFIX = "sk-bulkrate-"
DEFAULT_PROJECT = "default"
NAME_CHARS_MAX = 256
_SECRET_BYTES = 32
_SECRET_CHARS = len(PREFIX) + 43
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Of a key that is shown masked, at least this much stays hidden.
_HIDDEN_CHARS_MIN = 16


class Keys:
    """The keys of all projects."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store.keys

    async def project_of(self, secret: str | None, *, foreign: bool = False) -> str:
        """The project that `secret` opens. Raises `Unauthorized`.

        Without any active key everyone is the project `default`: that is how one begins, on one's own
        machine. The first key closes the door for whoever has none. A server that others can reach is never
        open, not even when its last key is revoked while it runs. Nor is it open for a `foreign` request, one
        that a page of another site makes in the browser of somebody on this machine.
        """
        project = await self._context.ask(self._store.project_of, digest_of(secret)) if secret else None
        if project is not None:
            return project
        open_door = is_loopback(self._context.settings.host) and not await self._context.ask(
            self._store.any_active
        )
        if open_door and not foreign:
            return DEFAULT_PROJECT
        if open_door:
            raise Unauthorized(
                "Without keys only programs on this machine are answered, not pages of other sites. "
                "Make a key with `bulkrate keys create` to be answered from anywhere."
            )
        if not secret:
            raise Unauthorized(
                "You didn't provide an API key. You need to provide your API key in an Authorization header "
                "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
            )
        raise Unauthorized(
            f"Incorrect API key provided: {masked(secret)}. "
            "The keys that this server knows are shown by `bulkrate keys list`, run beside it.",
            code="invalid_api_key",
        )

    async def create(self, project: str, name: str) -> tuple[KeyRecord, str]:
        """A new key for `project`, and its secret, which nobody can show again. Raises `InvalidRequest`."""
        if not _PROJECT.fullmatch(project):
            raise InvalidRequest(
                f"The project {project[:64]!r} cannot be: give 1 to 64 letters, digits, dots, dashes and "
                "underscores, beginning with a letter or a digit.",
                code="invalid_value",
                param="project",
            )
        if len(name) > NAME_CHARS_MAX or not name.isprintable():
            raise InvalidRequest(
                f"The name {name[:64]!r} cannot be: give at most {NAME_CHARS_MAX} printable characters.",
                code="invalid_value",
                param="name",
            )
        secret = PREFIX + secrets.token_urlsafe(_SECRET_BYTES)
        key = KeyRecord(
            id=new_id("key_"),
            project=project,
            name=name,
            digest=digest_of(secret),
            hint=masked(secret),
            created_at=self._context.now(),
        )
        return await self._context.ask(self._store.add, key), secret

    async def revoke(self, which: str) -> KeyRecord:
        """End the key that `which` means: its id, its name, its hint or how that begins, or the key itself.

        Raises `NotFound`, and `Conflict` when it could mean several.
        """
        which = masked(which) if _looks_like_a_key(which) else which
        key = await self._context.ask(self._store.revoke, which, now=self._context.now())
        if key is not None:
            return key
        several = await self._context.ask(self._store.matching, which)
        if several:
            ids = ", ".join(found.id for found in several)
            raise Conflict(f"{which!r} may mean {len(several)} keys; name one by its id: {ids}")
        raise NotFound(f"No active key has the id, name or hint {which!r}; `bulkrate keys list` shows them")

    async def list(self) -> Sequence[KeyRecord]:
        """Every key that ever was, oldest first."""
        return await self._context.ask(self._store.all)

    async def any_active(self) -> bool:
        """Whether a key is needed at all."""
        return await self._context.ask(self._store.any_active)


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to a server that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def digest_of(secret: str) -> str:
    """What is stored of a key.

    A plain SHA-256 on purpose. Slow hashes protect what people make up; this is 256 random bits, which
    nobody can guess from a digest however fast it is, and it is computed at every request.
    """
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def masked(secret: str) -> str:
    """Enough of a key to tell it from another, too little to use it."""
    shown = len(PREFIX) + 4 if secret.startswith(PREFIX) else 3
    if len(secret) - shown - 4 < _HIDDEN_CHARS_MIN:
        return "..."
    return f"{secret[:shown]}...{secret[-4:]}"


def _looks_like_a_key(which: str) -> bool:
    return which.startswith(PREFIX) and len(which) == _SECRET_CHARS
