"""The form in which a shard's content is uploaded, before and after the content itself."""

from __future__ import annotations

from collections.abc import Mapping

from bulkrate.providers.batch.base import Call, Content, Shard


def file_name(shard: Shard) -> str:
    """The name of a shard's file at the provider, by which it is found again: it tells the content, too."""
    return f"{shard.id}-{shard.fingerprint[:16]}.jsonl"


def form(path: str, shard: Shard, fields: Mapping[str, str]) -> Call:
    """The call that posts `fields` and the content, as `file`, to `path`.

    The boundary is made from the content's own hash, which nothing inside the content can know.
    """
    boundary = f"bulkrate-{shard.fingerprint[:48]}"
    parts = [
        f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    parts.append(
        f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="{file_name(shard)}"\r\n'
        "content-type: application/jsonl\r\n\r\n"
    )
    return Call(
        method="POST",
        path=path,
        headers=(("content-type", f"multipart/form-data; boundary={boundary}"),),
        body=Content(before="".join(parts).encode(), after=f"\r\n--{boundary}--\r\n".encode()),
    )
