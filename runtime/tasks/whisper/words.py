"""Words with times, in segments: punctuation joins words, and words beside a pause are shortened.

The rules are those of OpenAI's reference, whisper/timing.py. Beyond them, times never go backwards, nor past the end of
the recording.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from intaglio.runtime.tasks.whisper.transcript import Segment, Word

SENTENCE_ENDS = ".。!！?？"
LONGEST_MEDIAN = 0.7  # seconds
TOLERANCE = 0.5  # seconds by which words may exceed the model's own times of their segment


@dataclass(frozen=True)
class Timing:
    """A word of `tokens` tokens, in seconds from the beginning of its window."""

    text: str
    tokens: int
    start: float
    end: float
    probability: float

    @property
    def duration(self) -> float:
        return self.end - self.start


@dataclass(frozen=True)
class Punctuation:
    """Characters that belong to the word after them, and to the word before them."""

    prepended: str
    appended: str


def median(timings: Sequence[Timing]) -> float:
    """Return the median duration of the words that have one, up to LONGEST_MEDIAN."""
    durations = [timing.duration for timing in timings if timing.duration]
    return min(LONGEST_MEDIAN, float(np.median(durations))) if durations else 0.0


def at_sentence_ends(timings: Sequence[Timing], longest: float) -> list[Timing]:
    """Return the words, with marks that end sentences, and words after these, no longer than `longest` seconds."""
    limited = list(timings)
    for i in range(1, len(limited)):
        word = limited[i]
        if word.duration > longest:
            if word.text in SENTENCE_ENDS:
                limited[i] = replace(word, end=word.start + longest)
            elif limited[i - 1].text in SENTENCE_ENDS:
                limited[i] = replace(word, start=word.end - longest)
    return limited


def punctuated(timings: Sequence[Timing], marks: Punctuation) -> list[Timing]:
    """Return the words with punctuation joined to them. A word keeps its times."""
    before: list[Timing] = []
    for word in reversed(timings):
        if before and word.text.startswith(" ") and word.text.strip() in marks.prepended:
            following = before[-1]
            before[-1] = replace(following, text=word.text + following.text, tokens=word.tokens + following.tokens)
        else:
            before.append(word)
    joined: list[Timing] = []
    for word in reversed(before):
        if joined and not joined[-1].text.endswith(" ") and word.text in marks.appended:
            previous = joined[-1]
            joined[-1] = replace(previous, text=previous.text + word.text, tokens=previous.tokens + word.tokens)
        else:
            joined.append(word)
    return joined


@dataclass(frozen=True)
class Window:
    """What the segments of a window need to get words.

    offset: its beginning in seconds. duration: of the recording. last: the end of the speech before the window. end:
    tokens below it are text.
    """

    offset: float
    duration: float
    last: float
    end: int
    marks: Punctuation


def with_words(segments: Sequence[Segment], timings: Sequence[Timing], window: Window) -> list[Segment]:
    """Return the segments of a window with their words. Segments begin and end with these.

    timings: the words of all segments together.
    """
    usual = median(timings)
    remaining = punctuated(at_sentence_ends(timings, 2 * usual), window.marks)
    results: list[Segment] = []
    last, earliest = window.last, min(window.last, window.offset)
    for segment in segments:
        count, taken = sum(token < window.end for token in segment.tokens), 0
        words: list[Word] = []
        while remaining and taken < count:
            timing = remaining.pop(0)
            taken += timing.tokens
            start, end = (round(window.offset + t, 2) for t in (timing.start, timing.end))
            words.append(Word(start, end, timing.text, timing.probability))
        if words:
            segment = _bounded(segment, _after_pause(words, last, usual), usual)
            segment = _ordered(segment, earliest, window.duration)
            earliest = segment.end
            last = segment.end
        results.append(segment if words else replace(segment, words=[]))
    return results


def _after_pause(words: list[Word], last: float, usual: float) -> list[Word]:
    """Return the words of a segment, with the first two shortened if they are long and follow a pause."""
    longest, first, second = 2 * usual, words[0], words[1] if len(words) > 1 else None
    long = first.end - first.start > longest or (second is not None and second.end - first.start > 2 * longest)
    if not long or first.end - last <= 4 * usual:
        return words
    if second is not None and second.end - second.start > longest:
        boundary = max(second.end / 2, second.end - longest)
        first, second = replace(first, end=boundary), replace(second, start=boundary)
    first = replace(first, start=max(0.0, first.end - longest))
    return [first, *([] if second is None else [second]), *words[2:]]


def _bounded(segment: Segment, words: list[Word], usual: float) -> Segment:
    """Return the segment with words and their times. But its own times hold against a first or last word much longer.

    usual: the median duration of a word.
    """
    first = words[0]
    start, end = first.start, words[-1].end
    if segment.start < first.end and segment.start - TOLERANCE > first.start:
        start = max(0.0, min(first.end - usual, segment.start))
        words = [replace(first, start=start), *words[1:]]
        start = segment.start
    final = words[-1]
    if segment.end > final.start and segment.end + TOLERANCE < final.end:
        words = [*words[:-1], replace(final, end=max(final.start + usual, segment.end))]
        end = segment.end
    return replace(segment, start=start, end=end, words=words)


def _ordered(segment: Segment, earliest: float, latest: float) -> Segment:
    """Return the segment with its times and those of its words from `earliest` to `latest`, in order."""
    words: list[Word] = []
    at = earliest
    for word in segment.words or []:
        start = min(max(word.start, at), latest)
        at = min(max(word.end, start), latest)
        words.append(replace(word, start=start, end=at))
    start = min(max(segment.start, earliest), latest)
    return replace(segment, start=start, end=min(max(segment.end, start), latest), words=words)
