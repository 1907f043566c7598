"""`python -m bulkrate.testing.providers anthropic --port 0`: a double in the foreground."""

import argparse

from bulkrate.testing.providers import (
    AnthropicDouble,
    AzureProxy,
    Double,
    GeminiDouble,
    MistralDouble,
    OpenAIProxy,
    serve,
)

_DOUBLES: dict[str, type[Double]] = {
    double.name: double for double in (AnthropicDouble, GeminiDouble, MistralDouble)
}
_PROXIES: dict[str, type[OpenAIProxy]] = {proxy.name: proxy for proxy in (OpenAIProxy, AzureProxy)}


def main() -> None:
    """Serve the double that is asked for."""
    parser = argparse.ArgumentParser(prog="bulkrate.testing.providers")
    parser.add_argument("provider", choices=[*_DOUBLES, *_PROXIES])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", default="test-key", help="the only key that is taken")
    parser.add_argument(
        "--upstream",
        help="for openai and azure: the bulkrate server to stand in front of, as http://127.0.0.1:8080/v1",
    )
    asked = parser.parse_args()
    if asked.provider in _PROXIES:
        if not asked.upstream:
            parser.error(f"{asked.provider} stands in front of a real server: name it with --upstream")
        app: Double = _PROXIES[asked.provider](asked.upstream, key=asked.key)
    else:
        app = _DOUBLES[asked.provider](key=asked.key)
    serve(app, name=asked.provider, host=asked.host, port=asked.port)


main()
