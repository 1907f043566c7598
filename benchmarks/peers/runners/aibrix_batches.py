"""AIBrix's batch service over its own HTTP API, with local storage. Run in the peer's environment.

python aibrix_batches.py URL INPUT IN_FLIGHT
"""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

_START_S_MAX = 60
_RUN_S_MAX = 280
_BOUNDARY = "bench"
_SERVER = Path(__file__).with_name("aibrix_server.py")
_ENDED = {"completed", "failed", "expired", "cancelled"}


def main(url: str, path: str, in_flight: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, str(_SERVER), url, str(port), str(in_flight)]
    with Path("server.log").open("w", encoding="utf-8") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        root = f"http://127.0.0.1:{port}"
        wait_until_ready(f"{root}/healthz", server)
        file_id = upload(f"{root}/v1/files", Path(path).read_bytes())
        asked = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        began = time.monotonic()
        batch = ask(f"{root}/v1/batches", json.dumps(asked).encode(), "application/json")
        while batch["status"] not in _ENDED and time.monotonic() - began < _RUN_S_MAX:
            time.sleep(0.1)
            batch = ask(f"{root}/v1/batches/{batch['id']}")
        took = time.monotonic() - began
        print(json.dumps({"answered": batch["request_counts"]["completed"], "seconds": took}))
    finally:
        server.kill()
        server.wait()


def wait_until_ready(url: str, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + _START_S_MAX
    while True:
        try:
            ask(url)
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def upload(url: str, content: bytes) -> str:
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="input.jsonl"\r\n'
        "Content-Type: application/jsonl\r\n\r\n"
    )
    body = head.encode() + content + f"\r\n--{_BOUNDARY}--\r\n".encode()
    return str(ask(url, body, f"multipart/form-data; boundary={_BOUNDARY}")["id"])


def ask(url: str, body: bytes | None = None, content_type: str = "") -> dict:
    headers = {"content-type": content_type} if body is not None else {}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as answer:
        return json.load(answer)


main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
