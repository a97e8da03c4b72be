"""Decodes tokens to text as they arrive, as soon as it is certain: whole characters, and no start of a stop string."""

from __future__ import annotations

from collections.abc import Sequence

from intaglio.runtime.tasks.tokenizer import REPLACEMENT, Tokenizer

_CONTEXT = 8  # tokens of a prompt that are decoded with the first new ones


class Text:
    """The text of the tokens after `prompt`, up to the first of `stops`. It is empty without a tokenizer."""

    def __init__(self, tokenizer: Tokenizer | None, prompt: Sequence[int], stops: Sequence[str]) -> None:
        self._decoder = None if tokenizer is None else Decoder(tokenizer, prompt)
        self._stops, self._waiting = stops, ""
        self.whole, self.stopped = "", False

    def add(self, token: int) -> str:
        """Add a token. Returns the text that is now certain."""
        if self._decoder is None:
            return ""
        self._waiting += self._decoder.add(token)
        places = [at for stop in self._stops if (at := self._waiting.find(stop)) >= 0]
        self.stopped = bool(places)
        if places:
            self._waiting = self._waiting[: min(places)]
            return self.end()
        return self._tell(len(self._waiting) - self._begun())

    def end(self) -> str:
        """Return the rest of the text, because no more tokens follow."""
        return self._tell(len(self._waiting))

    def _tell(self, length: int) -> str:
        certain, self._waiting = self._waiting[:length], self._waiting[length:]
        self.whole += certain
        return certain

    def _begun(self) -> int:
        """Return how many of the last characters may be the start of a stop string."""
        longest = max(map(len, self._stops), default=1) - 1
        for length in range(min(longest, len(self._waiting)), 0, -1):
            if any(stop.startswith(self._waiting[-length:]) for stop in self._stops):
                return length
        return 0


class Decoder:
    """Decodes tokens as they arrive, after the tokens `before`. A character is returned with its last token.

    New tokens are decoded together with a few earlier ones, because their text may depend on those. Some tokenizers
    drop the space of a text's first token.
    """

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._tokens = list(before[-_CONTEXT:])
        self._said, self._text = len(self._tokens), tokenizer.decode(self._tokens)

    def add(self, token: int) -> str:
        """Add a token. Returns the text that is now certain and was not before."""
        self._tokens.append(token)
        text = self._tokenizer.raw(self._tokens)
        if text.endswith(REPLACEMENT):
            return ""
        new = text[len(self._text) :]
        self._tokens = self._tokens[self._said :]
        self._said, self._text = len(self._tokens), self._tokenizer.raw(self._tokens)
        return new
