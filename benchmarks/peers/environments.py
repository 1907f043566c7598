"""An environment for each peer, outside the repository, made once and kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.field import Peer

_INSTALL_S_MAX = 600
_LAST_CHARS = 300
_UV_OF_THE_REPOSITORY = Path(__file__).parents[2] / ".venv-uv" / "bin" / "uv"


class Skipped(Exception):
    """A peer cannot be measured here; the message says why."""


def python_of(peer: Peer) -> Path:
    """The interpreter of a peer's environment, which is made if it is not there. Raises `Skipped`."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bulkrate-bench"
    version = f"py{sys.version_info.major}.{sys.version_info.minor}"
    place = home / f"{peer.name}-{peer.version}-{version}"
    python, ready = place / "bin" / "python", place / ".ready"
    if not ready.exists():
        print(f"  installing {peer.pin} into {place}", flush=True)
        home.mkdir(parents=True, exist_ok=True)
        for command in _commands(place, python, peer.pin):
            _run(command, peer)
        ready.touch()
    return python


def _commands(place: Path, python: Path, pin: str) -> list[list[str]]:
    uv = shutil.which("uv") or shutil.which(_UV_OF_THE_REPOSITORY)
    if uv is None:
        return [
            [sys.executable, "-m", "venv", "--clear", str(place)],
            [str(python), "-m", "pip", "install", "-q", pin],
        ]
    return [
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(place)],
        [uv, "pip", "install", "--quiet", "--python", str(python), pin],
    ]


def _run(command: list[str], peer: Peer) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_INSTALL_S_MAX)
    except subprocess.TimeoutExpired:
        raise Skipped(f"{peer.pin} was not installed within {_INSTALL_S_MAX} s") from None
    except subprocess.CalledProcessError as error:
        raise Skipped(f"{peer.pin} cannot be installed: {error.stderr.strip()[-_LAST_CHARS:]}") from None
