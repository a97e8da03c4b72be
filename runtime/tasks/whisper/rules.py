"""What a Whisper may say in a window: the rules by which kernels choose its tokens."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Rules:
    """The rules of a window.

    timed: the model writes timestamps, by the rules of those. suppress: tokens that it never chooses. suppress_first:
    those that it does not choose first. max_initial_timestamp: the latest timestamp that it may begin with, in units of
    timestamps. vocabulary: the number of all tokens.
    """

    timed: bool
    suppress: Collection[int]
    suppress_first: Collection[int]
    max_initial_timestamp: float
    vocabulary: int

    @property
    def bits(self) -> np.ndarray:
        """Return the content of the state `suppress`, u32[2, words]: token i is bit i % 32 of word i // 32."""
        flags = np.zeros((2, -(-self.vocabulary // 32) * 32), np.uint8)
        for row, tokens in zip(flags, (self.suppress, self.suppress_first), strict=True):
            row[[t for t in tokens if t < self.vocabulary]] = 1
        return np.packbits(flags, axis=1, bitorder="little").view("<u4")

    def sampling(self, temperature: float) -> np.ndarray:
        """Return the content of the state `sampling`, f32[2], at this temperature."""
        return np.array([temperature, self.max_initial_timestamp], np.float32)
