"""What a transcription returns: a text, whole and in segments."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Segment:
    """A part of a recording, from `start` to `end` in seconds: its text and tokens."""

    start: float
    end: float
    text: str
    tokens: list[int]


@dataclass(frozen=True)
class Transcript:
    """The text of a recording, whole and in segments. `tokens`: without special tokens and timestamps."""

    text: str
    segments: list[Segment]
    language: str
    tokens: list[int]
