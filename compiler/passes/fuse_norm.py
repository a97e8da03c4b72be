"""Replace decomposed LayerNorm and RMSNorm by one operator each, which accumulates in f32."""

from __future__ import annotations

from typing import Any

import numpy as np

from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.values import DTYPES, Value
from intaglio.compiler.passes.canonical import permutation
from intaglio.compiler.rewrite.builder import GraphBuilder
from intaglio.compiler.rewrite.pattern import Rule, apply


def fuse_norm(graph: Graph) -> int:
    """Fuse LayerNorm and RMSNorm; return the number of changes."""
    return apply(
        graph, LayerNorm, LayerNormWithoutBias, LayerNormAlone, RMSNorm, TransposeAfterRMSNorm, HeadsOfTokens
    ).fired


def _normalized(op: Any, x: Any, eps: Any) -> Any:
    """The part that the patterns of layer normalization share: x minus its mean, divided by its deviation."""
    d = x - op.ReduceMean(x, -1, keepdims=1)
    variance = op.ReduceMean(op.any(op.Pow(d, 2.0), d * d), -1, keepdims=1)
    deviation = op.Sqrt(variance + eps)
    return op.any(d / deviation, d * op.any(1.0 / deviation, op.Reciprocal(deviation)))


class LayerNorm(Rule):
    """Fuse layer normalization over the last axis (Ba, Kiros, Hinton 2016)."""

    @staticmethod
    def pattern(op, x, scale, bias, eps):
        return _normalized(op, x, eps) * scale + bias

    @staticmethod
    def rewrite(op, out, x, scale, bias, eps):
        width = x.shape[-1]
        if eps.scalar is None or not _row(scale, width) or not _row(bias, width):
            op.decline("scale and bias are not constant rows of the last axis")
        return op.LayerNormalization(x, _flat(op, scale), _flat(op, bias), axis=-1, epsilon=eps.scalar)


class LayerNormWithoutBias(Rule):
    """Fuse layer normalization without a bias (Cohere)."""

    @staticmethod
    def pattern(op, x, scale, eps):
        return _normalized(op, x, eps) * scale

    @staticmethod
    def rewrite(op, out, x, scale, eps):
        if eps.scalar is None or not _row(scale, x.shape[-1]):
            op.decline("the scale is not a constant row of the last axis")
        return op.LayerNormalization(x, _flat(op, scale), axis=-1, epsilon=eps.scalar)


class LayerNormAlone(Rule):
    """Fuse layer normalization without scale and bias. A scale that differs from head to head stays after it."""

    @staticmethod
    def pattern(op, x, eps):
        return _normalized(op, x, eps)

    @staticmethod
    def rewrite(op, out, x, eps):
        if eps.scalar is None or not isinstance(x.shape[-1], int):
            op.decline("epsilon is not a constant number")
        ones = op.constant(np.ones(x.shape[-1], DTYPES[x.dtype]))
        return op.LayerNormalization(x, ones, axis=-1, epsilon=eps.scalar)


class RMSNorm(Rule):
    """Fuse root mean square layer normalization over the last axis (Zhang, Sennrich 2019)."""

    @staticmethod
    def pattern(op, x, scale, eps):
        mean = op.ReduceMean(op.any(op.Pow(x, 2.0), x * x), -1, keepdims=1) + eps
        root = op.Sqrt(mean)
        return op.any(x / root, x * op.any(1.0 / root, op.Reciprocal(root), op.Pow(mean, -0.5))) * scale

    @staticmethod
    def rewrite(op, out, x, scale, eps):
        if eps.scalar is None or not _row(scale, x.shape[-1]):
            op.decline("the scale is not a constant row of the last axis")
        return op.RMSNormalization(x, _flat(op, scale), axis=-1, epsilon=eps.scalar)


class TransposeAfterRMSNorm(Rule):
    """Normalize heads before the transpose that moves them to the front, so that they stay token rows longer."""

    @staticmethod
    def pattern(op, x, scale):
        return op.RMSNormalization(op.Transpose(x), scale)

    @staticmethod
    def rewrite(op, out, x, scale):
        perm = permutation(op.graph.producer(op.root.inputs[0]))
        if perm[-1] != len(perm) - 1 or len(scale.shape) != 1:
            op.decline("the transpose moves the last axis")
        return op.Transpose(op.RMSNormalization(x, scale, **op.root.attrs), perm=perm)


class HeadsOfTokens(Rule):
    """Give the tokens an axis of their own where the norm reads the heads of all tokens on one axis."""

    @staticmethod
    def pattern(op, x, shape, scale):
        return op.RMSNormalization(op.Reshape(x, shape), scale)

    @staticmethod
    def rewrite(op, out, x, shape, scale):
        *tokens, width = x.shape
        head_dim = out.shape[-1]
        if not isinstance(width, int) or width % head_dim or all(t in out.shape for t in tokens):
            op.decline("the width is not a multiple of head_dim, or the token axes are already separate")
        heads = op.Reshape(x, op.dimensions(*tokens, width // head_dim, head_dim))
        return op.Reshape(op.RMSNormalization(heads, scale, **op.root.attrs), op.dimensions(*out.shape))


def _row(value: Value, width: object) -> bool:
    return value.const is not None and value.const.size == width and value.shape[-1] == width


def _flat(op: GraphBuilder, value: Value) -> Value:
    return value if len(value.shape) == 1 else op.constant(value.array.reshape(-1), value.name)
