"""Whatever the official Node SDK can do: `node/facts.mjs` holds the facts, one function each."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import Server

pytestmark = pytest.mark.server

NODE = Path(__file__).parent / "node"
FACTS = re.findall(r"^  async (\w+)\(\) \{$", (NODE / "facts.mjs").read_text(encoding="utf-8"), re.MULTILINE)
INSTALL = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]


def miss(reason: str) -> None:
    """On a laptop the facts may be skipped; in CI they must hold."""
    if os.environ.get("CI", "").lower() in {"true", "1"}:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def node() -> Path:
    """The folder of the facts, with the newest SDK installed into its `node_modules` at first use."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        miss("Node and npm are not installed; the Node SDK cannot be tried")
    with (NODE / ".lock").open("w") as lock:  # several test workers may come at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (NODE / "node_modules" / "openai" / "package.json").is_file():
            try:
                installed = subprocess.run(
                    INSTALL, cwd=NODE, capture_output=True, text=True, timeout=120, check=False
                )
            except subprocess.TimeoutExpired:
                miss("npm install openai did not end within two minutes")
            else:
                if installed.returncode:
                    miss(f"npm install openai failed: {installed.stderr[-500:]}")
    return NODE


@pytest.mark.parametrize("fact", FACTS)
def test_node(node: Path, server: Server, fact: str) -> None:
    done = subprocess.run(
        ["node", "facts.mjs", server.url, fact],
        cwd=node,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
