"""The text before a window, which the model continues, as in whisper/transcribe.py and decoding.py."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class History:
    """The tokens before a window.

    initial: a prompt before the first one. carried: the prompt comes before every one. hotwords: what always comes
    first. limit: the most tokens. said: those of the windows so far, timestamps included, since the last text that
    should not be continued. fresh: no text was forgotten, so the initial prompt still counts.
    """

    initial: tuple[int, ...]
    carried: bool
    hotwords: tuple[int, ...]
    limit: int
    said: tuple[int, ...] = ()
    fresh: bool = True

    @property
    def tokens(self) -> list[int]:
        """The tokens before the next window, the latest of them where there are too many."""
        first = list(self.hotwords[: self.limit])
        if self.carried:
            first = [*first, *self.initial][: self.limit]
        before = [*(self.initial if self.fresh and not self.carried else ()), *self.said]
        room = self.limit - len(first)
        return first + (before[-room:] if room else [])

    def after(self, tokens: list[int], continued: bool) -> History:
        """Return the history after a window. continued: whether the next window should continue its text."""
        if not continued:
            return History(self.initial, self.carried, self.hotwords, self.limit, (), False)
        return History(self.initial, self.carried, self.hotwords, self.limit, (*self.said, *tokens), self.fresh)
