"""What a Whisper hears of a recording that still grows: all of it, the parts that have speech, or its speech, joined.

Samples that are decided do not change any more. Those after them may: a silence is only left out when it is long.
"""

from __future__ import annotations

import numpy as np

from intaglio.runtime.tasks.voice.detector import Detector, Hearing
from intaglio.runtime.tasks.voice.speech import Excerpt, Parameters, Span, Spans
from intaglio.runtime.tasks.whisper.settings import Settings
from intaglio.runtime.tasks.whisper.sound import Sound
from intaglio.runtime.tasks.whisper.voice import SpeechFilter

_NONE = np.empty(0, np.float32)


class Growing:
    """All of a recording. `decided`: the number of samples that do not change any more. `speech`: which parts count."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.speech = SpeechFilter()
        self._samples, self._forgotten = _NONE, 0

    @property
    def decided(self) -> int:
        return self._forgotten + len(self._samples)

    def add(self, samples: np.ndarray) -> None:
        """Append f32[n] at 16 kHz."""
        self._samples = np.concatenate([self._samples, samples])

    def end(self) -> None:
        """Learn that the recording has ended."""

    def sound(self) -> Sound | None:
        """Return the sound so far, or None if it is empty."""
        return Sound(self._samples, self._settings, self._forgotten) if self.decided else None

    def forget(self, before: int) -> None:
        """Drop the samples before this one."""
        if (count := before - self._forgotten) > 0:
            self._samples, self._forgotten = self._samples[count:], before

    def excerpt(self) -> Excerpt | None:
        """Return where the sound is in the recording, or None if it is all of it."""
        return None


class GrowingFiltered(Growing):
    """All of a recording, of which only the parts count that have speech."""

    def __init__(self, settings: Settings, detector: Detector, parameters: Parameters) -> None:
        super().__init__(settings)
        self._hearing, self._spans, self._length = Hearing(detector), Spans(parameters), 0

    def add(self, samples: np.ndarray) -> None:
        super().add(samples)
        self._length += len(samples)
        self._detect(self._hearing.add(samples))

    def end(self) -> None:
        self._detect(self._hearing.end())

    def _detect(self, probabilities: np.ndarray) -> None:
        self._spans.add(probabilities)
        self.speech.spans = self._spans.so_far(self._length)


class GrowingSpeech(Growing):
    """The speech of a recording."""

    def __init__(self, settings: Settings, detector: Detector, parameters: Parameters) -> None:
        super().__init__(settings)
        self._hearing, self._spans = Hearing(detector), Spans(parameters)
        self._rest, self._first = _NONE, 0  # what is not decided, and where it begins in the recording

    @property
    def _length(self) -> int:
        return self._first + len(self._rest)

    def add(self, samples: np.ndarray) -> None:
        self._rest = np.concatenate([self._rest, samples])
        self._spans.add(self._hearing.add(samples))
        decided = min(self._spans.decided, self._length)
        super().add(self._spoken(decided))
        self._rest, self._first = self._rest[decided - self._first :], decided

    def end(self) -> None:
        self._spans.add(self._hearing.end())

    def sound(self) -> Sound | None:
        samples = np.concatenate([self._samples, self._spoken(self._length)])
        return Sound(samples, self._settings, self._forgotten) if self._forgotten + len(samples) else None

    def excerpt(self) -> Excerpt:
        return Excerpt(self._spans.so_far(self._length))

    def _spoken(self, end: int) -> np.ndarray:
        """Return the speech that is not decided, up to the sample `end` of the recording."""
        first = self._first
        parts = [Span(max(s.start, first), min(s.end, end)) for s in self._spans.so_far(self._length)]
        return np.concatenate([_NONE, *(self._rest[p.start - first : p.end - first] for p in parts if p.end > p.start)])
