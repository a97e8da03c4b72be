"""What a transcription returns: a text, whole and in segments."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Word:
    """A word with the space before it and the punctuation around it, from `start` to `end` in seconds."""

    start: float
    end: float
    word: str
    probability: float

    def later(self, seconds: float) -> Word:
        """Return the word with its times after a part of the recording that was left out."""
        return replace(self, start=self.start + seconds, end=self.end + seconds)


@dataclass(frozen=True)
class Segment:
    """A part of a recording, from `start` to `end` in seconds: its text and tokens. `words`: None unless asked for."""

    start: float
    end: float
    text: str
    tokens: list[int]
    words: list[Word] | None = None

    def later(self, seconds: float) -> Segment:
        """Return the segment with its times after a part of the recording that was left out."""
        words = self.words and [word.later(seconds) for word in self.words]
        return replace(self, start=self.start + seconds, end=self.end + seconds, words=words)


@dataclass(frozen=True)
class Transcript:
    """The text of a recording, whole and in segments. `tokens`: without special tokens and timestamps.

    language: None if there was nothing to detect it from.
    """

    text: str
    segments: list[Segment]
    language: str | None
    tokens: list[int]

    def later(self, seconds: float) -> Transcript:
        """Return the transcript with its times after a part of the recording that was left out."""
        return replace(self, segments=[segment.later(seconds) for segment in self.segments]) if seconds else self
