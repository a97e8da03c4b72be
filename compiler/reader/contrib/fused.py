"""Norms, activations and products with what stood around them: sums, biases, transposes."""

from __future__ import annotations

from typing import Any

from intaglio.compiler.ir.errors import UnsupportedOperator
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import Value, known
from intaglio.compiler.reader.contrib.refuse import refuse
from intaglio.compiler.rewrite.builder import GraphBuilder

Results = list[Value | None]
_WINDOW = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
_ACTIVATIONS = "Elu HardSigmoid LeakyRelu Relu Sigmoid Softplus Softsign Tanh ThresholdedRelu".split()


def _skip_layer(op: GraphBuilder, node: Node) -> Results:
    x, skip, gamma = node.inputs[:3]
    total = _sum(op, x, skip, node.input(4))
    return [_layer(op, node, total, gamma, node.input(3)), None, None, total]


def _skip_simplified(op: GraphBuilder, node: Node) -> Results:
    x, skip, gamma = node.inputs[:3]
    total = _sum(op, x, skip, node.input(3))
    return [op.RMSNormalization(total, gamma, axis=-1, epsilon=node.attrs.get("epsilon", 1e-12)), None, None, total]


def _layer_norm(op: GraphBuilder, node: Node) -> Results:
    axis, epsilon = node.attrs.get("axis", -1), node.attrs.get("epsilon", 1e-5)
    return [op.LayerNormalization(*node.inputs, axis=axis, epsilon=epsilon)]


def _simplified(op: GraphBuilder, node: Node) -> Results:
    x, scale = node.inputs
    axis, epsilon = node.attrs.get("axis", -1), node.attrs.get("epsilon", 1e-5)
    return [op.RMSNormalization(x, scale, axis=axis, epsilon=epsilon)]


def _embed(op: GraphBuilder, node: Node) -> Results:
    """Words, positions and perhaps segments; the mask only counts the words."""
    ids, segments, words, places, kinds, gamma, beta = node.inputs[:7]
    mask, positions = node.input(7), node.input(8)
    if positions is None:
        ends = (op.constant(known([d], ())) for d in (0, ids.shape[1], 1))
        positions = op.Unsqueeze(op.Range(*ends), op.integers(0))
    total = op.Add(op.Gather(words, ids, axis=0), op.Gather(places, positions, axis=0))
    if segments is not None:
        total = op.Add(total, op.Gather(kinds, segments, axis=0))
    if mask is not None:
        count = op.ReduceSum(mask, op.integers(1), keepdims=0)
    else:
        count = op.Expand(op.constant(known([0], ())), op.dimensions(ids.shape[0]))
    return [_layer(op, node, total, gamma, beta), op.Cast(count, to="i32"), total]


def _layer(op: GraphBuilder, node: Node, x: Value, gamma: Value, beta: Value | None) -> Value:
    rows = (gamma,) if beta is None else (gamma, beta)
    return op.LayerNormalization(x, *rows, axis=-1, epsilon=node.attrs.get("epsilon", 1e-12))


def _sum(op: GraphBuilder, x: Value, *others: Value | None) -> Value:
    for other in others:
        x = op.Add(x, other) if other is not None else x
    return x


def _gelu(op: GraphBuilder, node: Node) -> Results:
    return [op.Gelu(_sum(op, *node.inputs))]


def _fast_gelu(op: GraphBuilder, node: Node) -> Results:
    return [op.Gelu(_sum(op, *node.inputs), approximate="tanh")]


def _quick_gelu(op: GraphBuilder, node: Node) -> Results:
    (x,) = node.inputs
    return [op.Mul(x, op.Sigmoid(op.Mul(x, op.number(node.attrs.get("alpha", 1.702), x))))]


def _matmul(op: GraphBuilder, node: Node) -> Results:
    refuse(node, "transBatchA", "transBatchB")
    a, b = node.inputs
    y = op.MatMul(_swapped(op, a, node.attrs.get("transA")), _swapped(op, b, node.attrs.get("transB")))
    return [op.Mul(y, op.number(node.attrs.get("alpha", 1.0), y))]


def _gemm(op: GraphBuilder, node: Node) -> Results:
    y = op.Gemm(*node.inputs, **_taken(node, "alpha", "beta", "transA", "transB"))
    numbers = {key: node.attrs[f"activation_{key}"] for key in ("alpha", "beta") if f"activation_{key}" in node.attrs}
    return [_activated(op, y, node.attrs.get("activation"), numbers)]


def _conv(op: GraphBuilder, node: Node) -> Results:
    """A sum with a fourth input comes before the activation, whose numbers stand in its order of parameters."""
    y = op.Conv(*node.inputs[:3], **_taken(node, *_WINDOW))
    y = _sum(op, y, node.input(3))
    name, numbers = node.attrs.get("activation"), node.attrs.get("activation_params", [])
    return [_activated(op, y, name, dict(zip(("alpha", "beta"), numbers, strict=False)))]


def _activated(op: GraphBuilder, y: Value, name: str | None, numbers: dict[str, float]) -> Value:
    if not name:
        return y
    if name == "Clip":
        return op.Clip(y, *(op.number(value, y) for value in numbers.values()))
    if name not in _ACTIVATIONS:
        raise UnsupportedOperator(f"the activation {name} is not supported; export the model without it")
    return getattr(op, name)(y, **numbers)


def _taken(node: Node, *names: str) -> dict[str, Any]:
    return {name: node.attrs[name] for name in names if name in node.attrs}


def _swapped(op: GraphBuilder, x: Value, transpose: int | None) -> Value:
    """With its last two axes exchanged."""
    axes = list(range(len(x.shape)))
    return op.Transpose(x, perm=[*axes[:-2], axes[-1], axes[-2]]) if transpose else x


CONTRIB = {
    "BiasGelu": _gelu,
    "EmbedLayerNormalization": _embed,
    "FastGelu": _fast_gelu,
    "FusedConv": _conv,
    "FusedGemm": _gemm,
    "FusedMatMul": _matmul,
    "Gelu": _gelu,
    "LayerNormalization": _layer_norm,
    "QuickGelu": _quick_gelu,
    "SimplifiedLayerNormalization": _simplified,
    "SkipLayerNormalization": _skip_layer,
    "SkipSimplifiedLayerNormalization": _skip_simplified,
    "TransposeMatMul": _matmul,
}
