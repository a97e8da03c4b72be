"""The speech of a recording, joined, is what `vad` transcribes. Times are then those in the recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from intaglio.runtime.progress import Progress, silent
from intaglio.runtime.tasks.voice.detector import Detector
from intaglio.runtime.tasks.voice.speech import Excerpt, Parameters, Spans
from intaglio.runtime.tasks.whisper.transcript import Segment, Word

if TYPE_CHECKING:
    from intaglio.runtime.session import Session


class Voice:
    """Finds speech, on the device of `session`. The detector is opened at its first use."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @cached_property
    def detector(self) -> Detector:
        return Detector(self._session.device)

    def excerpt(self, samples: np.ndarray, parameters: Parameters, progress: Progress = silent) -> Excerpt:
        """Return the speech in `samples`, f32[n] at 16 kHz."""
        spans = Spans(parameters)
        spans.add(self.detector.probabilities(samples, progress))
        return Excerpt(spans.so_far(len(samples)))


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
