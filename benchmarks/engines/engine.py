"""The interface that every engine has. It says only what a workload needs; who cannot do something says why."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.models import Models

First = Callable[[], None]  # to be called as soon as the first token is known on the host


class Unsupported(Exception):
    """The engine cannot run this, and why."""


class Engine(ABC):
    """One model on one engine. Every method returns when its result is on the host.

    package: what is installed for it, whose version is reported.
    """

    package: str

    def __init__(self, models: Models) -> None:
        self.models = models

    @property
    def version(self) -> str:
        return version(self.package)

    @abstractmethod
    def load(self, model: str) -> None:
        """model: "whisper", "smollm2-f32", "smollm2-q4", "matmul", "matvec". Raises Unsupported."""

    def adapter(self) -> str:
        """What the loaded model runs on."""
        return "CPU"

    def encode(self, features: np.ndarray) -> np.ndarray | None:
        """Whisper's encoder: f32[1,80,3000] to f32[1,1500,384], or None where the engine keeps that to itself."""
        raise Unsupported(f"{self.package} does not run the encoder alone")

    def transcribe(self, recording: Path, first: First) -> list[int]:
        """The tokens of what is said, without the special ones, greedily and without timestamps.

        An engine that cannot say when it has the first token does not call `first`.
        """
        raise Unsupported(f"{self.package} does not run Whisper here")

    def dictate(self, samples: np.ndarray) -> str:
        """What is said in a recording of many windows, by the engine's own defaults. samples: f32[n] at 16 kHz."""
        raise Unsupported(f"{self.package} does not run Whisper on long recordings here")

    def generate(self, prompt: Sequence[int], count: int, first: First) -> list[int]:
        """The `count` tokens after a prompt that is read anew, the likeliest each time; end tokens end nothing."""
        raise Unsupported(f"{self.package} does not run language models here")

    def logits(self, prompt: Sequence[int]) -> np.ndarray:
        """f32[vocabulary]: the scores of the token after the prompt."""
        raise Unsupported(f"{self.package} does not run language models here")

    def multiply(self, x: np.ndarray) -> Callable[[], None]:
        """Bring `x` to the adapter; a call that multiplies it with the model's matrix and waits until that is done."""
        raise Unsupported(f"{self.package} does not multiply plain matrices here")

    def product(self) -> np.ndarray:
        """What the last multiplication gave."""
        raise Unsupported(f"{self.package} does not multiply plain matrices here")
