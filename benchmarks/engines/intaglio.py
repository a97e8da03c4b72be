"""Us, through the public face."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import intaglio
from benchmarks.engines.engine import Engine, First
from benchmarks.recordings import RATE


class Intaglio(Engine):
    package = "intaglio"

    def load(self, model: str) -> None:
        self._bundle = intaglio.load(self.models.bundle(model))
        self._session = self._bundle.replays

    def adapter(self) -> str:
        info = self._session.device.adapter_info
        return f"{info['device']}, {info['backend_type']}"

    def encode(self, features: np.ndarray) -> np.ndarray:
        (rows,) = self._bundle.run({"input_features": features}, "encode").values()
        return rows

    def transcribe(self, recording: Path, first: First) -> list[int]:
        with self._telling(first):
            return self._bundle.transcribe(recording, temperature=0, without_timestamps=True).tokens

    def dictate(self, samples: np.ndarray) -> str:
        return self._bundle.transcribe(samples, RATE).text

    def generate(self, prompt: Sequence[int], count: int, first: First) -> list[int]:
        with self._telling(first):
            return self._bundle.generate(prompt, max_tokens=count, ignore_eos=True).tokens

    def logits(self, prompt: Sequence[int]) -> np.ndarray:
        self._bundle.generate(prompt, max_tokens=1, ignore_eos=True)
        return self._session.read("logits", {}).reshape(-1)

    def multiply(self, x: np.ndarray) -> Callable[[], None]:
        symbols = self._session.feed("main", {"x": x})

        def once() -> None:
            self._session.submit("main", symbols)
            self._session.wait()

        return once

    def product(self) -> np.ndarray:
        return self._session.read("y", {})

    @contextmanager
    def _telling(self, first: First) -> Iterator[None]:
        """Call `first` after each prefill: it reads the first token back."""
        replay = self._session.replay

        def counting(program: str, *rest: Any) -> np.ndarray | None:
            result = replay(program, *rest)
            if program == "prefill":
                first()
            return result

        with mock.patch.object(self._session, "replay", counting):
            yield
