"""Where a job runs: a server with the Batch API, or an engine of our own in front of upstreams.

What was asked for counts first, then the configuration, then the environment, then what listens on this
machine. Nothing found is an error that lists the choices; nothing is ever made up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from bulkrate import config
from bulkrate.config import Settings, Upstream, revealed_key, shown_url
from bulkrate.errors import ConfigError, ServerUnreachable
from bulkrate.providers.batch.limits import limits_for
from bulkrate.toolkit.places.batch_api import BatchApi
from bulkrate.toolkit.places.host import Attached, HostAsk, folder_of
from bulkrate.toolkit.places.providers import PROVIDERS, found, upstream_of
from bulkrate.wording import either

SANDBOX = "sandbox"
#: Where inference servers listen when nobody told them otherwise.
USUAL_PLACES = {
    "bulkrate": "http://127.0.0.1:8080/v1",
    "vLLM or SGLang": "http://127.0.0.1:8000/v1",
    "SGLang": "http://127.0.0.1:30000/v1",
    "Ollama": "http://127.0.0.1:11434/v1",
    "llama.cpp": "http://127.0.0.1:8080/v1",
    "LM Studio": "http://127.0.0.1:1234/v1",
}
_PROBE_PATIENCE_S = 0.0
# A hosted Batch API is asked at OpenAI's own pace; our own can bear more.
_FOREIGN_POLL_S = (10.0, 60.0)
_OUR_POLL_S = (0.1, 2.0)


class PlaceAsk(msgspec.Struct, frozen=True, kw_only=True):
    """Where it runs: a server with the Batch API, or an engine of ours in front of upstreams.

    Keys are addresses (`env:NAME`, `file:PATH`). `providers` are names; their own batch APIs are taken unless
    it shall be `online`. `sandbox` holds the options of a sandbox.
    """

    server: str | None = None
    server_key: str | None = None
    upstreams: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    online: bool = False
    upstream_key: str | None = None
    config: str | None = None
    sandbox: dict[str, Any] | None = None

    def keyless(self) -> PlaceAsk:
        """The same place, whatever key opens it: a key that was wrong may be put right where it runs."""
        return msgspec.structs.replace(self, server_key=None, upstream_key=None)


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """How much one batch may hold."""

    lines: int
    bytes: int
    #: Whether all lines of a batch must be for one model.
    one_model: bool


#: A bulkrate server takes ten million lines; smaller parts show up sooner when something is wrong with them.
OURS = Cut(lines=1_000_000, bytes=4 << 30, one_model=False)
_HOSTED = limits_for("openai", "")
#: What a Batch API takes that is not ours: OpenAI's limits, but 200 MB as those count them who mean less by
#: it.
OPENAI = Cut(lines=_HOSTED.lines_max, bytes=min(_HOSTED.bytes_max, 200_000_000), one_model=_HOSTED.one_model)


class Place:
    """A Batch API to run on. Close it when done: an engine of ours stops when nobody needs it."""

    def __init__(
        self, api: BatchApi, *, attached: Attached | None, ours: bool, upstreams: list[Upstream]
    ) -> None:
        self._api = api
        self._attached = attached
        #: Whether the server is a bulkrate, with more than OpenAI's API.
        self.ours = ours
        #: The upstreams, where they are known.
        self.upstreams = upstreams
        self.poll_s = _OUR_POLL_S if ours else _FOREIGN_POLL_S

    @property
    def api(self) -> BatchApi:
        """The Batch API."""
        return self._attached.api if self._attached else self._api

    @property
    def embedded(self) -> bool:
        """Whether the engine is ours alone: nobody else reads its files."""
        return self._attached is not None

    @property
    def cut(self) -> Cut:
        """How much one batch may hold here."""
        return OURS if self.ours else OPENAI

    @property
    def where(self) -> str:
        """For people: what answers the requests."""
        if self._attached is None:
            return f"the Batch API at {shown_url(self.api.url)}"
        return ", ".join(map(_shown, self.upstreams)) or SANDBOX

    def again(self) -> bool:
        """The server does not answer: start the engine again if it is ours. False when it is not."""
        if self._attached is None:
            return False
        self._attached.again()
        return True

    def close(self) -> None:
        """Let go."""
        if self._attached is not None:
            self._attached.close()
        else:
            self._api.close()


def settle(ask: PlaceAsk, environ: Mapping[str, str]) -> PlaceAsk:
    """Where to run when `ask` does not say: looked for once, so that a job stays where it began.

    Raises `ConfigError` when there is nothing.
    """
    if ask.server or ask.upstreams or ask.providers or ask.sandbox is not None:
        return ask
    settings = settings_of(ask, environ)
    if settings.server:
        return msgspec.structs.replace(ask, server=settings.server)
    if settings.upstreams:
        return ask
    if base := environ.get("OPENAI_BASE_URL"):
        return _placed(ask, base, "env:OPENAI_API_KEY" if environ.get("OPENAI_API_KEY") else None)
    if providers := found(environ):
        return msgspec.structs.replace(ask, providers=providers)
    for url in dict.fromkeys(USUAL_PLACES.values()):
        if _answers(url):
            return _placed(ask, url, None)
    raise ConfigError(_nothing_found())


def open_place(
    ask: PlaceAsk, home: Path, environ: Mapping[str, str], *, tell: Callable[[str], None] = lambda _: None
) -> Place:
    """The place that a settled `ask` names, ready to be used. Raises `ConfigError`, `ServerUnreachable`."""
    settings = settings_of(ask, environ)
    if ask.server:
        where = settings.server_key if settings.server == ask.server else None
        api = BatchApi(
            ask.server, revealed_key(ask.server_key, either("--server-key", "server_key"), environ) or where
        )
        api.reach()
        return Place(api, attached=None, ours=api.is_bulkrate(), upstreams=[])
    host = HostAsk(settings=settings, sandbox=ask.sandbox)
    attached = Attached(folder_of(home, host), host, tell=tell)
    return Place(attached.api, attached=attached, ours=True, upstreams=list(settings.upstreams.values()))


def asked_place(
    *,
    server: str | None = None,
    server_key: str | None = None,
    upstreams: list[str] | None = None,
    upstream_key: str | None = None,
    config_file: str | None = None,
    online: bool = False,
) -> PlaceAsk:
    """What flags or arguments ask for. `upstreams` are URLs, names of `PROVIDERS`, or a `sandbox` with
    options as in a URL's query: `sandbox?latency_ms=200&error_rate=0.01`. Raises `ConfigError`.
    """
    if server and upstreams:
        both = either("--server and --upstream", "server and upstream")
        raise ConfigError(f"{both} are two places to run; give one of them")
    if server and not _is_address(server):
        raise ConfigError(f"{shown_url(server)!r} is no address of a server; give http://HOST:PORT/v1")
    sandbox = None
    urls, providers = [], []
    for upstream in upstreams or []:
        name, _, query = upstream.partition("?")
        if name == SANDBOX:
            sandbox = _sandbox_options(query)
        elif name in PROVIDERS:
            providers.append(name)
        elif "://" in upstream:
            urls.append(upstream)
        else:
            raise ConfigError(
                f"{either('--upstream ', 'upstream=')}{upstream!r} is no address; "
                f"give one as http://localhost:8000/v1, or a name: {', '.join(PROVIDERS)}, {SANDBOX}"
            )
    if upstream_key and len(providers) > 1 and not urls:
        raise ConfigError(
            f"{either('--upstream-key', 'upstream_key=')} is one key, and {' and '.join(providers)} have "
            "a key each; put them into the environment"
        )
    return PlaceAsk(
        server=server,
        server_key=server_key,
        upstreams=tuple(urls),
        providers=tuple(providers),
        online=online,
        upstream_key=upstream_key,
        config=config_file,
        sandbox=sandbox,
    )


def settings_of(ask: PlaceAsk, environ: Mapping[str, str]) -> Settings:
    """The settings in force where `ask` runs: the upstreams are those that are meant. Raises
    `ConfigError`.
    """
    upstreams: dict[str, dict[str, Any]] = {
        name: upstream_of(name, environ, online=ask.online, alone=len(ask.providers) == 1)
        for name in ask.providers
    }
    key = {} if ask.upstream_key is None else {"key": ask.upstream_key}
    if not ask.upstreams:  # it is the provider's; beside a server of one's own it is the server's
        upstreams = {name: settings | key for name, settings in upstreams.items()}
    upstreams |= {f"upstream-{n}": {"url": url} | key for n, url in enumerate(ask.upstreams, start=1)}
    flags = {"upstreams": upstreams} if upstreams else {}
    settings = config.load(file=Path(ask.config) if ask.config else None, environ=environ, flags=flags)
    if not upstreams and ask.sandbox is None:
        return settings
    # What is named on the command line is meant alone: no upstream of the configuration joins in.
    return msgspec.structs.replace(settings, upstreams={name: settings.upstreams[name] for name in upstreams})


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # a bracket that is not closed, a port that is none
        return False


def _shown(upstream: Upstream) -> str:
    return f"the batch API at {upstream.address}" if upstream.delegated else upstream.address


def _placed(ask: PlaceAsk, url: str, key: str | None) -> PlaceAsk:
    api = BatchApi(url, None, patience_s=_PROBE_PATIENCE_S)
    try:
        if api.is_bulkrate():
            return msgspec.structs.replace(ask, server=url, server_key=key)
    finally:
        api.close()
    return msgspec.structs.replace(ask, upstreams=(url,), upstream_key=key)


def _answers(url: str) -> bool:
    api = BatchApi(url, None, patience_s=_PROBE_PATIENCE_S)
    try:
        return api.is_bulkrate() or api.models() is not None
    except (ServerUnreachable, ConfigError):
        return False
    except Exception:  # noqa: BLE001  # whatever else listens there is no inference server
        return False
    finally:
        api.close()


def _sandbox_options(query: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        try:
            options[name] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            options[name] = value
    return options


def _nothing_found() -> str:
    looked = ", ".join(f"{name} at {url}" for name, url in USUAL_PLACES.items())
    sandbox = either("--upstream sandbox", 'upstream="sandbox"')
    return (
        "there is nowhere to run. Name one of these:\n"
        f"  {either('--upstream URL    ', 'upstream=URL      ')}    "
        "an OpenAI-compatible inference server (vLLM, Ollama, llama.cpp, …)\n"
        f"  {either('--server URL      ', 'server=URL        ')}    a bulkrate server, or another Batch API\n"
        "  OPENAI_API_KEY=…      or ANTHROPIC_API_KEY, GEMINI_API_KEY, MISTRAL_API_KEY, OPENAI_BASE_URL\n"
        "  [upstreams.NAME]      in bulkrate.toml\n"
        f"  {sandbox}    a rehearsal without a model: its answers mean nothing\n"
        f"Looked in vain for {looked}"
    )
