"""Drops text that nobody said: improbable words between silences, by the rules of OpenAI's whisper/transcribe.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from intaglio.runtime.tasks.whisper.transcript import Segment, Word

PUNCTUATION = "\"'“¿([{-\"'.。,，!！?？:：”)]}、"
IMPROBABLE = 0.15
SHORT, LONG = 0.133, 2.0  # seconds of a word
WORDS = 8  # that tell of a segment
ANOMALOUS = 3.0  # their score
EDGE = 2.0  # seconds at the ends of a window that count as silence


@dataclass(frozen=True)
class Span:
    """Times of a window, in seconds: its own, the end of the speech before it, and the end of the recording.

    whole: where the window ends if it has all its frames.
    """

    start: float
    end: float
    whole: float
    last: float
    recording: float


def begins_late(segments: Sequence[Segment], span: Span, threshold: float) -> float | None:
    """Return the start of the first segment if it is improbable and follows a silence longer than `threshold`."""
    first = _with_words(segments)
    late = first is not None and _anomalous(first) and first.start - span.start > threshold
    return first.start if first is not None and late else None


def surrounded(segments: Sequence[Segment], span: Span, threshold: float) -> int | None:
    """Return the index of the first improbable segment between silences or other improbable segments, or None."""
    last = span.last
    for i, segment in enumerate(segments):
        if not segment.words:
            continue
        if _anomalous(segment):
            following = _with_words(segments[i + 1 :])
            next_start = following.words[0].start if following is not None and following.words else span.end
            before = segment.start - last > threshold or segment.start < threshold or segment.start - span.start < EDGE
            after = next_start - segment.end > threshold or _anomalous(following) or span.whole - segment.end < EDGE
            if before and after:
                return i
        last = segment.end
    return None


def _anomalous(segment: Segment | None) -> bool:
    if segment is None or not segment.words:
        return False
    words = [word for word in segment.words if word.word not in PUNCTUATION][:WORDS]
    score = sum(map(_score, words))
    return score >= ANOMALOUS or score + 0.01 >= len(words)


def _score(word: Word) -> float:
    duration = word.end - word.start
    return (word.probability < IMPROBABLE) + max(0.0, SHORT - duration) * 15 + max(0.0, duration - LONG)


def _with_words(segments: Sequence[Segment]) -> Segment | None:
    return next((segment for segment in segments if segment.words), None)
