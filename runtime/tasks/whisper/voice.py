"""Where a recording has speech. By default windows and segments without speech are left out. With `vad` only the speech
is transcribed, joined; times are then those in the recording.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from intaglio.runtime.progress import Progress, silent
from intaglio.runtime.tasks.voice.detector import Detector
from intaglio.runtime.tasks.voice.speech import RATE, Excerpt, Parameters, Span, Spans
from intaglio.runtime.tasks.whisper.transcript import Segment, Word

if TYPE_CHECKING:
    from intaglio.runtime.session import Session

LOUD = 0.5  # the peak of what the detector hears, at least: below -40 dB of full scale it misses speech


class Voice:
    """Finds speech, on the device of `session`. The detector is opened at its first use."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @cached_property
    def detector(self) -> Detector:
        return Detector(self._session.device)

    def spans(self, samples: np.ndarray, parameters: Parameters, progress: Progress = silent) -> list[Span]:
        """Return where `samples`, f32[n] at 16 kHz, have speech, in order."""
        spans = Spans(parameters)
        spans.add(self.detector.probabilities(amplified(samples), progress))
        return spans.so_far(len(samples))


def amplified(samples: np.ndarray) -> np.ndarray:
    """Return `samples` with a peak of at least LOUD, unless all are 0."""
    peak = float(np.abs(samples).max(initial=0.0))
    return samples * np.float32(LOUD / peak) if 0 < peak < LOUD else samples


class SpeechFilter:
    """Tells which parts of a recording have speech. spans: in order; None: every part counts."""

    def __init__(self, spans: Sequence[Span] | None = None) -> None:
        self.spans = spans

    def passes(self, start: float, end: float) -> bool:
        """Return whether there is speech between two times in seconds."""
        return self.spans is None or any(start * RATE < span.end and end * RATE > span.start for span in self.spans)


def restored(segments: Sequence[Segment], excerpt: Excerpt) -> list[Segment]:
    """Return the segments of an excerpt with their times, and those of their words, in the recording."""
    return [_restored(segment, excerpt) for segment in segments]


def _restored(segment: Segment, excerpt: Excerpt) -> Segment:
    if not segment.words:
        start, end = excerpt.original(segment.start), excerpt.original(segment.end, end=True)
        return replace(segment, start=start, end=end)
    words = [_word(word, excerpt) for word in segment.words]
    return replace(segment, start=words[0].start, end=words[-1].end, words=words)


def _word(word: Word, excerpt: Excerpt) -> Word:
    """Return a word with both its times in the span where its middle is."""
    middle = (word.start + word.end) / 2
    start, end = (excerpt.original(time, beside=middle) for time in (word.start, word.end))
    return replace(word, start=start, end=end)
