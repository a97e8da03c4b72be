"""What a user should know about a transcription: sound without text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intaglio.runtime.tasks.whisper.transcript import Segment

BLOCK = 0.1  # seconds in which loudness is measured
QUIET = 0.1  # of the loudest block: what is below this may be a room
LATE = 3.0  # seconds of sound after the last text that a note is worth


def on_end(segments: Sequence[Segment], samples: np.ndarray, rate: int) -> list[str]:
    """Return a note if sound goes on after the last text, or if there is no text at all."""
    if not segments:
        return ["no speech was recognized"]
    loudness = _loudness(samples, max(1, round(BLOCK * rate)))
    end = (int(np.flatnonzero(loudness >= QUIET * loudness.max())[-1]) + 1) * BLOCK
    last = max(segment.end for segment in segments)
    if end - last < LATE:
        return []
    return [f"the text ends at {last:.1f} s, but the sound goes on to {end:.1f} s; what is said there may be missing"]


def _loudness(samples: np.ndarray, size: int) -> np.ndarray:
    """Return the root mean square of each block of `size` samples, f64[blocks]; the last block may be shorter."""
    blocks = (samples[at : at + size] for at in range(0, len(samples), size))
    return np.sqrt([np.square(block, dtype=np.float64).mean() for block in blocks])
