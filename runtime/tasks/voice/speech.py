"""Which parts of a recording are speech, by the probabilities of its windows: the rules of faster-whisper 1.2.1.

A span begins with the first window at or above a threshold. It ends where a silence begins that is long enough. Then
spans are padded. Positions are counted in samples at 16 kHz.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Any, Self

import numpy as np

from intaglio.runtime.audio.recording import BLOCK
from intaglio.runtime.audio.samples import joined

RATE = 16_000  # Hz
WINDOW = 512  # samples that a probability is of, 32 ms
_LOWEST = 0.01  # the default of neg_threshold is at least this
_BELOW = 0.15  # what it is below the threshold
_PAUSE = 98 * RATE / 1000  # a longer silence is where a span that is too long is divided


@dataclass(frozen=True)
class Parameters:
    """What counts as speech, under the names and with the defaults of faster-whisper's VadOptions.

    threshold: windows at least this probable are speech. neg_threshold: in speech, windows less probable than this are
    silence; None: 0.15 below the threshold. min_speech_duration_ms: shorter spans are dropped. max_speech_duration_s:
    longer spans are divided, at their last silence above 98 ms if they have one. min_silence_duration_ms: a shorter
    silence does not end a span. speech_pad_ms: what is added at both ends of a span.
    """

    threshold: float = 0.5
    neg_threshold: float | None = None
    min_speech_duration_ms: float = 0
    max_speech_duration_s: float = math.inf
    min_silence_duration_ms: float = 2000
    speech_pad_ms: float = 400

    def __post_init__(self) -> None:
        for name in ("threshold", "neg_threshold"):
            value = getattr(self, name)
            if value is not None and not (_number(value) and 0 < value < 1):
                raise ValueError(f"{name} must be between 0 and 1, got {value!r}")
        for name in ("min_speech_duration_ms", "min_silence_duration_ms", "speech_pad_ms", "max_speech_duration_s"):
            value = getattr(self, name)
            if not (_number(value) and value >= 0):
                raise ValueError(f"{name} must be 0 or more, got {value!r}")
        if self.low > self.threshold:
            raise ValueError(f"neg_threshold must not be above threshold, got {self.low!r} and {self.threshold!r}")
        if self.longest <= 0:
            raise ValueError(
                f"max_speech_duration_s must be longer than the padding, got {self.max_speech_duration_s!r} with "
                f"speech_pad_ms {self.speech_pad_ms!r}"
            )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Return the parameters that `values` sets by name. Raises ValueError for an unknown name or a wrong value."""
        names = [field.name for field in fields(cls)]
        if unknown := [name for name in values if name not in names]:
            raise ValueError(f"unknown parameter {unknown[0]!r} of voice activity; expected one of {', '.join(names)}")
        return cls(**values)

    @property
    def low(self) -> float:
        """The probability below which a window in speech is silence."""
        return max(self.threshold - _BELOW, _LOWEST) if self.neg_threshold is None else self.neg_threshold

    @property
    def padding(self) -> float:
        return RATE * self.speech_pad_ms / 1000

    @property
    def shortest(self) -> float:
        return RATE * self.min_speech_duration_ms / 1000

    @property
    def silence(self) -> float:
        return RATE * self.min_silence_duration_ms / 1000

    @property
    def longest(self) -> float:
        return RATE * self.max_speech_duration_s - WINDOW - 2 * self.padding


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Span:
    """A part of a recording, from sample `start` to sample `end`."""

    start: int
    end: int


