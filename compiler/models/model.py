"""What the families hand on: golden runs, and graphs that share weights with what a bundle needs beside them."""

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
    """Elements of an output: their flat indices `at`, the right values there, and the largest error allowed."""

    at: np.ndarray
    values: np.ndarray
    tolerance: float


@dataclass(frozen=True)
class GoldenRun:
    """A run of a program with the numbers that its outputs (or states) must have, by name.

    `tolerance`: the largest error of what steps write on the way to them, in proportion where values are above 1.
    """

    program: str
    symbols: dict[str, int]
    inputs: dict[str, np.ndarray]
    expected: dict[str, Expected]
    tolerance: float


@dataclass
class Model:
    """`graphs` by program name; `settings` becomes generation.json; `files` are copied into the bundle as they are.

    `precision`: what the report says of it (see passes/quantize.py). `notes`: what its user should know.
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
    """A decoder as numpy runs it, with or without its caches. `encode` computes what an encoder hands it, by name."""

    graph: Graph
    encode: Callable[[], Mapping[str, np.ndarray]] = dict

    @cached_property
    def encoded(self) -> Mapping[str, np.ndarray]:
        """Computed when it is first asked for, because an encoder takes seconds."""
        return self.encode()

    def feeds(self, ids: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, int]]:
        """Inputs and symbols for ids i64[1, n] and nothing before them."""
        return {"input_ids": ids, **evaluate.zeros(self.graph), **self.encoded}, {PAST: 0, NEW_TOKENS: ids.shape[1]}

    def logits(self, ids: np.ndarray) -> np.ndarray:
        """f32[1, n, vocabulary] for ids i64[1, n]."""
        return evaluate.run(self.graph, *self.feeds(ids))["logits"]


def expected(array: np.ndarray, tolerance: float) -> Expected:
    """A sample of an output."""
    return Expected(*sample(array), tolerance)


def sample(array: np.ndarray, most: int = 4096) -> tuple[np.ndarray, np.ndarray]:
    """Evenly spread flat indices into `array`, up to `most`, and the values there.

    Adapters need not agree where the reference has infinities or NaN: those are left out.
    """
    indices = np.unique(np.linspace(0, max(array.size - 1, 0), min(most, array.size)).astype(np.int64))
    finite = indices[np.isfinite(array.reshape(-1)[indices])]
    return finite, array.reshape(-1)[finite]
