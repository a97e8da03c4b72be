"""The results of the families: graphs that share weights, golden runs, and the other contents of a bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np

from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.semantics import evaluate
from intaglio.runtime.contract import LOGITS, NEW_TOKENS, PAST, TOKENS


@dataclass(frozen=True)
class Expected:
    """Elements of an output: their flat indices `at`, the expected values there, and the largest allowed error.

    size: the number of elements of the whole output.
    """

    at: np.ndarray
    values: np.ndarray
    tolerance: float
    size: int


@dataclass(frozen=True)
class Probe:
    """A run of a program whose results are checked.

    tolerances: the largest error of its outputs and states by name. relative: whether they are relative to the largest
    value if that is above 1. tolerance: the largest error of intermediate results, which is relative in this way.
    """

    program: str
    symbols: dict[str, int]
    inputs: dict[str, np.ndarray]
    tolerances: dict[str, float]
    tolerance: float
    relative: bool = False


@dataclass(frozen=True)
class GoldenRun:
    """A probe with the expected numbers of its outputs or states, by name. by: what computed them, with its version."""

    probe: Probe
    expected: dict[str, Expected]
    by: str

    @classmethod
    def of(cls, probe: Probe, outputs: Mapping[str, np.ndarray], by: str) -> Self:
        """Return the golden run with samples of `outputs`. Outputs without finite numbers are left out."""
        expected = {}
        for name, tolerance in probe.tolerances.items():
            at, values = sample(outputs[name])
            if at.size:
                largest = float(np.abs(values.astype(np.float64)).max()) if probe.relative else 1.0
                expected[name] = Expected(at, values, tolerance * max(1.0, largest), outputs[name].size)
        return cls(probe, expected, by)


@dataclass
class Model:
    """A compiled model. graphs: the programs by name. settings: the content of generation.json.

    files: files that are copied into the bundle. precision: its part of the report (see passes/quantize.py). notes:
    messages for the user. half_caches: whether caches in f16 cost nothing (see cache_accuracy.py).
    """

    kind: str
    graphs: dict[str, Graph]
    settings: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    golden: list[GoldenRun] = field(default_factory=list)
    precision: dict[str, Any] = field(default_factory=lambda: {"name": "f32"})
    notes: list[str] = field(default_factory=list)
    half_caches: bool = False


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
        return evaluate.run(self.graph, *self.feeds(ids))[LOGITS]

    def golden(self, probes: Sequence[Probe]) -> list[dict[str, np.ndarray]]:
        """Return the logits f32[1, vocabulary] after the last token of each probe. They share their tokens."""
        last = [probe.symbols[PAST] + probe.symbols.get(NEW_TOKENS, 1) - 1 for probe in probes]
        tokens = probes[0].inputs[TOKENS]
        logits = self.logits(tokens[..., : max(last) + 1, 0].astype(np.int64))
        return [{LOGITS: logits[:, i]} for i in last]


def sample(array: np.ndarray, most: int = 4096) -> tuple[np.ndarray, np.ndarray]:
    """Return up to `most` evenly spread flat indices into `array`, and the values there.

    Infinities and NaN are left out, because adapters may differ there.
    """
    indices = np.unique(np.linspace(0, max(array.size - 1, 0), min(most, array.size)).astype(np.int64))
    finite = indices[np.isfinite(array.reshape(-1)[indices])]
    return finite, array.reshape(-1)[finite]
