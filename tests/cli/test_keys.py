"""`bulkrate keys`, as one types it."""

import asyncio
import json
import sys
from dataclasses import dataclass

import pytest

from bulkrate.cli import main
from bulkrate.config import Settings
from bulkrate.engine.asks.keys import Keys
from bulkrate.engine.context import close_context, open_context
from bulkrate.errors import Unauthorized


@dataclass(frozen=True)
class Ran:
    exit_code: int
    stdout: str
    stderr: str


@pytest.fixture
def bulkrate(tmp_path, monkeypatch, capsys):
    """Runs the whole command, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("BULKRATE_DATA", "BULKRATE_CONFIG"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["bulkrate", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Ran(int(ended.value.code or 0), out, err)

    return run


@pytest.fixture
def keys(bulkrate, tmp_path):
    """Runs `bulkrate keys` over one data folder."""
    return lambda *words: bulkrate("keys", *words, "--data", str(tmp_path / "data"))


@pytest.fixture
def project_of(tmp_path):
    """What a server over the same folder would say."""

    def ask(secret):
        context = open_context(Settings(data=str(tmp_path / "data")))
        try:
            return asyncio.run(Keys(context).project_of(secret))
        finally:
            close_context(context)

    return ask


def test_create_prints_the_secret_alone_on_stdout(keys, project_of):
    result = keys("create", "--project", "lab", "--name", "nightly")

    assert result.exit_code == 0
    secret = result.stdout.removesuffix("\n")
    assert project_of(secret) == "lab"
    assert "not shown again" in result.stderr
    assert secret not in result.stderr


def test_create_says_when_the_server_closes_to_those_without_a_key(keys):
    assert "answers nobody without one" in keys("create").stderr
    assert "answers nobody without one" not in keys("create").stderr


def test_create_as_json_has_the_key_and_no_digest(keys, project_of):
    made = json.loads(keys("create", "--json").stdout)

    assert project_of(made["key"]) == made["project"] == "default"
    assert set(made) == {"id", "project", "name", "hint", "created_at", "revoked_at", "key"}


def test_list_shows_every_key_and_no_secret(keys):
    secret = keys("create", "--name", "nightly").stdout.strip()
    keys("create", "--name", "hourly", "--project", "lab")
    keys("revoke", "hourly")

    shown = keys("list").stdout
    assert "nightly" in shown
    assert "hourly" in shown
    assert secret not in shown
    listed = json.loads(keys("list", "--json").stdout)
    assert [(key["name"], key["project"], key["revoked_at"] is None) for key in listed] == [
        ("nightly", "default", True),
        ("hourly", "lab", False),
    ]
    assert not any({"digest", "key"} & set(key) for key in listed)


def test_list_without_keys_says_what_that_means(keys):
    result = keys("list")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "answers everyone" in result.stderr
    assert json.loads(keys("list", "--json").stdout) == []


@pytest.mark.parametrize("field", ["id", "name", "hint", "key"])
def test_a_key_is_revoked_by_any_of_its_names(keys, project_of, field):
    keys("create", "--name", "other")
    made = json.loads(keys("create", "--name", "nightly", "--json").stdout)

    result = keys("revoke", made[field])
    assert (result.exit_code, result.stdout) == (0, made["id"] + "\n")
    with pytest.raises(Unauthorized):
        project_of(made["key"])


def test_revoking_the_last_key_warns_that_the_server_is_open(keys):
    keys("create", "--name", "a")
    keys("create", "--name", "b")

    assert "answers everyone" not in keys("revoke", "a").stderr
    result = keys("revoke", "b", "--json")
    assert "answers everyone" in result.stderr
    assert json.loads(result.stdout)["revoked_at"] is not None


def test_revoking_what_is_not_there_fails_in_one_line(keys):
    result = keys("revoke", "nope")

    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr.count("\n") == 1
    assert "'nope'" in result.stderr


def test_a_project_that_cannot_be_is_refused(keys):
    result = keys("create", "--project", "a/b")

    assert result.exit_code == 3
    assert result.stderr.count("\n") == 1


def test_a_missing_configuration_file_is_named(keys):
    result = keys("list", "--config", "nope.toml")

    assert result.exit_code == 3
    assert "nope.toml" in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_data_folder_may_come_from_the_configuration_file(bulkrate, tmp_path, project_of):
    (tmp_path / "my.toml").write_text(f'data = "{tmp_path / "data"}"\n')

    assert project_of(bulkrate("keys", "create", "--config", "my.toml").stdout.strip()) == "default"


def test_the_data_folder_may_come_from_the_environment(bulkrate, tmp_path, project_of, monkeypatch):
    monkeypatch.setenv("BULKRATE_DATA", str(tmp_path / "data"))

    assert project_of(bulkrate("keys", "create").stdout.strip()) == "default"


def test_a_broken_store_fails_in_one_line(keys, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "bulkrate.db").write_bytes(b"not a database at all" * 100)

    result = keys("list")
    assert result.exit_code == 8
    assert result.stderr.count("\n") == 1
