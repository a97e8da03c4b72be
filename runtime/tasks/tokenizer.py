"""Encodes text to token ids and decodes it, with the `tokenizers` library and the bundle's tokenizer.json.

Tokens stand for bytes and may end inside a character, so a text is decoded from all of its tokens together.
"""

from __future__ import annotations

from collections.abc import Iterable

import tokenizers

from intaglio.runtime.errors import BadBundle

REPLACEMENT = "\ufffd"  # the text of bytes that are not a whole character


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
        if not isinstance(text, str):
            raise ValueError(f"expected a text, got {type(text).__name__}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"the text is not UTF-8 at character {error.start + 1}; convert it to UTF-8") from None
        return self._tokenizer.encode(text, add_special_tokens=special).ids

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of `tokens`, without special tokens and without an incomplete character at the end."""
        return self.raw(tokens).rstrip(REPLACEMENT)

    def raw(self, tokens: Iterable[int]) -> str:
        """Return the text of `tokens`, without special tokens and with REPLACEMENT for an incomplete character."""
        return self._tokenizer.decode(list(tokens), skip_special_tokens=True)
