"""Each peer answers some lines; then bulkrate answers as many, against the same upstream in the same run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import processes
from benchmarks.api import Api, warm_up, write_input
from benchmarks.figures import compare
from benchmarks.peers.environments import Skipped, python_of
from benchmarks.peers.field import FIELD, Peer

IN_FLIGHT = 256
_RUN_S_MAX = 300
_OURS_S_MAX = 120
_LAST_CHARS = 400
_RUNNERS = Path(__file__).with_name("runners")


def compare_all(folder: Path, url: str, names: Sequence[str] = ()) -> None:
    """Measure every peer, or those named, and bulkrate beside each."""
    field = [peer for peer in FIELD if not names or peer.name in names]
    with processes.server(folder / "beside-peers", url, max_in_flight=IN_FLIGHT) as server:
        with Api(server.port) as api:
            warm_up(api, folder)
        for peer in field:
            path = write_input(folder / f"{peer.name}.jsonl", peer.lines)
            try:
                theirs = rate_of(peer, url, path, folder)
            except Skipped as why:
                print(f"skipped   {peer.name}: {why}", flush=True)
                continue
            ours = our_rate(server.port, path, peer.lines)
            print(f"{peer.name} {peer.version}, {peer.lines:,} lines: {peer.does}")
            compare("bulkrate, as many lines", ours, "lines/s", peer=peer.name, against=theirs)


def rate_of(peer: Peer, url: str, path: Path, folder: Path) -> float:
    """Lines a second of a peer, by its runner's own clock. Raises `Skipped`."""
    python = python_of(peer)
    work = folder / f"{peer.name}-work"
    work.mkdir()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    asked = [str(python), str(_RUNNERS / peer.runner), url, str(path), str(IN_FLIGHT)]
    # It may start threads and processes of its own: they form a group, and end with it.
    process = subprocess.Popen(
        asked,
        cwd=work,
        env=environ | {"HOME": str(work), "TMPDIR": str(work)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said, complained = process.communicate(timeout=_RUN_S_MAX)
    except subprocess.TimeoutExpired:
        raise Skipped(f"{peer.lines} lines were not answered within {_RUN_S_MAX} s") from None
    finally:
        _end_group(process)
    if process.returncode:
        raise Skipped(f"it does not run here: {complained.strip()[-_LAST_CHARS:]}")
    told = json.loads(said.splitlines()[-1])
    if told["answered"] != peer.lines:
        raise Skipped(f"it answered {told['answered']} of {peer.lines} lines")
    return float(peer.lines / told["seconds"])


def our_rate(port: int, path: Path, lines: int) -> float:
    """Lines a second of a batch of ours, from create to completed."""
    with Api(port) as api:
        file_id = api.upload(path)
        began = time.monotonic()
        api.wait(api.create(file_id), every_s=0.01, within_s=_OURS_S_MAX)
        return lines / (time.monotonic() - began)


def _end_group(process: subprocess.Popen[str]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()
