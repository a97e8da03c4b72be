"""How a text goes on: what users may ask for, checked before an adapter is opened."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from intaglio.runtime.limits import SLOTS

SAMPLING_OPTIONS = {"temperature", "top_k", "top_p", "min_p", "repetition_penalty"}  # options that shape what is drawn
SEEDS = 1 << 31
COLDEST = 1e-4  # the lowest temperature: below, only the best token has a chance, and numbers overflow


@dataclass(frozen=True)
class Options:
    """How a text goes on. Raises ValueError for what makes no sense.

    max_tokens: at most so many; None: until the model ends it or the context is full.
    temperature: 0 takes the likeliest token each time (greedy); above, tokens are drawn, the more evenly the higher.
    top_k, top_p, min_p: draw only from the k likeliest tokens; from the likeliest that together have the probability p;
    from those that are at least p times as likely as the likeliest one. 0 (top_p: also 1) means from all.
    repetition_penalty: above 1, tokens that the text has, prompt included, become less likely.
    seed: the same one draws the same text; None draws another one each time.
    stop: a text, or several, before which the answer ends. ignore_eos: go on after the model's end tokens.
    logprobs: also tell how likely each token was, and so many alternatives. That takes a submit for each token.
    steps_per_submit: how many tokens come at a time; None: as many as take less than a tenth of a second.
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
                raise ValueError(f"{name} is {value!r}; it must be {what} {_range(low, high)}")
        if not self.repetition_penalty:
            raise ValueError("repetition_penalty is 0; 1 means none")
        if not all(isinstance(text, str) and text for text in self.stops):
            raise ValueError("stop must be a text, or a list of texts, none of them empty")

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def sampling(self) -> np.ndarray:
        """f32[5] as the sampling kernels read it."""
        temperature = self.temperature if self.temperature >= COLDEST else 0
        numbers = temperature, self.top_k, self.top_p, self.min_p, self.repetition_penalty
        return np.array(numbers, np.float32)


def _range(low: float, high: float) -> str:
    return f"from {low} to {high}" if high < math.inf else f"of at least {low}"
