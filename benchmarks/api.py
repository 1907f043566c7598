"""The Batch API over one keep-alive connection. An SDK would spend more time than the server it measures."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

from benchmarks.processes import MODEL

ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_TIMEOUT_S = 60.0
_BLOCK_BYTES = 1 << 18
_BOUNDARY = "bulkrate-bench"
_TEXT = (
    "Classify the sentiment of this review as positive, negative or neutral. It works, and it was on time."
)


class Api:
    """One connection to one server; requests one after another."""

    def __init__(self, port: int) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> bytes:
        """The answer's bytes."""
        return self._send(method, path, body, headers).read()

    def post(self, path: str, asked: Any) -> Any:
        """POST JSON; the parsed answer."""
        return json.loads(self.ask("POST", path, json.dumps(asked).encode(), content_type="application/json"))

    def get(self, path: str) -> Any:
        """GET; the parsed answer."""
        return json.loads(self.ask("GET", path))

    def download(self, file_id: str) -> int:
        """Read a file in pieces, as a client without room for it would; its size."""
        answer = self._send("GET", f"/v1/files/{file_id}/content", None, {})
        size = 0
        while piece := answer.read(_BLOCK_BYTES):
            size += len(piece)
        return size

    def upload(self, path: Path) -> str:
        """Stream a file from the disk; its id."""
        head, tail = _form(path.name)
        length = len(head) + path.stat().st_size + len(tail)

        def parts() -> Iterator[bytes]:
            yield head
            with path.open("rb") as source:
                while block := source.read(_BLOCK_BYTES):
                    yield block
            yield tail

        form = f"multipart/form-data; boundary={_BOUNDARY}"
        answer = self.ask("POST", "/v1/files", parts(), content_type=form, content_length=str(length))
        return str(json.loads(answer)["id"])

    def create(self, file_id: str) -> str:
        """Begin a batch; its id."""
        asked = {
            "input_file_id": file_id,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
        return str(self.post("/v1/batches", asked)["id"])

    def wait(self, batch_id: str, *, every_s: float, within_s: float) -> dict[str, Any]:
        """Poll until the batch has completed."""
        deadline = time.monotonic() + within_s
        while True:
            batch: dict[str, Any] = self.get(f"/v1/batches/{batch_id}")
            if batch["status"] in ENDED:
                counts = batch["request_counts"]
                assert batch["status"] == "completed", batch
                assert counts["completed"] == counts["total"], counts
                return batch
            assert time.monotonic() < deadline, f"still {batch['status']} after {within_s} s"
            time.sleep(every_s)

    def _send(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> HTTPResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, body, named)
        answer = self._connection.getresponse()
        assert answer.status == 200, answer.read()[:1_000]
        return answer


def warm_up(api: Api, folder: Path) -> None:
    """Run one small batch: a server answers before its clerk and its sender have finished starting."""
    api.wait(
        api.create(api.upload(write_input(folder / "warm-up.jsonl", 1))), every_s=0.02, within_s=_TIMEOUT_S
    )


def write_input(path: Path, lines: int, *, text: str = _TEXT, model: str = MODEL) -> Path:
    """Write an input file of `lines` chat requests (some 250 bytes each), without holding it in memory."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 8}
    rest = json.dumps(body)
    with path.open("w", encoding="utf-8") as file:
        for number in range(lines):
            file.write(
                f'{{"custom_id":"line-{number}","method":"POST","url":"/v1/chat/completions","body":{rest}}}\n'
            )
    return path


def _form(filename: str) -> tuple[bytes, bytes]:
    """What stands before and behind the bytes of the file."""
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n\r\n'
    )
    return head.encode(), f"\r\n--{_BOUNDARY}--\r\n".encode()
