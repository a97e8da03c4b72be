"""Attempts at a window: the likeliest text, then drawn ones at rising temperatures, as in whisper/transcribe.py."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

from intaglio.runtime.tasks.whisper.options import Options
from intaglio.runtime.tasks.whisper.programs import Decoded


@dataclass(frozen=True)
class Attempt:
    """What the model says in a window at a temperature. compression_ratio: how repetitive its text is."""

    decoded: Decoded
    temperature: float
    compression_ratio: float

    def fails(self, options: Options) -> bool:
        """Return whether the text is too repetitive or too unlikely, and the window is not silent."""
        ratio, unlikely = options.compression_ratio_threshold, self._unlikely(options)
        if unlikely and _above(self.decoded.no_speech, options.no_speech_threshold):
            return False
        return unlikely or _above(self.compression_ratio, ratio)

    def silent(self, options: Options) -> bool:
        """Return whether the window has no speech, and the text is not likely enough to prove the contrary."""
        likely = _above(self.decoded.average, options.logprob_threshold)
        return _above(self.decoded.no_speech, options.no_speech_threshold) and not likely

    def _unlikely(self, options: Options) -> bool:
        return options.logprob_threshold is not None and self.decoded.average < options.logprob_threshold


def attempt(
    decode: Callable[[float, int], Decoded], text: Callable[[list[int]], str], options: Options, seek: int
) -> Attempt:
    """Return the first attempt that does not fail, or the last one.

    decode(temperature, seed): what the model says. text: that of tokens. seek: the window, which has its own seeds.
    """
    result: Attempt | None = None
    for number, temperature in enumerate(options.temperatures):
        count = (options.best_of or 1) if temperature > 0 else 1
        seeds = [_seed(options.seed, seek, number, i) if temperature > 0 else 0 for i in range(count)]
        best = max((decode(temperature, seed) for seed in seeds), key=lambda each: _rank(each, options.length_penalty))
        result = Attempt(best, temperature, compression_ratio(text(best.tokens)))
        if not result.fails(options):
            break
    assert result is not None  # there is at least one temperature
    return result


def compression_ratio(text: str) -> float:
    """Return the size of a text in UTF-8, divided by its size after compression."""
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def _rank(decoded: Decoded, length_penalty: float | None) -> float:
    """Return how good a text is: whisper/decoding.py, MaximumLikelihoodRanker (Wu et al. 2016, section 7)."""
    length = len(decoded.tokens)
    return decoded.log_probability / (
        max(1, length) if length_penalty is None else ((5 + length) / 6) ** length_penalty
    )


def _seed(seed: int, *place: int) -> int:
    """Return the seed of a draw of its own."""
    return zlib.crc32(" ".join(map(str, (seed, *place))).encode()) >> 1


def _above(value: float, threshold: float | None) -> bool:
    return threshold is not None and value > threshold
