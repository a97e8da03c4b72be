"""The options of text generation, which are checked before an adapter is opened."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from intaglio.runtime.contract import SAMPLING_OPTIONS
from intaglio.runtime.limits import SLOTS

SEEDS = 1 << 31
COLDEST = 1e-4  # the lowest temperature; below it, only the best token has a chance, and numbers overflow


@dataclass(frozen=True)
class Options:
    """Options of text generation. Raises ValueError for a value outside of its range.

    max_tokens: stop after this many; None: when the model ends the text or the context is full.
    temperature: 0 always takes the likeliest token (greedy); higher values sample more evenly.
    top_k, top_p, min_p: sample only from the k likeliest tokens; from the likeliest tokens that together have
    probability p; from tokens at least p times as likely as the likeliest one. 0 (top_p: also 1) means from all.
    repetition_penalty: above 1, tokens that already occurred, in the prompt too, become less likely.
    seed: the same seed gives the same text; None: a new one each time.
    stop: one text or several; the answer ends before the first.
    ignore_eos: continue after the model's end tokens.
    logprobs: report the log-probability of each token and of this many alternatives; takes one submit per token.
    steps_per_submit: tokens per submit; None: as measured, so that they take up to a tenth of a second.
    """

    max_tokens: int | None = None
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: str | Sequence[str] = ()
    ignore_eos: bool = False
    logprobs: int | None = None
    steps_per_submit: int | None = None

    def __post_init__(self) -> None:
        whole = {"max_tokens": (1, math.inf), "top_k": (0, math.inf), "seed": (0, SEEDS - 1)}
        whole |= {"logprobs": (0, math.inf), "steps_per_submit": (1, SLOTS)}
        real = {"temperature": (0, math.inf), "top_p": (0, 1), "min_p": (0, 1), "repetition_penalty": (0, math.inf)}
        for name, (low, high) in (whole | real).items():
            value = getattr(self, name)
            if value is None and name in whole and name != "top_k":
                continue
            kinds = (int, np.integer) if name in whole else (int, float, np.integer, np.floating)
            if not isinstance(value, kinds) or isinstance(value, bool) or not low <= value <= high or value == math.inf:
                what = "a whole number" if name in whole else "a number"
                raise ValueError(f"{name}: expected {what} {_range(low, high)}, got {value!r}")
        if not self.repetition_penalty:
            raise ValueError("repetition_penalty: expected a number above 0, got 0; 1 means no penalty")
        if not all(isinstance(text, str) and text for text in self.stops):
            raise ValueError("stop: expected a text or a list of texts that are not empty")

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def draws(self) -> bool:
        """Return whether tokens are drawn, instead of the best ones taken."""
        return self.temperature >= COLDEST

    @property
    def sampling(self) -> np.ndarray:
        """Return the content of the state `sampling`, f32[5]."""
        values = {name: getattr(self, name) for name in SAMPLING_OPTIONS}
        if not self.draws:
            values["temperature"] = 0
        return np.array([*values.values()], np.float32)


def _range(low: float, high: float) -> str:
    return f"from {low} to {high}" if high < math.inf else f"from {low}"
