"""What a recording is to the rest: a rate, a number of channels, and blocks of samples, however it is decoded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

BLOCK = 1 << 18  # frames decoded at once, so that memory depends neither on the length nor on what a header promises


class AudioError(ValueError):
    """A recording that cannot be read, or samples that are not a recording."""


class Recording(Protocol):
    """An open recording of `channels` channels, with `rate` frames per second."""

    rate: float
    channels: int

    def blocks(self, first: int) -> Iterator[np.ndarray]:
        """Yield the samples from frame `first` on, f32[frames, channels] within about ±1. Raises AudioError."""
        ...


def from_frame(blocks: Iterator[np.ndarray], first: int) -> Iterator[np.ndarray]:
    """Yield the blocks without the first `first` frames."""
    for block in blocks:
        if len(block) > first:
            yield block[first:]
        first = max(0, first - len(block))
