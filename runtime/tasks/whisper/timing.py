"""The times of the words of a window, and where the next window begins because of them: whisper/transcribe.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from intaglio.runtime.tasks.tokenizer import Tokenizer
from intaglio.runtime.tasks.whisper import spelling
from intaglio.runtime.tasks.whisper.hallucinations import Span, begins_late, surrounded
from intaglio.runtime.tasks.whisper.options import Options
from intaglio.runtime.tasks.whisper.programs import Programs
from intaglio.runtime.tasks.whisper.settings import Settings
from intaglio.runtime.tasks.whisper.transcript import Segment
from intaglio.runtime.tasks.whisper.words import Punctuation, Timing, Window, with_words


@dataclass(frozen=True)
class Place:
    """A window: `size` frames from `seek` on, of a recording of `frames` frames.

    advance: the frames to the next window by its timestamps. finished: whether these say that no speech follows.
    """

    seek: int
    size: int
    frames: int
    advance: int
    finished: bool


@dataclass(frozen=True)
class Timed:
    """The segments of a window with words, the frame of the next window, and where speech ended so far, in seconds."""

    segments: list[Segment]
    seek: int
    last: float


class Timer:
    """Finds the times of words in the window that was encoded last."""

    def __init__(self, programs: Programs, tokenizer: Tokenizer, settings: Settings, options: Options) -> None:
        self._programs, self._tokenizer, self._settings = programs, tokenizer, settings
        self._marks = Punctuation(options.prepend_punctuations, options.append_punctuations)
        self._threshold = options.hallucination_silence_threshold

    def timed(
        self, segments: Sequence[Segment], prompt: Sequence[int], language: str, place: Place, last: float
    ) -> Timed:
        """Return the segments of the window with words, without those that nobody said.

        prompt: the tokens before a text without times. last: where the speech before the window ended, in seconds.
        """
        s = self._settings
        start, end, recording = map(s.seconds, (place.seek, place.seek + place.size, place.frames))
        window = Window(start, recording, last, s.end, self._marks)
        timings = self._timings(segments, prompt, language, place.size)
        spoken = with_words(segments, timings, window)
        seek = place.seek + place.advance
        said = _end(spoken)
        if not place.finished and said is not None and said > start:
            seek = max(self._frame(said), place.seek + 1)
        if self._threshold is not None:
            span = Span(start, end, s.seconds(place.seek + s.frames), last, recording)
            spoken, seek = self._plausible(spoken, place, span, seek, self._threshold)
        said = _end(spoken)
        return Timed(spoken, seek, last if said is None else said)

    def _timings(self, segments: Sequence[Segment], prompt: Sequence[int], language: str, size: int) -> list[Timing]:
        """Return the words of the text of all segments."""
        s = self._settings
        text = [token for segment in segments for token in segment.tokens if token < s.end]
        if not text:
            return []
        alignment = self._programs.align(prompt, text, size)
        timings, first = list[Timing](), 0
        for word in spelling.words(text, self._tokenizer, language):
            end = first + word.tokens
            begin, stop = (s.seconds(int(alignment.starts[i]) * s.frames_per_timestamp) for i in (first, end))
            probability = float(alignment.probabilities[first:end].mean())
            timings.append(Timing(word.text, word.tokens, begin, stop, probability))
            first = end
        return timings

    def _plausible(
        self, segments: list[Segment], place: Place, span: Span, seek: int, threshold: float
    ) -> tuple[list[Segment], int]:
        """Return the segments without those that nobody said, and the frame of the next window.

        threshold: silences longer than this, in seconds, are skipped where the text around them is improbable.
        """
        said = _end(segments)
        if not place.finished and said is not None and said > span.start:
            seek = self._frame(said) if span.whole - said > threshold else place.seek + place.size
        late = begins_late(segments, span, threshold)
        if late is not None:
            return [], self._frame(late)
        at = surrounded(segments, span, threshold)
        if at is not None:
            wrong = segments[at]
            rest = span.recording - wrong.end >= threshold
            seek = self._frame(max(span.start + 1, wrong.start)) if rest else place.frames
            segments = segments[:at]
        return segments, seek

    def _frame(self, seconds: float) -> int:
        return round(seconds * self._settings.rate / self._settings.hop)


def _end(segments: Sequence[Segment]) -> float | None:
    """Return the end of the last word or, without words, of the last segment."""
    ends = (word.end for segment in reversed(segments) for word in reversed(segment.words or []))
    return next(ends, segments[-1].end if segments else None)
