"""Reads WAV and FLAC recordings of any rate and any number of channels, and converts them to one channel at 16 kHz.

libsndfile decodes and soxr resamples; this module decides which recordings are usable.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

RATES = 1_000, 1_000_000  # Hz; a rate outside means a broken header or another unit
MOST_CHANNELS = 1024  # libsndfile's limit; more means that samples are [channels, frames]
BLOCK = 1 << 20  # frames read at once, so that a header that promises too many does not allocate memory


class AudioError(ValueError):
    """A recording that cannot be read, or samples that are not a recording."""


def read(source: str | Path | BinaryIO) -> tuple[np.ndarray, int]:
    """Return a recording as f32[frames, channels] within about ±1, and its rate in Hz.

    source: a file's path, or an open binary file.
    Raises AudioError if the recording is missing, empty or not readable as WAV or FLAC.
    """
    if isinstance(source, str | Path):
        name = str(source)
        if not Path(source).is_file():
            raise AudioError(f"{name} is missing or is not a file")
    else:
        name = getattr(source, "name", "recording")
        if not source.seekable():
            source = io.BytesIO(source.read())
    try:
        with soundfile.SoundFile(source) as file:
            rate, blocks = file.samplerate, []
            while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
                blocks.append(block)
    except (soundfile.LibsndfileError, OSError, TypeError) as error:  # TypeError: the name ends in .raw
        raise AudioError(
            f"{name} cannot be read as WAV or FLAC: {str(error).rstrip('.')}; convert it with ffmpeg"
        ) from error
    if not blocks:
        raise AudioError(f"{name} contains no samples")
    return np.concatenate(blocks), rate


def mono(samples: np.ndarray, rate: float, to: int = 16_000) -> np.ndarray:
    """Convert f32[frames] or f32[frames, channels] at `rate` Hz to f32[frames'] at `to` Hz: average the channels, then
    resample.

    Raises AudioError for samples that are integers, not finite, empty, or of another rank.
    """
    samples = np.asarray(samples)
    if samples.ndim not in (1, 2):
        raise AudioError(f"expected samples of shape [frames] or [frames, channels], got {list(samples.shape)}")
    if samples.size == 0:
        raise AudioError("the recording contains no samples")
    if samples.ndim == 2 and samples.shape[1] > MOST_CHANNELS:
        raise AudioError(f"expected samples [frames, channels], got {list(samples.shape)}; transpose them")
    if not np.issubdtype(samples.dtype, np.floating):
        raise AudioError(f"expected floating-point samples within ±1, got {samples.dtype}")
    for hertz in rate, to:
        if not RATES[0] <= hertz <= RATES[1]:
            raise AudioError(f"expected a rate from {RATES[0]} to {RATES[1]} Hz, got {hertz:g}")
    with np.errstate(over="ignore"):
        samples = samples.astype(np.float32, copy=False)
    if not np.isfinite(samples).all():
        raise AudioError("the recording has samples that are not finite (NaN or infinity)")
    if samples.ndim == 2:
        samples = samples.mean(axis=1)
    if rate != to:
        samples = soxr.resample(samples, rate, to, quality="VHQ")
        if samples.size == 0:
            raise AudioError(f"the recording is shorter than one sample at {to} Hz")
    return np.ascontiguousarray(samples)
