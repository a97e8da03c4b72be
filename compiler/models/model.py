"""The results of the families: graphs that share weights, golden runs, and the other contents of a bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.semantics import evaluate
from intaglio.runtime.contract import NEW_TOKENS, PAST


@dataclass(frozen=True)
class Expected:
    """Elements of an output: their flat indices `at`, the expected values there, and the largest allowed error."""

    at: np.ndarray
    values: np.ndarray
    tolerance: float


@dataclass(frozen=True)
class GoldenRun:
    """A run of a program with the expected numbers of its outputs or states, by name.

    tolerance: the largest error of intermediate results, which is relative for values above 1.
    """

    program: str
    symbols: dict[str, int]
    inputs: dict[str, np.ndarray]
    expected: dict[str, Expected]
    tolerance: float


@dataclass
class Model:
    """A compiled model. graphs: the programs by name. settings: the content of generation.json.

    files: files that are copied into the bundle. precision: its part of the report (see passes/quantize.py). notes:
    messages for the user.
    """

    kind: str
    graphs: dict[str, Graph]
    settings: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    golden: list[GoldenRun] = field(default_factory=list)
    precision: dict[str, Any] = field(default_factory=lambda: {"name": "f32"})
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Decoder:
    """A decoder that numpy runs, with or without its caches. `encode` computes the encoder's results by name."""

    graph: Graph
    encode: Callable[[], Mapping[str, np.ndarray]] = dict

    @cached_property
    def encoded(self) -> Mapping[str, np.ndarray]:
        """The encoder's results. They are computed on first use, because an encoder takes seconds."""
        return self.encode()

    def feeds(self, ids: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, int]]:
        """Return inputs and symbols for ids i64[1, n] without earlier tokens."""
        return {"input_ids": ids, **evaluate.zeros(self.graph), **self.encoded}, {PAST: 0, NEW_TOKENS: ids.shape[1]}

    def logits(self, ids: np.ndarray) -> np.ndarray:
        """Return the logits f32[1, n, vocabulary] for ids i64[1, n]."""
        return evaluate.run(self.graph, *self.feeds(ids))["logits"]


def expected(array: np.ndarray, tolerance: float) -> Expected:
    """Return a sample of an output with its tolerance."""
    return Expected(*sample(array), tolerance)


def sample(array: np.ndarray, most: int = 4096) -> tuple[np.ndarray, np.ndarray]:
    """Return up to `most` evenly spread flat indices into `array`, and the values there.

    Infinities and NaN are left out, because adapters may differ there.
    """
    indices = np.unique(np.linspace(0, max(array.size - 1, 0), min(most, array.size)).astype(np.int64))
    finite = indices[np.isfinite(array.reshape(-1)[indices])]
    return finite, array.reshape(-1)[finite]
