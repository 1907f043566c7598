"""`python -m bulkrate.testing.providers anthropic --port 0`: a double in the foreground."""

import argparse

from bulkrate.testing.providers import (
    AnthropicDouble,
    Double,
    GeminiDouble,
    MistralDouble,
    OpenAIProxy,
    serve,
)

_DOUBLES: dict[str, type[Double]] = {
    double.name: double for double in (AnthropicDouble, GeminiDouble, MistralDouble)
}


def main() -> None:
    """Serve the double that is asked for."""
    parser = argparse.ArgumentParser(prog="bulkrate.testing.providers")
    parser.add_argument("provider", choices=[*_DOUBLES, "openai"])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", default="test-key", help="the only key that is taken")
    parser.add_argument("--upstream", help="for openai: the URL of the bulkrate server to stand in front of")
    asked = parser.parse_args()
    if asked.provider == "openai":
        if not asked.upstream:
            parser.error("openai stands in front of a real server: name it with --upstream")
        app: Double = OpenAIProxy(asked.upstream, key=asked.key)
    else:
        app = _DOUBLES[asked.provider](key=asked.key)
    serve(app, name=asked.provider, host=asked.host, port=asked.port)


main()
