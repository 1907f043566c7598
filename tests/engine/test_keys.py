"""Who is asking."""

import asyncio
import re
from dataclasses import replace

import msgspec
import pytest

from bulkrate.config import Settings
from bulkrate.engine.asks.keys import Keys, digest_of, masked
from bulkrate.engine.context import close_context, open_context
from bulkrate.errors import Conflict, InvalidRequest, NotFound, Unauthorized


@pytest.fixture
def context(tmp_path):
    context = open_context(Settings(data=str(tmp_path)))
    yield context
    close_context(context)


@pytest.fixture
def keys(context):
    return Keys(context)


def run(awaitable):
    return asyncio.run(awaitable)


@pytest.mark.parametrize("secret", [None, "", "sk-anything", "sk-ü"])
def test_without_any_key_everyone_is_the_default_project(keys, secret):
    assert run(keys.project_of(secret)) == "default"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost"])
def test_a_server_of_this_machine_alone_may_be_open(context, host):
    settings = msgspec.structs.replace(context.settings, host=host)

    assert run(Keys(replace(context, settings=settings)).project_of(None)) == "default"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "batch.example.com", ""])
def test_revoking_the_last_key_opens_no_server_that_others_can_reach(context, host):
    settings = msgspec.structs.replace(context.settings, host=host)
    keys = Keys(replace(context, settings=settings))
    _, secret = run(keys.create("default", "last"))
    run(keys.revoke("last"))

    for given in (None, secret):
        with pytest.raises(Unauthorized):
            run(keys.project_of(given))


def test_a_key_is_its_prefix_and_43_urlsafe_characters(keys):
    _, secret = run(keys.create("default", ""))

    assert re.fullmatch(r"sk-bulkrate-[A-Za-z0-9_-]{43}", secret)


def test_a_key_opens_its_own_project(keys):
    _, lab = run(keys.create("lab", "one"))
    _, shop = run(keys.create("shop", "two"))

    assert run(keys.project_of(lab)) == "lab"
    assert run(keys.project_of(shop)) == "shop"


@pytest.mark.parametrize("secret", [None, ""])
def test_a_missing_key_is_refused_as_openai_does(keys, secret):
    run(keys.create("default", ""))

    with pytest.raises(Unauthorized, match="You didn't provide an API key") as caught:
        run(keys.project_of(secret))
    assert (caught.value.status, caught.value.code, caught.value.param) == (401, None, None)


def test_a_wrong_key_is_refused_and_hardly_shown(keys):
    run(keys.create("default", ""))
    wrong = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789"

    with pytest.raises(Unauthorized, match=r"Incorrect API key provided: sk-\.\.\.6789\.") as caught:
        run(keys.project_of(wrong))
    assert (caught.value.code, caught.value.type) == ("invalid_api_key", "invalid_request_error")


def test_a_revoked_key_is_refused_from_the_next_request_on(keys):
    run(keys.create("default", "other"))
    key, secret = run(keys.create("lab", "mine"))
    assert run(keys.project_of(secret)) == "lab"

    assert run(keys.revoke("mine")).id == key.id
    with pytest.raises(Unauthorized) as caught:
        run(keys.project_of(secret))
    assert caught.value.code == "invalid_api_key"


def test_a_key_made_beside_a_running_server_counts_at_once(keys, context, tmp_path):
    assert run(keys.project_of(None)) == "default"
    beside = open_context(context.settings)
    _, secret = run(Keys(beside).create("lab", ""))
    close_context(beside)

    assert run(keys.project_of(secret)) == "lab"
    with pytest.raises(Unauthorized):
        run(keys.project_of(None))


def test_the_secret_is_nowhere_in_the_data_folder(keys, context, tmp_path):
    key, secret = run(keys.create("default", ""))

    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert key.digest.encode() in stored
    assert secret.encode() not in stored
    assert key.digest == digest_of(secret)


def test_a_leaked_key_is_revoked_by_itself(keys):
    key, secret = run(keys.create("default", ""))

    assert run(keys.revoke(secret)).id == key.id


def test_revoking_what_could_mean_several_keys_names_them(keys):
    ids = {run(keys.create("default", "nightly"))[0].id for _ in range(2)}

    with pytest.raises(Conflict) as caught:
        run(keys.revoke("nightly"))
    assert all(key_id in caught.value.message for key_id in ids)


def test_revoking_what_is_no_key_says_so(keys):
    with pytest.raises(NotFound, match="'nope'"):
        run(keys.revoke("nope"))


def test_all_keys_are_listed_oldest_first_without_secrets(keys):
    made = [run(keys.create("default", name)) for name in ("a", "b")]
    run(keys.revoke("a"))

    found = run(keys.list())
    assert [key.name for key in found] == ["a", "b"]
    assert found[0].revoked_at is not None
    assert not any(secret in repr(found) for _, secret in made)


@pytest.mark.parametrize("project", ["", "a/b", "a b", "-a", "x" * 65, "é"])
def test_a_project_is_named_in_plain_characters(keys, project):
    with pytest.raises(InvalidRequest) as caught:
        run(keys.create(project, ""))
    assert (caught.value.code, caught.value.param) == ("invalid_value", "project")


@pytest.mark.parametrize("name", ["x" * 257, "a\x1b[2J"])
def test_a_name_is_short_and_printable(keys, name):
    with pytest.raises(InvalidRequest) as caught:
        run(keys.create("default", name))
    assert caught.value.param == "name"


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        ("sk-bulkrate-" + "a" * 39 + "wxyz", "sk-bulkrate-aaaa...wxyz"),
        ("sk-bulkrate-short", "..."),
        ("hunter2", "..."),
        ("", "..."),
        ("p" * 40, "ppp...pppp"),
    ],
)
def test_a_masked_key_keeps_its_middle_to_itself(secret, shown):
    assert masked(secret) == shown
