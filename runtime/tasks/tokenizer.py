"""Encodes text to token ids and decodes it, with the `tokenizers` library and the bundle's tokenizer.json.

Tokens stand for bytes and may end inside a character, so a text is decoded from all of its tokens together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import tokenizers

from intaglio.runtime.errors import BadBundle

REPLACEMENT = "\ufffd"  # the text of bytes that are not a whole character


@dataclass(frozen=True)
class Encoded:
    """The tokens of a text or of a pair of texts, as far as they fit.

    types: 1 for the tokens of the second text, else 0. count: the tokens before any were left out.
    """

    ids: list[int]
    types: list[int]
    count: int


class Tokenizer:
    """A tokenizer. `content`: the bytes of a tokenizer.json. Raises BadBundle if they are not valid."""

    def __init__(self, content: bytes) -> None:
        try:
            self._tokenizer = tokenizers.Tokenizer.from_buffer(content)
        except Exception as error:  # the library raises nothing more precise
            raise BadBundle(f"tokenizer.json is broken: {error}; compile the model again") from error
        self._tokenizer.no_truncation()  # exporters leave the truncation and the padding of training
        self._tokenizer.no_padding()

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Return the tokens of `text`. special: add the special tokens that the tokenizer puts around a text.

        Raises ValueError if `text` is not a str, or contains surrogates, which stand for bytes that are not UTF-8.
        """
        return self._tokenizer.encode(_checked(text), add_special_tokens=special).ids

    def fit(self, text: str, pair: str | None, most: int, left: bool = False) -> Encoded:
        """Return up to `most` tokens of a text, or of a pair of texts, with the special tokens around them.

        A longer text loses its end, or its beginning if `left`. Of a pair, the longer text loses tokens first.
        Raises ValueError as `encode` does.
        """
        texts = [_checked(t) for t in (text, pair) if t is not None]
        second = texts[1] if pair is not None else None
        whole = self._tokenizer.encode(texts[0], second)
        count = len(whole.ids)
        if count > most:
            room = max(0, most - self._tokenizer.num_special_tokens_to_add(pair is not None))
            parts = [self._tokenizer.encode(t, add_special_tokens=False) for t in texts]
            for part, size in zip(parts, _shares([len(p.ids) for p in parts], room), strict=True):
                part.truncate(size, direction="left" if left else "right")
            whole = self._tokenizer.post_process(parts[0], parts[1] if pair is not None else None)
        return Encoded(whole.ids[:most], whole.type_ids[:most], count)

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of `tokens`, without special tokens and without an incomplete character at the end."""
        return self.raw(tokens).rstrip(REPLACEMENT)

    def raw(self, tokens: Iterable[int]) -> str:
        """Return the text of `tokens`, without special tokens and with REPLACEMENT for an incomplete character."""
        return self._tokenizer.decode(list(tokens), skip_special_tokens=True)


def _checked(text: str) -> str:
    """Return the text. Raises ValueError if it is not a str, or contains surrogates."""
    if not isinstance(text, str):
        raise ValueError(f"expected a text, got {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"the text is not UTF-8 at character {error.start + 1}; convert it to UTF-8") from None
    return text


def _shares(counts: list[int], room: int) -> list[int]:
    """Return how many tokens of each text fit into `room`: the longer one of two gives up its tokens first."""
    if len(counts) == 1:
        return [min(counts[0], room)]
    short = min(counts)
    long = min(max(counts), max(short, room - short))
    if short + long > room:
        short, long = room // 2, room - room // 2
    return [short, long] if counts[0] <= counts[1] else [long, short]
