"""Text from tokens as they come, told as soon as it is certain: whole characters, and no beginning of a stop string."""

from __future__ import annotations

from collections.abc import Sequence

from intaglio.runtime.tasks.tokenizer import REPLACEMENT, Tokenizer

_CONTEXT = 8  # tokens of a prompt that tell how a text goes on from it


class Text:
    """What tokens after `prompt` say, cut before the first of `stops`; nothing without a tokenizer."""

    def __init__(self, tokenizer: Tokenizer | None, prompt: Sequence[int], stops: Sequence[str]) -> None:
        self._decoder = None if tokenizer is None else Decoder(tokenizer, prompt)
        self._stops, self._waiting = stops, ""
        self.whole, self.stopped = "", False

    def add(self, token: int) -> str:
        """The text that is certain with this token."""
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
        """The rest: no more tokens follow."""
        return self._tell(len(self._waiting))

    def _tell(self, length: int) -> str:
        certain, self._waiting = self._waiting[:length], self._waiting[length:]
        self.whole += certain
        return certain

    def _begun(self) -> int:
        """How many of the last characters may be the beginning of a stop string."""
        longest = max(map(len, self._stops), default=1) - 1
        for length in range(min(longest, len(self._waiting)), 0, -1):
            if any(stop.startswith(self._waiting[-length:]) for stop in self._stops):
                return length
        return 0


class Decoder:
    """The text of tokens as they come, after `before`; a character comes when its last token does.

    A few tokens before the new ones are decoded with them, because what a token says may depend on those: in some
    tokenizers the first one of a text loses its space.
    """

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._tokens = list(before[-_CONTEXT:])
        self._said, self._text = len(self._tokens), tokenizer.decode(self._tokens)

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
