"""What a transcription returns: a text, whole and in segments."""

from __future__ import annotations

from dataclasses import dataclass, field, replace


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
    """A part of a recording, from `start` to `end` in seconds: its text and tokens, timestamps included.

    seek: the first frame of the window that it is from, of which it has the temperature, the average log-probability of
    a token, the compression ratio of the text and the probability of no speech. words: None unless asked for.
    """

    start: float
    end: float
    text: str
    tokens: list[int]
    id: int = 0
    seek: int = 0
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 0.0
    no_speech_prob: float = 0.0
    words: list[Word] | None = None

    def later(self, seconds: float) -> Segment:
        """Return the segment with its times after a part of the recording that was left out."""
        words = self.words and [word.later(seconds) for word in self.words]
        return replace(self, start=self.start + seconds, end=self.end + seconds, words=words)


@dataclass(frozen=True)
class Transcript:
    """The text of a recording, whole and in segments. `tokens`: without special tokens and timestamps.

    language: None if there was nothing to detect it from. language_name: what it is called in English.
    language_probability: 1 if it was not detected. task: "transcribe" or "translate". duration: of the recording, in
    seconds. notes: what may be missing or wrong, and what to do.
    """

    text: str
    segments: list[Segment]
    language: str | None
    tokens: list[int]
    language_probability: float = 1.0
    duration: float = 0.0
    notes: list[str] = field(default_factory=list)
    language_name: str | None = None
    task: str = "transcribe"

    def later(self, seconds: float) -> Transcript:
        """Return the transcript with its times after a part of the recording that was left out."""
        return replace(self, segments=[segment.later(seconds) for segment in self.segments]) if seconds else self
