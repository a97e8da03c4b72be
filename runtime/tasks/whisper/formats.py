"""Transcripts as text, subtitles, tables and JSON. Lines of subtitles break as in openai-whisper's utils.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from intaglio.runtime.tasks.whisper.transcript import Segment, Transcript, Word

_PAUSE = 3.0  # seconds; after a longer pause a new subtitle begins, where segments do not divide them
_UNLIMITED = 1 << 30


@dataclass(frozen=True)
class Lines:
    """How subtitles are divided. All of it needs the times of words.

    max_line_width: characters of a line. max_line_count: lines of a subtitle. With both, subtitles no longer begin with
    segments. max_words_per_line: words of a subtitle, where segments begin subtitles. highlight_words: a subtitle for
    each word, which is underlined.
    """

    max_line_width: int | None = None
    max_line_count: int | None = None
    max_words_per_line: int | None = None
    highlight_words: bool = False

    def __post_init__(self) -> None:
        for name in "max_line_width", "max_line_count", "max_words_per_line":
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise ValueError(f"expected {name} of 1 or more, got {value!r}")

    @property
    def need_words(self) -> bool:
        """Whether any of it is set."""
        return self != WHOLE


WHOLE = Lines()


@dataclass(frozen=True)
class Cue:
    """A subtitle, from `start` to `end` in seconds."""

    start: float
    end: float
    text: str


def txt(transcript: Transcript, lines: Lines = WHOLE) -> str:
    """Return a line for each segment."""
    return "".join(f"{segment.text.strip()}\n" for segment in transcript.segments)


def srt(transcript: Transcript, lines: Lines = WHOLE) -> str:
    """Return SubRip subtitles. Raises ValueError for lines that need words, without words."""
    return "".join(
        f"{i}\n{clock(cue.start, ',', hours=True)} --> {clock(cue.end, ',', hours=True)}\n{cue.text}\n\n"
        for i, cue in enumerate(cues(transcript, lines), 1)
    )


def vtt(transcript: Transcript, lines: Lines = WHOLE) -> str:
    """Return WebVTT subtitles. Raises ValueError for lines that need words, without words."""
    found = cues(transcript, lines, escape=lambda text: text.replace("&", "&amp;").replace("<", "&lt;"))
    return "".join(["WEBVTT\n\n", *(f"{clock(cue.start)} --> {clock(cue.end)}\n{cue.text}\n\n" for cue in found)])


def tsv(transcript: Transcript, lines: Lines = WHOLE) -> str:
    """Return a table of begins and ends in milliseconds, and texts."""
    rows = ((round(1000 * s.start), round(1000 * s.end), " ".join(s.text.split())) for s in transcript.segments)
    return "".join("\t".join(map(str, row)) + "\n" for row in [("start", "end", "text"), *rows])


def as_json(transcript: Transcript, lines: Lines = WHOLE) -> str:
    """Return all that is known of the transcript, in one line."""
    return json.dumps(asdict(transcript), ensure_ascii=False) + "\n"


def verbose(transcript: Transcript) -> dict[str, Any]:
    """Return what OpenAI's API calls verbose_json. Words are in it if they have times."""
    names = ("id", "seek", "start", "end", "tokens", "temperature", "avg_logprob", "compression_ratio")
    segments = [
        {name: getattr(segment, name) for name in (*names, "no_speech_prob")} | {"text": f" {segment.text}"}
        for segment in transcript.segments
    ]
    words = [
        {"word": word.word.strip(), "start": word.start, "end": word.end}
        for segment in transcript.segments
        for word in segment.words or []
    ]
    return {
        "task": transcript.task,
        "language": (transcript.language_name or "unknown").lower(),
        "duration": transcript.duration,
        "text": transcript.text,
        "segments": segments,
    } | ({"words": words} if words else {})


def verbose_json(transcript: Transcript, lines: Lines = WHOLE) -> str:
    """Return `verbose` in one line."""
    return json.dumps(verbose(transcript), ensure_ascii=False) + "\n"


FORMATS = {"txt": txt, "srt": srt, "vtt": vtt, "tsv": tsv, "json": as_json, "verbose_json": verbose_json}


def clock(seconds: float, marker: str = ".", hours: bool = False) -> str:
    """Return 02:03.004, or 01:02:03.004 from an hour on and if `hours`."""
    whole = round(1000 * max(0.0, seconds))
    hour = f"{whole // 3_600_000:02}:" if hours or whole >= 3_600_000 else ""
    return f"{hour}{whole // 60_000 % 60:02}:{whole // 1000 % 60:02}{marker}{whole % 1000:03}"


def cues(transcript: Transcript, lines: Lines, escape: Callable[[str], str] = str) -> Iterator[Cue]:
    """Yield the subtitles: one for each segment, or as `lines` says. escape: is applied to every text.

    An arrow in a text would end the line of times, so it becomes shorter.
    """

    def plain(text: str) -> str:
        return escape(text.replace("-->", "->"))

    if not lines.need_words:
        for segment in transcript.segments:
            yield Cue(segment.start, segment.end, plain(segment.text.strip()))
        return
    if any(segment.words is None for segment in transcript.segments):
        raise ValueError("lines of subtitles need the times of words; transcribe with word_timestamps=True")
    for words in _subtitles(transcript.segments, lines):
        words = [replace(word, word=plain(word.word)) for word in words]
        yield from _highlighted(words) if lines.highlight_words else [_cue(words)]


def _cue(words: Sequence[Word]) -> Cue:
    return Cue(words[0].start, words[-1].end, "".join(word.word for word in words))


def _highlighted(words: Sequence[Word]) -> Iterator[Cue]:
    """Yield a cue for each word, in which it is underlined, and one for each gap before a word."""
    whole = _cue(words)
    last = whole.start
    for i, word in enumerate(words):
        if last < word.start:
            yield Cue(last, word.start, whole.text)
        text = word.word.lstrip()
        marked = replace(word, word=f"{word.word[: len(word.word) - len(text)]}<u>{text}</u>")
        yield Cue(word.start, word.end, "".join(w.word for w in [*words[:i], marked, *words[i + 1 :]]))
        last = word.end


def _subtitles(segments: Sequence[Segment], lines: Lines) -> Iterator[list[Word]]:
    """Yield the words of each subtitle. A word that begins a line has a line break in the place of its space."""
    width = lines.max_line_width or _UNLIMITED
    by_segments = lines.max_line_width is None or lines.max_line_count is None
    subtitle, length, count, last = list[Word](), 0, 1, 0.0
    for segment in segments:
        for i, word in enumerate(segment.words or []):
            begins = by_segments and i % (lines.max_words_per_line or _UNLIMITED) == 0
            pause = not by_segments and word.start - last > _PAUSE
            full = length + len(word.word) > width
            if subtitle and (begins or pause or (full and count >= (lines.max_line_count or _UNLIMITED))):
                yield subtitle
                subtitle, length, count = [], 0, 1
            text = word.word
            if not subtitle:
                text = text.strip()
            elif full:
                text, length, count = f"\n{text.strip()}", 0, count + 1
            subtitle.append(replace(word, word=text))
            length += len(text.strip("\n"))
            last = word.start
    if subtitle:
        yield subtitle
