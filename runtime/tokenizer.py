"""Text to token ids and back, by the bundle's tokenizer.json; the `tokenizers` library does the work.

Tokens stand for bytes, and one may end inside a character: text is decoded from all of its tokens together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import tokenizers

from intaglio.runtime.plan import BadBundle

REPLACEMENT = "\ufffd"  # what bytes that are no character are decoded to
_CONTEXT = 8  # tokens of a prompt that tell how a text goes on from it


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
        """The tokens of `text`. special: with those that the tokenizer itself puts around a text."""
        return self._tokenizer.encode(text, add_special_tokens=special).ids

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of `tokens`: special ones are dropped, and so is a character that the last of them only begin."""
        return self.raw(tokens).rstrip(REPLACEMENT)

    def raw(self, tokens: Iterable[int]) -> str:
        """The same with a REPLACEMENT for a character that is not whole."""
        return self._tokenizer.decode(list(tokens), skip_special_tokens=True)


class Decoder:
    """The text of tokens as they come, after `before`; a character comes when its last token does.

    A few tokens before the new ones are decoded with them, because what a token says may depend on those: in some
    tokenizers the first one of a text loses its space.
    """

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._tokens = list(before[-_CONTEXT:])
        self._said, self._text = len(self._tokens), tokenizer.raw(self._tokens)

    def add(self, token: int) -> str:
        """What is certain with this token, and was not before."""
        self._tokens.append(token)
        text = self._tokenizer.raw(self._tokens)
        if text.endswith(REPLACEMENT):
            return ""
        new = text[len(self._text) :]
        self._tokens = self._tokens[self._said :]
        self._said, self._text = len(self._tokens), self._tokenizer.raw(self._tokens)
        return new
