"""Text to token ids and back, by the bundle's tokenizer.json; the `tokenizers` library does the work.

Tokens stand for bytes, and one may end inside a character: text is decoded from all of its tokens together.
"""

from __future__ import annotations

from collections.abc import Iterable

import tokenizers

from intaglio.runtime.errors import BadBundle

REPLACEMENT = "\ufffd"  # what bytes that are no character are decoded to


class Tokenizer:
    """`content` is a tokenizer.json. Raises BadBundle."""

    def __init__(self, content: bytes) -> None:
        try:
            self._tokenizer = tokenizers.Tokenizer.from_buffer(content)
        except Exception as error:  # the library raises nothing more precise
            raise BadBundle(f"tokenizer.json is broken: {error}; compile the model again") from error
        self._tokenizer.no_truncation()  # exporters leave what training cut and filled up to
        self._tokenizer.no_padding()

    def encode(self, text: str, special: bool = True) -> list[int]:
        """The tokens of `text`. special: with those that the tokenizer itself puts around a text.

        Raises ValueError for what is not a text, or has bytes in it that are not UTF-8 (surrogates, in Python).
        """
        if not isinstance(text, str):
            raise ValueError(f"expected a text, got {type(text).__name__}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"the text is not UTF-8 at character {error.start + 1}; convert it to UTF-8") from None
        return self._tokenizer.encode(text, add_special_tokens=special).ids

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of `tokens`: special ones are dropped, and so is a character that the last of them only begin."""
        return self.raw(tokens).rstrip(REPLACEMENT)

    def raw(self, tokens: Iterable[int]) -> str:
        """The same with a REPLACEMENT for a character that is not whole."""
        return self._tokenizer.decode(list(tokens), skip_special_tokens=True)
