"""Norms: decomposed LayerNorm becomes one operator again, which accumulates in f32."""

from __future__ import annotations

from intaglio.compiler.ir import Graph, Value
from intaglio.compiler.pattern import GraphBuilder, Rule, apply


def fuse_norm(graph: Graph) -> int:
    return apply(graph, LayerNorm).fired


class LayerNorm(Rule):
    """Layer normalization over the last axis (Ba, Kiros, Hinton 2016)."""

    def pattern(op, x, scale, bias, eps):
        d = x - op.ReduceMean(x, -1, keepdims=1)
        variance = op.ReduceMean(op.any(op.Pow(d, 2.0), d * d), -1, keepdims=1)
        deviation = op.Sqrt(variance + eps)
        return op.any(d / deviation, d * op.Reciprocal(deviation)) * scale + bias

    def rewrite(op, out, x, scale, bias, eps):
        width = x.shape[-1]
        if eps.scalar is None or not _row(scale, width) or not _row(bias, width):
            op.decline("scale and bias are no constant rows")
        return op.LayerNormalization(x, _flat(op, scale), _flat(op, bias), axis=-1, epsilon=eps.scalar)


def _row(value: Value, width: object) -> bool:
    return value.const is not None and value.const.size == width and value.shape[-1] == width


def _flat(op: GraphBuilder, value: Value) -> Value:
    return value if len(value.shape) == 1 else op.constant(value.const.reshape(-1), value.name)
