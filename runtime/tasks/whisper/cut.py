"""Divides the tokens of a window at its timestamps, as OpenAI's reference, whisper/transcribe.py, does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from intaglio.runtime.tasks.whisper.settings import Settings


@dataclass(frozen=True)
class Piece:
    """The tokens of a window, including timestamps, that belong to its frames from `start` to `end`."""

    start: int
    end: int
    tokens: Sequence[int]


def cut(tokens: Sequence[int], size: int, settings: Settings) -> tuple[list[Piece], int]:
    """Divide the tokens of a window of `size` frames at its timestamps. Returns the pieces and the frames to advance.

    Two timestamps, an end and a start, separate two pieces. Tokens after the last pair are unfinished and are
    transcribed again in the next window. But if a single timestamp ends the tokens, there is no speech after it.
    """

    def frame(token: int) -> int:
        return (token - settings.first_timestamp) * settings.frames_per_timestamp

    timed = _timed(tokens, settings)
    finished = is_finished(tokens, settings)
    ends = [i for i in range(1, len(tokens)) if timed[i - 1] and timed[i]]
    if not ends:
        last = next((frame(token) for token in reversed(tokens) if token >= settings.first_timestamp), 0)
        return [Piece(0, last or size, tokens)], size
    if finished:
        ends.append(len(tokens))
    starts = [0, *ends[:-1]]
    pieces = [Piece(frame(tokens[a]), frame(tokens[b - 1]), tokens[a:b]) for a, b in zip(starts, ends, strict=True)]
    return pieces, size if finished else frame(tokens[ends[-1] - 1]) or size


def is_finished(tokens: Sequence[int], settings: Settings) -> bool:
    """Return whether a single timestamp ends the tokens of a window: there is no speech after it."""
    return _timed(tokens, settings)[-2:] == [False, True]


def _timed(tokens: Sequence[int], settings: Settings) -> list[bool]:
    return [token >= settings.first_timestamp for token in tokens]
