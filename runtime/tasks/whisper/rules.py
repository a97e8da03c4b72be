"""What a Whisper may say in a window: the rules by which kernels choose its tokens."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

import numpy as np

from intaglio.runtime.tasks.whisper.options import Options
from intaglio.runtime.tasks.whisper.settings import Settings

ANY = 1e6  # in place of the latest first timestamp, where there is none


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

    @classmethod
    def of(cls, options: Options, settings: Settings) -> Self:
        """Return the rules that the options set, as whisper/decoding.py does."""
        s = settings
        suppress: set[int] = set()
        if options.suppressed:
            special = {s.start, s.previous, s.previous - 1, s.no_speech, *s.tasks.values()}
            suppress = {*options.suppressed, *special, *(s.suppress if -1 in options.suppressed else ())} - {-1}
        step = s.seconds(s.frames_per_timestamp)
        latest = round(options.max_initial_timestamp / step) if options.max_initial_timestamp else ANY
        first = s.suppress_first if options.suppress_blank else ()
        return cls(not options.without_timestamps, suppress, first, latest, s.vocabulary)

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
