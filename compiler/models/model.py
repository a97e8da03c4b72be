"""What the front ends hand to codegen: graphs that share weights, and what a bundle needs beside them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from intaglio.compiler.ir.graph import Graph


@dataclass(frozen=True)
class Check:
    """One golden run: a program, the symbols and tensors it is given, and outputs (or parts of them) as they must be.

    `expected` maps an output or state to (flat indices, values), computed by the ONNX reference implementation.
    """

    program: str
    symbols: dict[str, int]
    inputs: dict[str, np.ndarray]
    expected: dict[str, tuple[np.ndarray, np.ndarray]]


@dataclass
class Model:
    """`graphs` by program name; `settings` becomes generation.json; `files` are copied into the bundle as they are.

    `precision`: what the report says of it (see passes/quantize.py). `notes`: what its user should know.
    """

    kind: str
    graphs: dict[str, Graph]
    settings: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    precision: dict[str, Any] = field(default_factory=lambda: {"name": "f32"})
    notes: list[str] = field(default_factory=list)


def sample(array: np.ndarray, most: int = 4096) -> tuple[np.ndarray, np.ndarray]:
    """Evenly spread flat indices into `array`, at most `most`, and the values there.

    Where the reference has infinities or no number, adapters need not agree: those are left out.
    """
    indices = np.unique(np.linspace(0, max(array.size - 1, 0), min(most, array.size)).astype(np.int64))
    kept = indices[np.isfinite(array.reshape(-1)[indices])]
    return kept, array.reshape(-1)[kept]
