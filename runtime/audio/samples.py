"""Converts recordings to what models hear: one channel at the model's rate.

Everything happens in blocks, and long recordings end up in a file without a name that is mapped into memory. So hours
take no more memory than minutes.
"""

from __future__ import annotations

import math
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import soxr

from intaglio.runtime.audio.files import opened
from intaglio.runtime.audio.recording import BLOCK, AudioError, Recording

RATES = 1_000, 1_000_000  # Hz; a rate outside means a broken header or another unit
MOST_CHANNELS = 1024  # libsndfile's limit; more means that samples are [channels, frames]
_IN_MEMORY = 1 << 23  # samples; what is longer is mapped
_QUIET = 1e-3  # -60 dB: a peak below is near-silence
_LOUD = 4.0  # decoders overshoot 1 a little; a peak above means another unit
_CANCELLED = 1e-3  # the power of the average of channels, as a part of their own, below which they cancel each other


@dataclass(frozen=True)
class Part:
    """The part of a recording to convert.

    channel: its number, from 1 on; None: the average of all. offset: seconds before it; duration: its seconds, None: to
    the end.
    """

    channel: int | None = None
    offset: float = 0.0
    duration: float | None = None

    def __post_init__(self) -> None:
        if self.channel is not None and (type(self.channel) is not int or self.channel < 1):
            raise ValueError(f"expected the number of a channel, from 1 on, got {self.channel!r}")
        if not 0 <= self.offset < math.inf:
            raise ValueError(f"expected an offset of 0 seconds or more, got {self.offset}")
        if self.duration is not None and not 0 < self.duration < math.inf:
            raise ValueError(f"expected a duration of more than 0 seconds, got {self.duration}")


WHOLE = Part()


def read(source: str | os.PathLike[str] | BinaryIO, to: int = 16_000, part: Part = WHOLE) -> np.ndarray:
    """Return a recording, or a part of it, as f32[samples] at `to` Hz.

    source: a path, "-" for standard input, or a binary file. Warns of near-silence, of samples far outside ±1 and of
    channels that cancel each other.
    Raises AudioError if the recording is missing, empty, or its format is not supported.
    """
    with opened(source) as recording:
        return _gathered(recording, to, part)


def convert(samples: Any, rate: float, to: int = 16_000, part: Part = WHOLE) -> np.ndarray:
    """Convert f32[frames] or f32[frames, channels] at `rate` Hz to f32[samples] at `to` Hz, like `read`.

    Raises AudioError for samples that are integers, not finite, empty, or of another rank.
    """
    return _gathered(_Array(np.asarray(samples), rate), to, part)


class Converter:
    """Converts chunks of samples, one after another, as `convert` does a whole recording. Raises AudioError, as it."""

    def __init__(self, rate: float, to: int = 16_000, part: Part = WHOLE) -> None:
        _check_rates(rate, to)
        self._rate, self._part = rate, part
        self._stream = None if rate == to else soxr.ResampleStream(rate, to, 1, dtype="float32", quality="VHQ")

    def add(self, chunk: Any) -> np.ndarray:
        """Return the samples that this chunk completes, f32[n]. chunk: f32[frames] or f32[frames, channels]."""
        recording = _Array(np.asarray(chunk), self._rate)
        _check_channel(recording, self._part)
        blocks = [_chosen(block, self._part) for block in recording.blocks(0)]
        samples = np.concatenate([np.empty(0, np.float32), *blocks])
        return samples if self._stream is None else self._stream.resample_chunk(samples)

    def end(self) -> np.ndarray:
        """Return the samples that the end of the recording completes."""
        empty = np.empty(0, np.float32)
        return empty if self._stream is None else self._stream.resample_chunk(empty, last=True)


def channels(source: str | os.PathLike[str] | BinaryIO) -> int:
    """Return the number of channels of a recording. Raises AudioError."""
    with opened(source) as recording:
        return recording.channels


class _Array:
    """Samples as a recording."""

    def __init__(self, samples: np.ndarray, rate: float) -> None:
        if samples.ndim not in (1, 2):
            raise AudioError(f"expected samples of shape [frames] or [frames, channels], got {list(samples.shape)}")
        if samples.ndim == 2 and samples.shape[1] > MOST_CHANNELS:
            raise AudioError(f"expected samples [frames, channels], got {list(samples.shape)}; transpose them")
        if samples.size and not np.issubdtype(samples.dtype, np.floating):
            raise AudioError(f"expected floating-point samples within ±1, got {samples.dtype}")
        self._samples = samples[:, None] if samples.ndim == 1 else samples
        self.rate, self.channels = rate, self._samples.shape[1]

    def blocks(self, first: int) -> Iterator[np.ndarray]:
        """See Recording."""
        for at in range(first, len(self._samples) if self.channels else 0, BLOCK):
            with np.errstate(over="ignore"):
                yield self._samples[at : at + BLOCK].astype(np.float32)