class Spans:
    """Finds the spans of a recording whose windows come one after another."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._finished: list[Span] = []
        self._at = 0  # the first sample of the next window
        self._start: int | None = None  # of the span that has not ended
        self._silence: int | None = None  # where its last silence began, while that lasts
        self._cut: int | None = None  # where its last silence above 98 ms began
        self._resumed: int | None = None  # where speech went on after that silence

    def add(self, probabilities: Iterable[float]) -> None:
        for probability in probabilities:
            self._window(float(probability))
            self._at += WINDOW

    def so_far(self, length: int) -> list[Span]:
        """Return the spans if the recording ends here, after `length` samples: padded, and in order."""
        spans = list(self._finished)
        if self._start is not None and length - self._start > self._parameters.shortest:
            spans.append(Span(self._start, length))
        return _padded(spans, length, self._parameters.padding)

    @property
    def decided(self) -> int:
        """The sample up to which no later window changes what belongs to the padded spans."""
        p, end = self._parameters, self._finished[-1].end if self._finished else None
        if self._start is not None and (sure := self._sure()) - self._start > p.shortest:
            return sure
        begin = self._at if self._start is None else self._start  # the next span begins there, or later
        if end is None or begin - end >= 2 * p.padding:
            return max(0, int(begin - p.padding))
        return end

    def _sure(self) -> int:
        """Return the sample up to which the span that has not ended surely goes, if it is long enough."""
        ends = [self._at, self._silence, self._cut if self._parameters.longest < math.inf else None]
        return min(end for end in ends if end is not None)

    def _window(self, probability: float) -> None:
        p, at = self._parameters, self._at
        speech = probability >= p.threshold
        if speech and self._silence is not None:
            self._silence = None
            if self._cut is not None and self._resumed is None:
                self._resumed = at
        if speech and self._start is None:
            self._start = at
            return
        if self._start is not None and at - self._start > p.longest and self._divide(self._start, at):
            return
        if self._start is not None and probability < p.low:
            self._quiet(self._start, at)

    def _divide(self, start: int, at: int) -> bool:
        """Divide a span that is too long. Returns whether it had no silence: then this window is in no span."""
        cut, resumed = self._cut, self._resumed
        self._finish(start, at if cut is None else cut)
        self._start = resumed
        return cut is None

    def _quiet(self, start: int, at: int) -> None:
        """Go on with a silence in a span, or begin it; one that is long enough ends the span."""
        if self._silence is None:
            self._silence = at
        if at - self._silence > _PAUSE and self._cut != self._silence:
            self._cut, self._resumed = self._silence, None
        if at - self._silence < self._parameters.silence:
            return
        if self._silence - start > self._parameters.shortest:
            self._finish(start, self._silence)
        else:
            self._forget()

    def _finish(self, start: int, end: int) -> None:
        self._finished.append(Span(start, end))
        self._forget()

    def _forget(self) -> None:
        self._start = self._silence = self._cut = self._resumed = None


def _padded(spans: list[Span], length: int, padding: float) -> list[Span]:
    """Add `padding` samples at both ends of each span. Two spans share a silence between them that is too short."""
    starts, ends = [s.start for s in spans], [s.end for s in spans]
    if spans:
        starts[0] = int(max(0, starts[0] - padding))
        ends[-1] = int(min(length, ends[-1] + padding))
    for i in range(1, len(spans)):
        silence = starts[i] - ends[i - 1]
        share = silence // 2 if silence < 2 * padding else padding
        ends[i - 1] = int(min(length, ends[i - 1] + share))
        starts[i] = int(max(0, starts[i] - share))
    return [Span(start, end) for start, end in zip(starts, ends, strict=True)]


def beginning(spans: Iterable[Span], count: int) -> list[Span]:
    """Return the first spans, as many as have `count` samples, or all."""
    result = []
    for span in spans:
        if count <= 0:
            break
        result.append(span)
        count -= span.end - span.start
    return result


class Excerpt:
    """The spans of a recording, joined, and where its times are in the recording."""

    def __init__(self, spans: list[Span]) -> None:
        self.spans = spans
        lengths = [span.end - span.start for span in spans]
        self._ends = list(accumulate(lengths))  # of each span in the excerpt
        self._shifts = [span.end - end for span, end in zip(spans, self._ends, strict=True)]

    @property
    def seconds(self) -> float:
        return self._ends[-1] / RATE if self._ends else 0.0

    def samples(self, recording: np.ndarray) -> np.ndarray:
        """Return the samples of the spans, joined."""
        return joined(
            recording[at : min(at + BLOCK, span.end)]
            for span in self.spans
            for at in range(span.start, span.end, BLOCK)
        )

    def original(self, seconds: float, end: bool = False, beside: float | None = None) -> float:
        """Return the time in the recording of a time in the excerpt, rounded to 10 ms.

        A time between two spans belongs to the later one, or with `end` to the earlier one. `beside`: a time in the
        excerpt whose span counts instead; the two times of a word then stay in one span.
        """
        at = int((seconds if beside is None else beside) * RATE)
        index = bisect_left(self._ends, at) if end and at in self._ends else bisect_right(self._ends, at)
        return round(self._shifts[min(index, len(self._ends) - 1)] / RATE + seconds, 2)
