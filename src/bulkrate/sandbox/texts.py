"""Finds the text in a request, whatever of OpenAI's shapes it comes in, and guesses its tokens.

Messages, prompts and inputs are strings, lists of strings, lists of tokens, lists of token lists, lists of
messages or lists of content parts; one walk reads them all. It never checks that a shape fits its endpoint.
"""

from collections.abc import Iterator

_CHARACTERS_PER_TOKEN = 4  # OpenAI's rule of thumb for English; near enough to rehearse budgets with
_TOKENS_PER_MESSAGE = 4  # role and separators, after OpenAI's cookbook on counting tokens


def tokens_in(text: str) -> int:
    return (len(text) + _CHARACTERS_PER_TOKEN - 1) // _CHARACTERS_PER_TOKEN


def cut_to(text: str, tokens: int) -> str:
    return text[: tokens * _CHARACTERS_PER_TOKEN]


def texts_of(value: object) -> Iterator[str]:
    """Every text in a prompt, input, list of messages or one message, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts_of(item)
    elif isinstance(value, dict):
        yield from texts_of(value.get("content"))
        text = value.get("text")
        if isinstance(text, str):
            yield text


def last_text(value: object) -> str:
    """The last user text; where nobody has a role, the last text."""
    if not isinstance(value, list):
        return "\n".join(texts_of(value))
    messages = [item for item in value if isinstance(item, dict) and "role" in item]
    for message in reversed(messages):
        if message["role"] == "user":
            return "\n".join(texts_of(message))
    if messages:
        return ""
    last = ""
    for last in texts_of(value):  # noqa: B007 - the last one is what is wanted
        pass
    return last


def prompt_tokens(value: object) -> int:
    """Tokens in texts, already made tokens, and what messages cost beside their text."""
    if isinstance(value, str):
        return tokens_in(value)
    if isinstance(value, list):
        return sum(map(prompt_tokens, value))
    if isinstance(value, dict):
        overhead = _TOKENS_PER_MESSAGE if "role" in value else 0
        return overhead + sum(map(tokens_in, texts_of(value)))
    return 1 if isinstance(value, int) else 0