def _gathered(recording: Recording, to: int, part: Part) -> np.ndarray:
    """Return all samples, in memory or mapped. Raises AudioError if there are none."""
    _check_rates(recording.rate, to)
    _check_channel(recording, part)
    samples = joined(_resampled(_one_channel(recording, part), recording.rate, to))
    if not len(samples):
        where = f" after {part.offset:g} seconds" if part.offset else ""
        raise AudioError(f"the recording contains no samples{where}")
    return samples


def joined(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Return blocks f32[n] one after another, in memory or, if they are long, mapped."""
    samples = _Samples()
    for block in blocks:
        samples.add(block)
    return samples.whole()


def _check_rates(*rates: float) -> None:
    for hertz in rates:
        if not RATES[0] <= hertz <= RATES[1]:
            raise AudioError(f"expected a rate from {RATES[0]} to {RATES[1]} Hz, got {hertz:g}")


def _check_channel(recording: Recording, part: Part) -> None:
    if part.channel is not None and part.channel > recording.channels:
        raise AudioError(f"expected channel 1 to {recording.channels} of the recording, got {part.channel}")


def _chosen(block: np.ndarray, part: Part) -> np.ndarray:
    """Return the part's channel of f32[frames, channels], or the average of all."""
    if not np.isfinite(block).all():
        raise AudioError("the recording has samples that are not finite (NaN or infinity)")
    return block.mean(axis=1) if part.channel is None else np.ascontiguousarray(block[:, part.channel - 1])


def _one_channel(recording: Recording, part: Part) -> Iterator[np.ndarray]:
    """Yield the part's channel, or the average of all, f32[frames]. Warns at its end of what is strange about it."""
    first = round(part.offset * recording.rate)
    remaining = math.inf if part.duration is None else max(1, round(part.duration * recording.rate))
    level = _Level(recording.channels)
    for block in recording.blocks(first):
        block = block[: min(remaining, len(block))]
        chosen = _chosen(block, part)
        level.add(block, chosen)
        yield chosen
        remaining -= len(block)
        if remaining <= 0:
            break
    level.warn()


class _Level:
    """What is loud in a recording, as far as it was decoded."""

    def __init__(self, channels: int) -> None:
        self._channels, self._frames = channels, 0
        self._peak, self._power, self._all = 0.0, 0.0, 0.0

    def add(self, block: np.ndarray, chosen: np.ndarray) -> None:
        """block: f32[frames, channels]; chosen: f32[frames]."""
        self._frames += len(block)
        if block.size:
            self._peak = max(self._peak, float(np.abs(chosen).max()))
            self._power += float(np.square(chosen, dtype=np.float64).sum())
            self._all += float(np.square(block, dtype=np.float64).sum()) / self._channels

    def warn(self) -> None:
        if self._peak > _LOUD:
            note = f"samples reach {self._peak:.4g}; expected about ±1: divide 16-bit integers by 32768"
        elif self._power < _CANCELLED * self._all:
            note = "the channels cancel each other out; choose one, such as channel 1"
        elif self._frames and self._peak < _QUIET:
            note = f"the recording is nearly silent: its samples reach {self._peak:.1g} of 1"
        else:
            return
        warnings.warn(note, stacklevel=2)


def _resampled(blocks: Iterator[np.ndarray], rate: float, to: int) -> Iterator[np.ndarray]:
    if rate == to:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate, to, 1, dtype="float32", quality="VHQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.empty(0, np.float32), last=True)


class _Samples:
    """Samples that are gathered in memory, and in a file as soon as they are many."""

    def __init__(self) -> None:
        self._blocks, self._file = list[np.ndarray](), None
        self.count = 0

    def add(self, block: np.ndarray) -> None:
        self.count += len(block)
        if self._file is None:
            self._blocks.append(block)
            if self.count <= _IN_MEMORY:
                return
            self._file = tempfile.TemporaryFile()  # noqa: SIM115, it lives as long as its map
            block, self._blocks = np.concatenate(self._blocks), []
        block.tofile(self._file)

    def whole(self) -> np.ndarray:
        """Return f32[count]."""
        if self._file is None:
            return np.concatenate([np.empty(0, np.float32), *self._blocks])
        self._file.flush()
        return np.memmap(self._file, np.float32, "r")
