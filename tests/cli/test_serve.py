"""`bulkrate serve`: what it refuses to start with, each in one line and with exit code 2."""

from __future__ import annotations

import pytest

from bulkrate.engine.folder import owned


def refused(ran) -> str:
    assert (ran.exit_code, ran.stdout) == (3, "")
    assert ran.stderr.startswith("bulkrate: ")
    assert ran.stderr.count("\n") == 1
    return ran.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_without_keys_only_this_machine_may_connect(typed, host):
    told = refused(typed("serve", "--host", host))
    assert host in told
    assert "bulkrate keys create --data bulkrate-data" in told


@pytest.mark.parametrize(
    ("toml", "environ", "words", "told"),
    [
        ("prot = 1", {}, (), "'port'"),
        ("port = 'x'", {}, (), "port"),
        ("port = ", {}, (), "TOML"),
        ("", {"BULKRATE_UPSTREM": "http://a"}, (), "upstrem"),
        ("", {}, ("--upstream", "localhost:8000"), "give the whole address"),
        ("", {}, ("--upstream", "http://a", "--upstream-key", "sk-secret"), "env:NAME"),
        ("", {}, ("--upstream-key", "env:NAME"), "upstream"),
        ("", {}, ("--port", "70000"), "port"),
        ("", {}, ("--config", "gone.toml"), "gone.toml"),
        ("", {}, ("--data", "bulkrate.toml"), "--data"),
    ],
)
def test_a_setting_that_is_wrong_is_named(typed, tmp_path, monkeypatch, toml, environ, words, told):
    (tmp_path / "bulkrate.toml").write_text(toml)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    line = refused(typed("serve", *words))
    assert told in line
    assert "sk-secret" not in line


def test_a_data_folder_has_one_server(typed, tmp_path):
    (tmp_path / "data").mkdir()
    with owned(tmp_path / "data"):
        told = refused(typed("serve", "--data", tmp_path / "data"))
    assert "in use by another server" in told
    assert "--data" in told


def test_a_data_folder_of_another_version_is_left_alone(typed, tmp_path):
    import sqlite3

    from bulkrate.store import Store

    (tmp_path / "data").mkdir()
    Store(tmp_path / "data" / "bulkrate.db").close()
    connection = sqlite3.connect(tmp_path / "data" / "bulkrate.db")
    connection.execute("UPDATE about SET schema_version = 99")
    connection.commit()
    connection.close()
    ran = typed("serve", "--data", tmp_path / "data")
    assert ran.exit_code == 8
    assert "schema 99" in ran.stderr
    assert ran.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [(("--error-rate", "2"), "error"), (("--latency-ms", "-1"), "latency"), (("--port", "70000"), "port")],
)
def test_a_sandbox_that_cannot_be_is_refused(typed, words, told):
    assert told in refused(typed("sandbox", *words))
