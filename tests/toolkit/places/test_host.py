"""The engine that jobs share: started once, found again, ended when nobody needs it."""

from __future__ import annotations

import json
import os
import signal

import pytest

from bulkrate.config import Settings, Upstream
from bulkrate.errors import ConfigError
from bulkrate.toolkit.places.host import Attached, HostAsk, folder_of, read_door
from tests.support.processes import wait_until


def ask(**options) -> HostAsk:
    return HostAsk(settings=Settings(), sandbox=options)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123
        return file.read().rpartition(")")[2].split()[0] == "Z"


@pytest.fixture
def folder(tmp_path):
    folder = folder_of(tmp_path, ask())
    yield folder
    if (door := read_door(folder)) is not None and not is_gone(door.pid):
        os.kill(door.pid, signal.SIGTERM)


def test_two_who_need_it_share_one_that_comes_back_after_a_death(folder):
    first = Attached(folder, ask())
    second = Attached(folder, ask())
    pid = read_door(folder).pid
    assert first.api.url == second.api.url
    assert oct((folder / "door.json").stat().st_mode)[-3:] == "600"
    first.close()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: is_gone(pid), bool)
    # After a reboot the number in the door may be another's: ours, which lives.
    told = json.loads((folder / "door.json").read_bytes())
    (folder / "door.json").write_text(json.dumps(told | {"pid": os.getpid()}))
    second.again()
    assert read_door(folder).pid not in {pid, os.getpid()}
    assert second.api.is_bulkrate()
    assert second.api.models() is not None
    second.close()


def test_one_that_was_told_another_key_ends_unless_others_need_it(folder):
    """A key was put right, and the job went on with the wrong one: the engine that had it still lingered."""

    def keyed(key: str) -> HostAsk:
        upstream = Upstream(url="http://127.0.0.1:9/v1", key=key)
        return HostAsk(settings=Settings(upstreams={"a": upstream}), sandbox={})

    said: list[str] = []
    first = Attached(folder, keyed("wrong"))
    pid = read_door(folder).pid
    second = Attached(folder, keyed("right"), tell=said.append)
    assert read_door(folder).pid == pid
    assert "another job shares the engine" in said[0]
    first.close()
    second.close()
    third = Attached(folder, keyed("right"))
    assert read_door(folder).pid != pid
    fourth = Attached(folder, keyed("right"))
    assert third.api.url == fourth.api.url
    third.close()
    fourth.close()


def test_what_it_cannot_do_is_told(tmp_path):
    with pytest.raises(ConfigError, match="no option nonsense"):
        Attached(tmp_path / "engine", ask(nonsense=1))
    with pytest.raises(ConfigError, match="error_rate"):
        Attached(tmp_path / "engine", ask(error_rate=7))


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "engines").write_text("a file")
    with pytest.raises(ConfigError, match="cannot be made"):
        Attached(tmp_path / "engines" / "x", ask())


def test_only_another_place_is_another_engine(tmp_path):
    def of(**upstream):
        settings = Settings(upstreams={"a": Upstream(**upstream)})
        return folder_of(tmp_path, HostAsk(settings=settings))

    here = of(url="http://one/v1")
    assert of(url="http://one/v1", key="secret", timeout_s=5, weight=2) == here
    assert of(url="http://two/v1") != here
