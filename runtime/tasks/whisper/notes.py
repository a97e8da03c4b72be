"""What a user should know about a transcription: samples that are hardly a recording, and sound without text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intaglio.runtime.tasks.whisper.transcript import Segment

MOST = 2.0  # samples that reach further were not divided by their full scale
LEAST = 1e-3  # -60 dB of full scale
BLOCK = 0.1  # seconds in which loudness is measured
QUIET = 0.1  # of the loudest block: what is below this may be a room
LATE = 3.0  # seconds of sound after the last text that a note is worth


def on_samples(samples: np.ndarray) -> list[str]:
    """Return notes on samples f32[n] that are too large or too small to be heard as they were meant."""
    peak = float(np.abs(samples).max(initial=0.0))
    if peak > MOST:
        return [f"the samples reach {peak:.3g}, far outside ±1; divide them by their full scale, such as 32768"]
    if peak < LEAST:
        level = f"{20 * np.log10(peak):.0f} dB of full scale" if peak else "0"
        return [f"the recording is nearly silent: its peak is {level}; check the microphone, or amplify it"]
    return []


def on_end(segments: Sequence[Segment], samples: np.ndarray, rate: int) -> list[str]:
    """Return a note if sound goes on after the last text, or if there is no text at all."""
    if not segments:
        return ["no speech was recognized"]
    size = round(BLOCK * rate)
    blocks = np.resize(samples, (max(1, len(samples) // size), size)) if len(samples) >= size else samples[None]
    loudness = np.sqrt(np.mean(blocks.astype(np.float64) ** 2, axis=1))
    end = (int(np.flatnonzero(loudness >= QUIET * loudness.max())[-1]) + 1) * BLOCK
    last = max(segment.end for segment in segments)
    if end - last < LATE:
        return []
    return [f"the text ends at {last:.1f} s, but the sound goes on to {end:.1f} s; what is said there may be missing"]
