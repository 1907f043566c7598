"""A PostgreSQL of the tests' own: a fresh cluster in a temporary folder, on a free port, gone afterwards.

The programs come from the machine (Debian: `apt-get install postgresql`). CI installs them, and says
with BULKRATE_TEST_POSTGRES=required that a machine without them is a fault, not a reason to skip.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest


def programs() -> Path | None:
    """The folder of `initdb` and `postgres`, the newest if there are several."""
    found = [Path(path).parent for path in filter(None, [shutil.which("initdb")])]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    return next((path for path in reversed(found) if (path / "initdb").exists()), None)


@contextmanager
def cluster() -> Iterator[str]:
    """The root of a server's addresses, `postgresql://bulkrate@127.0.0.1:PORT`; its user may do anything.

    Skips the test where there is no PostgreSQL, unless it is required.
    """
    if (folder := programs()) is None:
        why = "there is no PostgreSQL on this machine: apt-get install postgresql"
        if os.environ.get("BULKRATE_TEST_POSTGRES") == "required":
            pytest.fail(why)
        pytest.skip(why)
    home = Path(tempfile.mkdtemp(prefix="bulkrate-postgres-"))
    # PostgreSQL refuses to be run by root; any other user will do.
    user = pwd.getpwuid(65534) if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    os.chown(home, user.pw_uid, user.pw_gid)

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [folder / program, "-D", home / "data", *arguments],
            check=True,
            cwd=home,
            env={"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]},
            user=user.pw_uid if os.getuid() == 0 else None,
            group=user.pw_gid if os.getuid() == 0 else None,
            extra_groups=[] if os.getuid() == 0 else None,
            stdout=subprocess.DEVNULL,
        )

    try:
        run("initdb", "-U", "bulkrate", "--auth=trust", "-E", "UTF8", "--no-sync")
        port = _free_port()
        options = f"-p {port} -k {home} -h 127.0.0.1 -F"
        run("pg_ctl", "start", "-w", "-t", "60", "-l", str(home / "log"), "-o", options)
        try:
            yield f"postgresql://bulkrate@127.0.0.1:{port}"
        finally:
            run("pg_ctl", "stop", "-w", "-m", "immediate")
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def database(root: str) -> Iterator[str]:
    """The address of a database of the test's own on a server."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(f"{root}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield f"{root}/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
