"""Replace the different forms in which exporters write GELU by one operator."""

from __future__ import annotations

import math

import numpy as np

from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.rewrite.pattern import Rule, apply

_BY_ROOT_IN_F16 = 1 / float(np.float16(math.sqrt(2)))  # the factor that a division by sqrt(2) in f16 becomes


def fuse_activation(graph: Graph) -> int:
    """Fuse GELU and its tanh approximation; return the number of changes."""
    return apply(graph, Gelu, TanhGelu).fired


class Gelu(Rule):
    """Fuse GELU, x Φ(x) (Hendrycks, Gimpel 2016)."""

    @staticmethod
    def pattern(op, x):
        gate = op.Erf(x * op.any(math.sqrt(0.5), _BY_ROOT_IN_F16)) + 1.0
        return op.any(x * gate * 0.5, x * 0.5 * gate, x * (gate * 0.5))

    @staticmethod
    def rewrite(op, out, x):
        return op.Gelu(x)


class TanhGelu(Rule):
    """Fuse the tanh approximation of GELU from the same paper."""

    @staticmethod
    def pattern(op, x):
        cube = op.any(op.Pow(x, 3.0), x * x * x)
        gate = op.Tanh((x + cube * 0.044715) * math.sqrt(2 / math.pi)) + 1.0
        return op.any(x * gate * 0.5, x * 0.5 * gate, x * (gate * 0.5))

    @staticmethod
    def rewrite(op, out, x):
        return op.Gelu(x, approximate="tanh")
