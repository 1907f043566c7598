"""What a benchmark runs on: a server of its own, an upstream, a folder that goes away, and an end in time."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.processes import Server, running, sandbox

MODEL = "bench"
UPSTREAMS = ("nginx", "sandbox")
_NGINX_START_S_MAX = 10.0

# A fixed answer of the size and shape of a short chat answer. Without a model list, it serves any model.
_NGINX_CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log error;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    default_type application/json;
    keepalive_requests 100000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /v1/models {{ return 404; }}
        location / {{ return 200 '{answer}'; }}
    }}
}}
"""
#: A short chat answer, the same for every request.
ANSWER = (
    '{"id":"chatcmpl-fixed","object":"chat.completion","created":1760000000,"model":"bench","choices":[{"index":0,'
    '"message":{"role":"assistant","content":"A fixed answer, always the same, made by no model at all.",'
    '"refusal":null},"logprobs":null,"finish_reason":"stop"}],'
    '"usage":{"prompt_tokens":40,"completion_tokens":14,"total_tokens":54}}'
)


def run(
    measure: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser, *, seconds_max: int
) -> None:
    """Read the options and measure; ends by itself after `seconds_max`, and cleanly on Ctrl-C and SIGTERM."""
    options = parser.parse_args()

    def give_up(number: int, _frame: object) -> None:
        why = f"not done after {seconds_max} s" if number == signal.SIGALRM else "stopped"
        sys.exit(f"{parser.prog}: {why}")

    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, give_up)
    signal.alarm(seconds_max)
    started = time.monotonic()
    print(f"machine   {os.cpu_count()} cores, {platform.python_implementation()} {platform.python_version()}")
    load = os.getloadavg()[0]
    if load > 0.5:
        print(f"noisy     others keep {load:.1f} cores busy at the start; absolute times suffer by it")
    measure(options)
    print(f"took      {time.monotonic() - started:.0f} s", flush=True)


def options_of(doc: str | None, name: str) -> argparse.ArgumentParser:
    """A parser that says what the module's docstring says."""
    return argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for data and inputs that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="bulkrate-bench-") as path:
        yield Path(path)


@contextmanager
def upstream(kind: str | None = None) -> Iterator[str]:
    """The URL of an upstream that answers at once: nginx where there is one, else the sandbox; says which."""
    kind = kind or ("nginx" if shutil.which("nginx") else "sandbox")
    print(
        f"upstream  {kind}" + (" with a fixed answer" if kind == "nginx" else " without latency"), flush=True
    )
    if kind == "nginx":
        with _nginx() as url:
            yield url
    else:
        with running(sandbox()) as process:
            yield process.url


@contextmanager
def server(
    data: Path, *upstreams: str, max_in_flight: int | None = None, workers: int | None = None
) -> Iterator[Server]:
    """A server of its own, with every setting as it comes but for `max_in_flight` and `workers`, if given."""
    flags: tuple[str, ...] = () if workers is None else ("--workers", str(workers))
    if max_in_flight is None:
        process = Server(data, *upstreams, flags=flags)
    else:
        config = data.with_name(f"{data.name}.toml")
        tables = (
            f"[upstreams.u{number}]\nurl = {json.dumps(url)}\nmax_in_flight = {max_in_flight}\n"
            for number, url in enumerate(upstreams)
        )
        config.write_text("".join(tables), encoding="utf-8")
        process = Server(data, flags=("--config", str(config), *flags))
    with running(process):
        yield process


def roles_of(server: Server) -> dict[str, int]:
    """The process ids of a server's three processes, by role, once all have started."""
    for role in ("clerk", "sender-0"):
        server.wait_for_log(f"process_started role={role} ")
    return {"server": server.popen.pid, "clerk": server.child("clerk"), "sender": server.child("sender-0")}


def cpu_s(pid: int, *, thread: int | None = None) -> float:
    """Processor seconds that a process, or one thread of it, has used so far; those in the kernel count."""
    place = Path(f"/proc/{pid}" if thread is None else f"/proc/{pid}/task/{thread}")
    fields = (place / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def add_upstream_option(parser: argparse.ArgumentParser) -> None:
    """`--upstream`, for benchmarks that can use either."""
    parser.add_argument(
        "--upstream", choices=UPSTREAMS, help="which one to use; nginx if it is installed, else the sandbox"
    )


@contextmanager
def _nginx() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="bulkrate-nginx-") as place:
        port = _free_port()
        config = Path(place, "nginx.conf")
        config.write_text(_NGINX_CONFIG.format(folder=place, port=port, answer=ANSWER), encoding="ascii")
        process = subprocess.Popen(
            ["nginx", "-c", str(config), "-p", place], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        try:
            _wait_until_open(port, process)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()
            process.communicate()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_until_open(port: int, process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + _NGINX_START_S_MAX
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    process.kill()
    said = process.communicate()[1].decode(errors="replace")
    raise AssertionError(f"nginx did not start: {said}")
