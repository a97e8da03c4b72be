"""The speech of a recording, joined, is what `vad` transcribes. Times are then those in the recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from intaglio.runtime.progress import Progress, silent
from intaglio.runtime.tasks.voice.detector import Detector
from intaglio.runtime.tasks.voice.speech import Excerpt, Parameters, Spans
from intaglio.runtime.tasks.whisper.transcript import Segment, Word

Part = TypeVar("Part", Segment, Word)

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
    """Return the segments of an excerpt with their times, and those of words, in the recording."""
    return [replace(_moved(s, excerpt), words=s.words and [_moved(w, excerpt) for w in s.words]) for s in segments]


def _moved(part: Part, excerpt: Excerpt) -> Part:
    return replace(part, start=excerpt.original(part.start), end=excerpt.original(part.end, end=True))
